"""The `ftpdirector` command: one module a command, loaded when it is asked for.

Exit codes: 0 as wanted, 1 not so, 64 wrong usage (EX_USAGE of sysexits(3)); `probe` knows 0 and 1 only, so that
keepalived may call it. This module knows no command's work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Final

import typer

from ftpdirector import __version__
from ftpdirector.errors import DirectorError
from ftpdirector.text import shown

USAGE: Final = 64
INTERRUPTED: Final = 130
COMMANDS: Final = (
    "check", "explain", "render", "plan", "apply", "confirm", "remove", "run", "status", "drain", "enable", "reload",
    "reopen", "probe", "verify", "demo", "schema",
)  # fmt: skip
"""In the order in which help shows them; each is `ftpdirector.cli.<name>` with a function `command`."""


def main() -> None:
    """The console script."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Carry out one command line; the exit code. What is wrong goes to standard error."""
    name = next((word for word in arguments if not word.startswith("-")), "")
    command = typer.main.get_command(application((name,) if name in COMMANDS else COMMANDS))
    try:
        code = int(command.main(args=list(arguments), prog_name="ftpdirector", standalone_mode=False) or 0)
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison] - None when it was closed (`>&-`)
            sys.stdout.flush()  # what cannot be written is said here, and not by Python when it ends
        return code
    except typer.TyperException as error:
        hint = f"ftpdirector {name}" if name in COMMANDS else "ftpdirector"
        _complain(f"{error.format_message()}\nsee: {hint} --help")
        return 1 if name == "probe" else USAGE
    except DirectorError as error:
        _complain(str(error))
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; Python would complain once more at exit
        return 1
    except OSError as error:  # a full disk under standard output
        _complain(f"{error.filename or 'standard output'}: {error.strerror or error}")
        _let_go_of_output()
        return 1


def application(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """The application with these commands."""
    app = typer.Typer(
        name="ftpdirector",
        help="Many FTP servers behind one address, so that every transfer works.",
        epilog="First: ftpdirector demo. Then: ftpdirector check cluster.toml, and ftpdirector run cluster.toml.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_top)
    for name in names:
        module = import_module(f"ftpdirector.cli.{name}")
        app.command(name, epilog=getattr(module, "EXAMPLES", None))(module.command)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ftpdirector {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def _complain(text: str) -> None:
    with suppress(OSError):  # standard error is full or gone, too: the exit code says it
        for line in text.split("\n"):
            print(f"ftpdirector: {shown(line)}", file=sys.stderr)


def _let_go_of_output() -> None:
    """What is left in the buffer of standard output goes nowhere: Python would complain once more at exit."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
