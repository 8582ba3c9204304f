"""`ftpdirector enable`: takes a drain back. This module knows no way to make it so."""

from __future__ import annotations

from typing import Annotated

import typer

from ftpdirector.cli.options import Json, Socket, ask_director, show_json

EXAMPLES = "Examples: ftpdirector enable alpha; ftpdirector enable ftp/alpha"


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A real server, or VIRTUAL_SERVER/REAL_SERVER.")],
    socket: Socket = None,
    as_json: Json = False,
) -> int:
    """Let a drained real server have new sessions again."""
    with ask_director(socket) as director:
        names = ["/".join(key) for key in director.ask("enable", name=name)["real_servers"]]
    if as_json:
        show_json({"real_servers": names})
    else:
        print(f"{', '.join(names)}: enabled")
    return 0
