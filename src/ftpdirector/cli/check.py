"""`ftpdirector check`: every problem of a cluster file at once. This module knows no rule."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import typer

from ftpdirector.cli.options import ClusterFile, Json, show_json
from ftpdirector.config.decode import load
from ftpdirector.daemon.here import load_here
from ftpdirector.errors import ConfigError, Problem
from ftpdirector.text import shown

EXAMPLES = "Examples: ftpdirector check cluster.toml; ftpdirector check cluster.toml --json. Exit: 0 none, 1 problems."


def command(
    file: ClusterFile,
    as_json: Json = False,
    no_host: Annotated[
        bool, typer.Option("--no-host", help="Only the file, nothing of this host: it is not the director.")
    ] = False,
) -> int:
    """Name every problem of a cluster file, each with its place and its remedy."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    try:
        warnings = (load(file) if no_host else load_here(file, for_service=True)).warnings
    except ConfigError as error:
        problems = error.problems
    if as_json:
        show_json(
            {
                "problems": [dataclasses.asdict(one) for one in problems],
                "warnings": [dataclasses.asdict(one) for one in warnings],
            }
        )
        return int(bool(problems))
    for problem in problems:
        print(shown(str(problem)), file=sys.stderr)
    for warning in warnings:
        print(shown(f"warning: {warning}"), file=sys.stderr)
    if problems:
        print(f"{shown(str(file))}: {_counted(len(problems), 'problem')}", file=sys.stderr)
        return 1
    print(f"{shown(str(file))}: good" + (f", {_counted(len(warnings), 'warning')}" if warnings else ""))
    return 0


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
