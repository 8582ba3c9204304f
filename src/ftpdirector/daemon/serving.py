"""What a worker process does: one proxy engine that does what the supervisor says, and reports.

Started by `worker`, with inherited descriptors. This module knows no cluster file and no
health check.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Final

import structlog
import uvloop

from ftpdirector.daemon import messages
from ftpdirector.daemon.logs import first_of, lines_dropped, set_up_log, where_of
from ftpdirector.engines.proxy.engine import ProxyEngine
from ftpdirector.engines.proxy.runtime import Log
from ftpdirector.engines.proxy.shared import SharedCounts
from ftpdirector.errors import EngineError
from ftpdirector.host.clock import HostClock
from ftpdirector.host.privileges import give_up
from ftpdirector.model import Endpoint
from ftpdirector.state import EngineCounters, TransferRecord
from ftpdirector.status.transfer_log import TransferLog

_REPORT_EVERY_S: Final = 1.0
_FLUSH_S: Final = 1.0
_KEY_BYTES: Final = 16
CANNOT_SERVE: Final = 70
"""The exit status of a worker that met a bug (EX_SOFTWARE of sysexits(3)); its log says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the supervisor says on the command line, the counts' key apart, which comes over the descriptor socket."""

    counts_fd: int
    index: int
    workers: int
    is_json: bool
    orphan_bound_s: float
    """How long transfers may go on once the supervisor has gone."""
    account: str
    """`uid:gid` to become; empty: stay who this is."""

    def words(self) -> list[str]:
        """As the command line has it, behind the two sockets."""
        return [
            str(self.counts_fd), str(self.index), str(self.workers), str(int(self.is_json)),
            str(self.orphan_bound_s), self.account,
        ]  # fmt: skip

    @classmethod
    def read(cls, words: list[str]) -> Start:
        """From the command line; ValueError when it is another version's."""
        counts_fd, index, workers, is_json, orphan_bound_s, account = words
        return cls(
            counts_fd=int(counts_fd),
            index=int(index),
            workers=int(workers),
            is_json=is_json == "1",
            orphan_bound_s=float(orphan_bound_s),
            account=account,
        )


class _Worker:
    """The engine, and the supervisor's word."""

    def __init__(
        self,
        start: Start,
        counts: SharedCounts,
        pair: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        passed: socket.socket,
    ) -> None:
        self._start = start
        self._reader, self._writer = pair
        self._passed = passed
        self._log: Log = structlog.get_logger().bind(worker=start.index)
        self._transfer_log = TransferLog()
        self._engine = ProxyEngine(
            log=self._log,
            clock=HostClock(),
            on_failure=self._on_failure,
            on_transfer=self._on_transfer,
            shared=counts,
            worker_index=start.index,
            workers=counts.workers,
        )
        self._started = False
        self._stops = 0

    async def serve(self) -> None:
        """Until told to stop and all has ended, or until the supervisor has gone and what runs has ended."""
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(self._report_loop())
            stopping: asyncio.Task[None] | None = None
            hearing = group.create_task(messages.read(self._reader))
            while stopping is None or not stopping.done():
                waiting = [hearing] if stopping is None else [hearing, stopping]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not hearing.done():
                    continue
                match hearing.result():
                    case messages.Stop(bound_s, grace_s):
                        stopping = self._stop(group, stopping, bound_s, grace_s)
                    case None:
                        # The supervisor is gone: who replaces it has listeners of its own; finish what runs.
                        if stopping is None:
                            self._log.warning("supervisor_gone", bound_s=self._start.orphan_bound_s)
                            stopping = self._stop(group, None, self._start.orphan_bound_s, 0.0)
                        await stopping
                        break
                    case message:
                        await self._obey(message)
                hearing = group.create_task(messages.read(self._reader))
            reporting.cancel()
            hearing.cancel()
        self._report()
        self._transfer_log.flush(_FLUSH_S)
        self._writer.close()

    def _stop(
        self, group: asyncio.TaskGroup, before: asyncio.Task[None] | None, bound_s: float, grace_s: float
    ) -> asyncio.Task[None]:
        if before is None:
            return group.create_task(self._engine.drain_and_stop(bound_s, grace_s=grace_s))
        before.cancel()  # what waited for transfers; they are reset now
        return group.create_task(self._engine.stop())

    async def _obey(self, message: messages.ToWorker | messages.FromWorker) -> None:
        match message:
            case messages.Apply(number, wanted, endpoints):
                try:
                    self._engine.give(_receive(self._passed, endpoints))
                    if self._started:
                        self._engine.apply(wanted)
                    else:
                        await self._engine.start(wanted)
                        self._started = True
                        # What was configured stays: no later collection need walk it. Once only: what is frozen
                        # while sessions live is never given back.
                        gc.collect()
                        gc.freeze()
                    self._say(messages.Ready(number))
                except EngineError as error:
                    self._say(messages.Ready(number, str(error)))
                except Exception as error:  # noqa: BLE001 - the supervisor replaces who cannot apply
                    self._log.error("bug", where=where_of(error), error=repr(error))
                    self._say(messages.Ready(number, f"it met a bug: {error!r}"))
            case messages.UseTransferLog(is_open):
                self._transfer_log.use(_receive_descriptor(self._passed) if is_open else None)
            case messages.Ask(number, with_sessions):
                sessions = self._engine.sessions() if with_sessions else ()
                self._say(messages.Told(number, self._counters(), sessions))
            case unexpected:
                raise EngineError(f"the supervisor said {type(unexpected).__name__}")

    def _say(self, message: messages.FromWorker) -> None:
        messages.write(self._writer, message)

    def _counters(self) -> EngineCounters:
        dropped = {"log": lines_dropped(), "transfer_log": self._transfer_log.dropped}
        return replace(self._engine.changed_counters(), log_lines_dropped=dropped)

    def _report(self) -> None:
        self._say(messages.Report(self._counters()))

    async def _report_loop(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            try:
                self._report()
            except Exception as error:  # noqa: BLE001 - a count that cannot be told ends no session
                self._log.error("bug", where=where_of(error), error=repr(error))

    def _on_failure(self, virtual_server: str, real_server: str, cause: str) -> None:
        self._say(messages.SessionFailed((virtual_server, real_server), cause))

    def _on_transfer(self, record: TransferRecord) -> None:
        self._transfer_log.write(record)


def _receive_descriptor(passed: socket.socket) -> int:
    _, fds, _, _ = socket.recv_fds(passed, 1, 1)
    if len(fds) != 1:
        raise EngineError("no descriptor came: the supervisor has gone, or no descriptor is left")
    return fds[0]


def _receive(passed: socket.socket, endpoints: tuple[Endpoint, ...]) -> dict[Endpoint, socket.socket]:
    # One message a socket: a message takes 253 descriptors at most.
    return {endpoint: socket.socket(fileno=_receive_descriptor(passed)) for endpoint in endpoints}


async def _live(pair: socket.socket, passed: socket.socket, words: list[str]) -> None:
    reader, writer = await asyncio.open_connection(sock=pair)
    messages.say_hello(writer)
    try:
        await writer.drain()
    except OSError:  # the supervisor ended meanwhile: there is nobody to serve for, and no session
        sys.exit(CANNOT_SERVE)
    start = Start.read(words)
    set_up_log(json=start.is_json)
    _be_called(f"ftpdirector-w{start.index}")
    key = passed.recv(_KEY_BYTES, socket.MSG_WAITALL)
    if len(key) < _KEY_BYTES:
        sys.exit(CANNOT_SERVE)  # as above
    counts = SharedCounts.attach(start.counts_fd, key, start.workers)
    # No thread runs yet, not even the log's: what is given up is given up by the calling thread alone.
    uid, _, gid = start.account.partition(":")
    problem = give_up(int(uid), int(gid)) if start.account else give_up(os.getuid(), os.getgid())
    if problem:
        structlog.get_logger().warning("root_kept", worker=start.index, reason=problem)
    try:
        await _Worker(start, counts, (reader, writer), passed).serve()
    except Exception as error:  # noqa: BLE001 - its sessions end with it; the supervisor starts another
        cause = first_of(error)
        structlog.get_logger().error("worker_failed", worker=start.index, where=where_of(cause), error=repr(cause))
        sys.exit(CANNOT_SERVE)


def _be_called(name: str) -> None:
    with contextlib.suppress(OSError):  # it only helps who looks with ps
        Path("/proc/self/comm").write_text(name)


def main() -> None:
    """`worker PAIR_FD DESCRIPTOR_FD ...`, see `Start`."""
    # Signals from a terminal go to the whole process group; the supervisor decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Nothing may be imported once rights are given up: the files may be out of reach then.
    for codec in ("ascii", "idna", "latin_1", "unicode_escape", "utf_8"):
        import_module(f"encodings.{codec}")
    pair = socket.socket(fileno=int(sys.argv[1]))
    passed = socket.socket(fileno=int(sys.argv[2]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(pair, passed, sys.argv[3:]))
