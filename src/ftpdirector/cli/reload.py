"""`ftpdirector reload`: the running director reads its cluster file again. This module knows no file."""

from __future__ import annotations

import sys

from ftpdirector.cli.options import Json, RunningFile, Socket, ask_director, show_json

EXAMPLES = (
    "Examples: ftpdirector reload; ftpdirector reload /etc/ftpdirector/cluster.toml."
    " Exit: 0 taken, 1 refused, and the old configuration goes on."
)


def command(file: RunningFile = None, socket: Socket = None, as_json: Json = False) -> int:
    """Read the cluster file again, and open the transfer log anew; every session and transfer goes on."""
    with ask_director(socket, file) as director:
        warnings: list[str] = director.ask("reload")["warnings"]
    if as_json:
        show_json({"warnings": warnings})
        return 0
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print("reloaded")
    return 0
