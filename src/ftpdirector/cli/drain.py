"""`ftpdirector drain`: no new sessions for a real server, and wait for those it has.

This module knows no way to make it so.
"""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

import typer

from ftpdirector.cli.options import Json, RunningFile, Socket, ask_director, parse_seconds, show_json

EXAMPLES = (
    "Examples: ftpdirector drain alpha; ftpdirector drain ftp/alpha --wait --timeout 1h."
    " Exit: 0 done, 1 sessions left when the time was up."
)
_LOOK_EVERY_S: Final = 0.5


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A real server, or VIRTUAL_SERVER/REAL_SERVER.")],
    file: RunningFile = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when its last session has ended.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="DURATION", help="How long to wait at most.")] = None,
    socket: Socket = None,
    as_json: Json = False,
) -> int:
    """Make a real server quiescent: it gets no new sessions and keeps the ones that it has."""
    bound_s = parse_seconds(timeout) if timeout else None
    with ask_director(socket, file) as director:
        told = director.ask("drain", name=name)
        keys: list[list[str]] = told["real_servers"]
        for note in told.get("notes", ()):
            print(f"note: {note}", file=sys.stderr)
        begin = time.monotonic()  # noqa: TID251 - the command line is where time comes in
        left = _sessions(director.ask("status")["status"], keys)
        shown = -1
        while wait and left:
            if bound_s is not None and time.monotonic() - begin >= bound_s:  # noqa: TID251
                break
            if left != shown:
                print(f"{name}: {left} session{'s' if left != 1 else ''} left", file=sys.stderr)
                shown = left
            time.sleep(_LOOK_EVERY_S)
            left = _sessions(director.ask("status")["status"], keys)
    if as_json:
        show_json({"real_servers": ["/".join(key) for key in keys], "sessions": left})
    else:
        print(f"{', '.join('/'.join(key) for key in keys)}: drained, {left} session{'s' if left != 1 else ''} left")
    return int(wait and left > 0)


def _sessions(status: dict[str, Any], keys: list[list[str]]) -> int:
    # In the kernel's tables a data connection may outlive its control connection.
    return sum(
        max(real["sessions"], real["transfers"])
        for virtual in status["virtual_servers"]
        for real in virtual["real_servers"]
        if [virtual["name"], real["name"]] in keys
    )
