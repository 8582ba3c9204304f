"""`ftpdirector reopen`: the running director opens its transfer log anew. This module knows no file."""

from __future__ import annotations

from ftpdirector.cli.options import Json, RunningFile, Socket, ask_director, show_json

EXAMPLES = (
    "Example: ftpdirector reopen (logrotate calls it once the old file is moved away)."
    " Exit: 0 opened, 1 refused, and the old file is written on."
)


def command(file: RunningFile = None, socket: Socket = None, as_json: Json = False) -> int:
    """Open the transfer log anew, after it was moved away; `reload` and SIGHUP do it too."""
    with ask_director(socket, file) as director:
        path: str | None = director.ask("reopen")["transfer_log"]
    if as_json:
        show_json({"transfer_log": path})
    else:
        print(f"{path}: opened anew" if path else "there is no transfer log")
    return 0
