"""Options that several commands share, and how their texts become values.

This module knows no command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from ftpdirector.config.values import parse_address, parse_duration, parse_endpoint
from ftpdirector.daemon.control import ControlClient, default_socket_path
from ftpdirector.daemon.here import note_for_service
from ftpdirector.errors import ControlError
from ftpdirector.health.probe import ANONYMOUS, Secret
from ftpdirector.host.files import read_first_line
from ftpdirector.model import Endpoint
from ftpdirector.text import shown

_WIDTH_OF_A_FILE: Final = 200


def parse_seconds(text: str) -> float:
    """`90s`, `15m`, `1h` as seconds; wrong usage otherwise."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None


def parse_target(text: str) -> Endpoint:
    """`ADDRESS[:PORT]`, `[ADDRESS]:PORT` for IPv6, port 21 if none is given; wrong usage otherwise."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        if ":" not in bare or (bare.count(":") > 1 and "]:" not in bare):
            return Endpoint(parse_address(bare), 21)
        return parse_endpoint(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None


def read_secret(path: Path | None) -> Secret:
    """The first line of a password file, or what an anonymous client says; wrong usage if it cannot be read."""
    if path is None:
        return ANONYMOUS
    try:
        line = read_first_line(str(path))
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from None
    except ValueError:
        raise typer.BadParameter(f"{path}: is not a path") from None
    if not line:
        raise typer.BadParameter(f"{path}: has no password in its first line")
    if note := note_for_service(path):
        print(shown(f"note: {note}"), file=sys.stderr)
    return Secret(line)


ClusterFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The cluster file.", show_default=False, readable=False)
]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
Socket = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        envvar="FTPDIRECTOR_SOCKET",
        help="The director's socket; by default below /run/ftpdirector for root, else below $XDG_RUNTIME_DIR.",
        show_default=False,
    ),
]
RunningFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="The cluster file that the director must run; refused when it runs another one.",
        show_default=False,
    ),
]


def ask_director(socket: Path | None, file: Path | None = None) -> ControlClient:
    """The running director; a ControlError when nobody answers, or when it runs another cluster file than this one."""
    director = ControlClient(socket or default_socket_path())
    if file is not None:
        try:
            director.must_run(file)
        except ControlError:
            director.close()
            raise
    return director


def console_for_tables() -> Console:
    """As wide as the terminal; wide enough for every column where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_OF_A_FILE)


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean "alpha"?`, or nothing."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else ""


def show_json(value: object) -> None:
    """One JSON document on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Beyond ASCII a character stands within a string only: what acts on a terminal, or has no encoding, is escaped.
    print("".join(one if one == "\n" or one.isprintable() else _json_escape(one) for one in text))


def _json_escape(char: str) -> str:
    return json.dumps(char)[1:-1] if char != "\x7f" else "\\u007f"
