"""Parts of the director that run side by side: one that fails is said, and begun again; the others go on.

This module knows no part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ftpdirector.daemon.logs import first_of, where_of
from ftpdirector.engines.proxy.runtime import Log

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_HEALTHY_S: Final = 60.0


async def keep_running(name: str, part: Callable[[], Awaitable[None]], log: Log) -> None:
    """Until it ends by itself, or until cancelled."""
    loop = asyncio.get_running_loop()
    pause_s = _FIRST_PAUSE_S
    while True:
        begun_s = loop.time()
        try:
            await part()
            return
        except (Exception, SystemExit) as failure:  # noqa: BLE001 - a web server ends itself by SystemExit
            error = first_of(failure)
            if loop.time() - begun_s > _HEALTHY_S:
                pause_s = _FIRST_PAUSE_S
            log.error("part_failed", part=name, error=repr(error), where=where_of(error), retry_in_s=pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
