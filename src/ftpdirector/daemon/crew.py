"""Who does the work: one engine in this very process, or the kernel; worker processes stand in `workers`.

All are told what is wanted and say what they counted. This module knows no health check and no operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from ftpdirector.daemon.logs import where_of
from ftpdirector.engines.proxy.engine import ProxyEngine
from ftpdirector.engines.proxy.runtime import Log
from ftpdirector.errors import EngineError
from ftpdirector.host.clock import HostClock
from ftpdirector.model import Cluster, Endpoint
from ftpdirector.state import EngineCounters, SessionState, TransferRecord
from ftpdirector.status.transfer_log import TransferLog, open_transfer_log
from ftpdirector.wanted import Key, Wanted

_LOOK_EVERY_S: Final = 1.0
_FLUSH_S: Final = 1.0
OnFailure = Callable[[Key, str], None]


class Crew(Protocol):
    """Makes true what is wanted."""

    async def apply(self, wanted: Wanted) -> tuple[str, ...]:
        """Make it true; `EngineError` when it cannot be, and nothing has changed then.

        Returns, in words, who was replaced because it did not answer.
        """
        ...

    async def reopen(self) -> None:
        """Open the transfer log anew; `EngineError` when it cannot be, and the old one goes on."""

    async def refresh(self) -> None:
        """Ask for what is counted now."""

    def counters(self) -> list[EngineCounters]:
        """What was counted at the last `refresh` or later, one value a process, dead ones included."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What is wrong with those who do the work, in words."""
        ...

    @property
    def running(self) -> int:
        """Worker processes that serve."""
        ...

    async def sessions(self) -> list[SessionState]:
        """The sessions that are open."""
        ...

    @property
    def listeners(self) -> Mapping[Endpoint, socket.socket]:
        """The listening sockets, to hand over to a successor."""
        ...

    async def stop(self, bound_s: float, *, grace_s: float = 0.0) -> None:
        """No new sessions; idle ones end after `grace_s`, transfers may take `bound_s` more seconds."""

    def end_now(self) -> None:
        """Reset what still runs: a `stop` that waits for it returns."""


class InProcess:
    """One engine in this process (the demo)."""

    def __init__(self, log: Log, on_failure: OnFailure) -> None:
        """Nothing listens yet."""
        self._transfer_log = TransferLog()
        self._engine = ProxyEngine(
            log=log,
            clock=HostClock(),
            on_failure=lambda virtual, real, cause: on_failure((virtual, real), cause),
            on_transfer=self._on_transfer,
        )
        self._started = False
        self._path: str | None = None
        self._now = asyncio.Event()

    def _on_transfer(self, record: TransferRecord) -> None:
        self._transfer_log.write(record)

    async def apply(self, wanted: Wanted) -> tuple[str, ...]:
        """Make it true."""
        path = wanted.cluster.transfer_log
        fd = open_transfer_log(path) if path is not None and path != self._path else None
        try:
            if self._started:
                self._engine.apply(wanted)
            else:
                await self._engine.start(wanted)
                self._started = True
        except EngineError:
            if fd is not None:
                os.close(fd)
            raise
        if path != self._path:
            self._transfer_log.use(fd)
        self._path = path
        return ()

    async def reopen(self) -> None:
        """Open the transfer log anew."""
        if self._path is not None:
            self._transfer_log.use(open_transfer_log(self._path))

    async def refresh(self) -> None:
        """Nobody need be asked."""

    def counters(self) -> list[EngineCounters]:
        """Of this process."""
        lines = {"transfer_log": self._transfer_log.dropped}
        return [replace(self._engine.snapshot_counters(), log_lines_dropped=lines)]

    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def running(self) -> int:
        """This very process."""
        return 1

    async def sessions(self) -> list[SessionState]:
        """Of this process."""
        return list(self._engine.sessions())

    @property
    def listeners(self) -> Mapping[Endpoint, socket.socket]:
        """None: this process is nobody's predecessor."""
        return {}

    async def stop(self, bound_s: float, *, grace_s: float = 0.0) -> None:
        """Finish."""
        async with asyncio.TaskGroup() as group:
            finishing = group.create_task(self._engine.drain_and_stop(bound_s, grace_s=grace_s))
            hurrying = group.create_task(self._now.wait())
            await asyncio.wait((finishing, hurrying), return_when=asyncio.FIRST_COMPLETED)
            for task in (finishing, hurrying):
                task.cancel()
        if not finishing.done() or finishing.cancelled():
            await self._engine.stop()
        self._transfer_log.flush(_FLUSH_S)

    def end_now(self) -> None:
        """Reset what runs."""
        self._now.set()


class KernelEngine(Protocol):
    """Tells the kernel, or who holds its tables, and reads what it counts; `EngineError` when it cannot."""

    def drained(self, cluster: Cluster) -> tuple[Key, ...]:
        """What an earlier director had drained; called first."""
        ...

    def apply(self, wanted: Wanted) -> None:
        """Make it true."""

    def look(self) -> None:
        """Read what has to be read often; called in a thread."""

    def follow(self) -> None:
        """Make true what follows from the look."""

    def snapshot_counters(self) -> EngineCounters:
        """What the kernel counts."""
        ...


class BesideKernel:
    """No connection passes this process: it says the verdicts, and the kernel serves."""

    def __init__(self, engine: KernelEngine, log: Log) -> None:
        """Nothing is told yet."""
        self._engine = engine
        self._log = log
        self._counters: list[EngineCounters] = []
        self._turn = asyncio.Lock()
        self._complaint = ""

    def drained(self, cluster: Cluster) -> tuple[Key, ...]:
        """What an earlier director had drained."""
        return self._engine.drained(cluster)

    async def run(self) -> None:
        """Look and follow once a second, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                async with self._turn:
                    await asyncio.to_thread(self._engine.look)
                    self._engine.follow()
                self._complaint = ""
            except EngineError as error:
                self._complain(str(error))
            except Exception as error:  # noqa: BLE001 - a bug in one look ends neither the next one nor the director
                self._complain(repr(error), where=where_of(error))

    def _complain(self, reason: str, **values: object) -> None:
        if reason != self._complaint:  # once, not every second
            self._log.error("kernel_not_told", reason=reason, **values)
        self._complaint = reason

    async def apply(self, wanted: Wanted) -> tuple[str, ...]:
        """Tell it."""
        async with self._turn:
            self._engine.apply(wanted)
        return ()

    async def reopen(self) -> None:
        """The kernel keeps no transfer log."""

    async def refresh(self) -> None:
        """It is read when it is looked at."""

    def counters(self) -> list[EngineCounters]:
        """What the kernel counts; what it counted last when it cannot be asked."""
        with contextlib.suppress(EngineError):  # `run` says so
            self._counters = [self._engine.snapshot_counters()]
        return self._counters

    def notes(self) -> tuple[str, ...]:
        """What the kernel could not be told."""
        return (self._complaint,) if self._complaint else ()

    @property
    def running(self) -> int:
        """No process serves."""
        return 0

    async def sessions(self) -> list[SessionState]:
        """None: the kernel knows connections, not who logged in."""
        return []

    @property
    def listeners(self) -> Mapping[Endpoint, socket.socket]:
        """None."""
        return {}

    async def stop(self, bound_s: float, *, grace_s: float = 0.0) -> None:
        """Nothing ends: the kernel goes on with the last verdicts."""
        del bound_s, grace_s

    def end_now(self) -> None:
        """Nothing waits."""
