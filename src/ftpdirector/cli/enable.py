"""`ftpdirector enable`: takes a drain back. This module knows no way to make it so."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ftpdirector.cli.options import Json, RunningFile, Socket, ask_director, show_json

EXAMPLES = "Examples: ftpdirector enable alpha; ftpdirector enable ftp/alpha"


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A real server, or VIRTUAL_SERVER/REAL_SERVER.")],
    file: RunningFile = None,
    socket: Socket = None,
    as_json: Json = False,
) -> int:
    """Let a drained real server have new sessions again."""
    with ask_director(socket, file) as director:
        told = director.ask("enable", name=name)
    names = ["/".join(key) for key in told["real_servers"]]
    for note in told.get("notes", ()):
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        show_json({"real_servers": names})
    else:
        print(f"{', '.join(names)}: enabled")
    return 0
