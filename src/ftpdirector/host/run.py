"""Start processes. This module knows no program but this one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence


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
