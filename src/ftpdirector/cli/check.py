"""`ftpdirector check`: every problem of cluster files at once, each with its line. This module knows no rule."""

from __future__ import annotations

import dataclasses
import os
import sys
import unicodedata
from pathlib import Path
from typing import Annotated

import typer

from ftpdirector.cli.options import Json, show_json
from ftpdirector.config.decode import LARGEST_FILE_BYTES, STANDARD_INPUT, Examined, examine_bytes, examine_file
from ftpdirector.daemon.here import ThisHost
from ftpdirector.errors import Problem
from ftpdirector.text import shown

EXAMPLES = (
    "Examples: ftpdirector check cluster.toml; ftpdirector check *.toml --json; ssh host cat cluster.toml | "
    "ftpdirector check -. Exit: 0 none, 1 problems."
)
_RED, _YELLOW, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"


def command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Cluster files; - is standard input.", show_default=False),
    ],
    as_json: Json = False,
    no_host: Annotated[
        bool, typer.Option("--no-host", help="Only the file, nothing of this host: it is not the director.")
    ] = False,
) -> int:
    """Name every problem of cluster files, each with its place and its remedy."""
    if files.count(Path("-")) > 1:
        raise typer.BadParameter("- is standard input, which can be read once")
    host = None if no_host else ThisHost(for_service=True)
    examined = [(file, _examine(file, host)) for file in files]
    problems = [problem for _, one in examined for problem in one.problems]
    if as_json:
        warnings = [warning for _, one in examined for warning in one.warnings]
        show_json(
            {
                "problems": [dataclasses.asdict(one) for one in problems],
                "warnings": [dataclasses.asdict(one) for one in warnings],
            }
        )
        return int(bool(problems))
    for file, one in examined:
        _tell(STANDARD_INPUT if str(file) == "-" else shown(str(file)), one)
    return int(bool(problems))


def _examine(file: Path, host: ThisHost | None) -> Examined:
    if str(file) == "-":
        return examine_bytes(sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1), source=STANDARD_INPUT, host=host)
    return examine_file(file, host=host)


def _tell(name: str, examined: Examined) -> None:
    coloured = _is_coloured()
    for problem in examined.problems:
        _show(problem, "", _RED if coloured else "")
    for warning in examined.warnings:
        _show(warning, "warning: ", _YELLOW if coloured else "")
    counted = [
        _counted(len(found), what)
        for found, what in ((examined.problems, "problem"), (examined.warnings, "warning"))
        if found
    ]
    if examined.problems:
        print(f"{name}: {', '.join(counted)}", file=sys.stderr)
    else:
        print(f"{name}: {', '.join(['good', *counted])}")


def _is_coloured() -> bool:
    """As https://no-color.org and terminals want."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _show(problem: Problem, kind: str, colour: str) -> None:
    bold, plain = (_BOLD, _PLAIN) if colour else ("", "")
    place, _, said = str(problem).partition(": ")
    print(f"{colour}{kind}{plain}{bold}{shown(place)}:{plain} {shown(said)}", file=sys.stderr)
    if problem.excerpt:
        number = f"{problem.line:5}"
        print(f"{number} | {problem.excerpt}", file=sys.stderr)
        if problem.column <= len(problem.excerpt) + 1:  # an excerpt does not show all of a very long line
            before = "".join(map(_blank, problem.excerpt[: problem.column - 1]))
            print(f"{' ' * len(number)} | {before}{colour}^{plain}", file=sys.stderr)


def _blank(char: str) -> str:
    """As wide as the character: a caret stands below its column also behind tabs and wide letters."""
    if char == "\t":
        return char
    if unicodedata.combining(char):
        return ""
    return "  " if unicodedata.east_asian_width(char) in ("W", "F") else " "


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
