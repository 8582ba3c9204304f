"""`ftpdirector check`: every problem of cluster files at once, each with its line. This module knows no rule."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ftpdirector.cli.options import Json, show_json
from ftpdirector.config.decode import LARGEST_FILE_BYTES, STANDARD_INPUT, Examined, examine_bytes, examine_file
from ftpdirector.errors import Problem

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
) -> int:
    """Name every problem of cluster files, each with its place and its remedy."""
    if files.count(Path("-")) > 1:
        raise typer.BadParameter("- is standard input, which can be read once")
    examined = [(file, _examine(file)) for file in files]
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
        _tell(STANDARD_INPUT if str(file) == "-" else str(file), one)
    return int(bool(problems))


def _examine(file: Path) -> Examined:
    if str(file) == "-":
        return examine_bytes(sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1), source=STANDARD_INPUT)
    return examine_file(file)


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
    print(f"{colour}{kind}{plain}{bold}{place}:{plain} {said}", file=sys.stderr)
    if problem.excerpt:
        number = f"{problem.line:5}"
        # What stands before the caret keeps its tabs, so that the caret stands below its column.
        before = "".join(char if char == "\t" else " " for char in problem.excerpt[: problem.column - 1])
        print(f"{number} | {problem.excerpt}", file=sys.stderr)
        print(f"{' ' * len(number)} | {before}{colour}^{plain}", file=sys.stderr)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
