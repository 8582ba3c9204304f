"""Start processes. This module knows no program's language."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ftpdirector.errors import HostError

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_COMPLAINT: Final = 2000


async def start_module(module: str, arguments: Sequence[str], *, pass_fds: Sequence[int]) -> asyncio.subprocess.Process:
    """Start `python -m module` of this very interpreter, with these descriptors and no standard input."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        pass_fds=tuple(pass_fds),
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


def run_program(program: str, *arguments: str, given: str = "", timeout_s: float = 60.0) -> str:
    """What a program says on standard output. `given` goes to its standard input, never to a shell.

    Raises `HostError` with what it said on standard error when it fails, is missing, or takes too long.
    """
    name = Path(program).name
    try:
        done = subprocess.run(
            [program, *arguments],
            input=given,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout_s,
            check=False,
            env={**os.environ, "PATH": _PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise HostError(f"{name} is not installed") from None
    except subprocess.TimeoutExpired:
        raise HostError(f"{name} did not end within {timeout_s:.0f} s") from None
    except OSError as error:
        raise HostError(f"{name} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise HostError(f"{name} failed ({done.returncode}): {said[:_LONGEST_COMPLAINT]}")
    return done.stdout


def succeeds(program: str, *arguments: str) -> bool:
    """Whether a program that answers by its exit status says yes."""
    try:
        run_program(program, *arguments)
    except HostError:
        return False
    return True


def has_program(program: str) -> bool:
    """Whether it is installed."""
    return shutil.which(program, path=_PATH) is not None
