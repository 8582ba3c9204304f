"""The command as the command line calls it, in this process."""

from __future__ import annotations

import typer

from ftpdirector.cli import application


def explain(*words: str) -> int:
    """The exit code; wrong usage is a `typer.TyperException`, which the command line turns into its code."""
    command = typer.main.get_command(application(("explain",)))
    return int(command.main(args=["explain", *words], prog_name="ftpdirector", standalone_mode=False) or 0)
