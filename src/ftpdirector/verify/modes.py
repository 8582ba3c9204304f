"""Every mode at once, one session each, and what the results say of the real servers together.

This module knows no FTP and no command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from ftpdirector.model import Endpoint
from ftpdirector.verify.data import Mode
from ftpdirector.verify.session import Result, Session, Task

Whose = Callable[[Endpoint], Awaitable[str]]
"""The real server that holds the session of this client endpoint, "" if that cannot be known."""


async def verify(task: Task, modes: Sequence[Mode], whose: Whose | None = None) -> list[Result]:
    """The results, in the order of the modes; a failure is a result, never an exception."""
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(_one(Session(task, mode), whose)) for mode in modes if mode.fits(task.target.address)
        ]
    return [result for one in running for result in one.result()]


async def _one(session: Session, whose: Whose | None) -> list[Result]:
    try:
        results = await session.run()
        known = whose is not None and bool(session.greeting)
        name = await whose(session.local) if known and whose else ""
    finally:
        session.leave()
    return [replace(result, real_server=name) for result in results]


def disagreements(results: Sequence[Result]) -> list[str]:
    """Sentences on files that were not the same wherever they were read."""
    read: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        if result.operation == "RETR" and result.good:
            read.setdefault((result.target, result.path), {}).setdefault(result.sha256, _who(result))
    return [
        f"{target}: {path} is not the same everywhere: "
        + ", ".join(f"{sha256[:12]} from {who}" for sha256, who in found.items())
        for (target, path), found in read.items()
        if len(found) > 1
    ]


def _who(result: Result) -> str:
    return f"{result.real_server or result.greeting or 'an unnamed server'} ({result.mode})"
