"""Who does the work: worker processes that share listening sockets, or one engine in this very process.

Both are told what is wanted and say what they counted. A worker that dies is replaced; what it counted is kept.
This module knows no health check and no operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from ftpdirector.daemon import messages
from ftpdirector.engines.proxy.engine import ProxyEngine
from ftpdirector.engines.proxy.listeners import BACKLOG
from ftpdirector.engines.proxy.ports import listening_socket
from ftpdirector.engines.proxy.runtime import Log
from ftpdirector.engines.proxy.shared import SharedCounts
from ftpdirector.engines.proxy.stream import prepare_control
from ftpdirector.errors import EngineError
from ftpdirector.host.clock import HostClock
from ftpdirector.host.run import start_module
from ftpdirector.model import Cluster, Endpoint
from ftpdirector.state import EngineCounters, SessionState, TransferRecord
from ftpdirector.status.transfer_log import TransferLog
from ftpdirector.wanted import Key, Wanted

_RESPAWN_AFTER_S: Final = 1.0
_STOP_GRACE_S: Final = 5.0
_ANSWER_S: Final = 5.0
_LOOK_EVERY_S: Final = 1.0
OnFailure = Callable[[Key, str], None]


class Crew(Protocol):
    """Makes true what is wanted."""

    async def apply(self, wanted: Wanted) -> None:
        """Make it true; `EngineError` when it cannot be, and nothing has changed then."""

    def counters(self) -> list[EngineCounters]:
        """What was counted, one value a process, dead ones included."""
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

    def _on_transfer(self, record: TransferRecord) -> None:
        self._transfer_log.write(record)

    async def apply(self, wanted: Wanted) -> None:
        """Make it true."""
        self._transfer_log.open(wanted.cluster.transfer_log)
        if self._started:
            self._engine.apply(wanted)
        else:
            await self._engine.start(wanted)
            self._started = True

    def counters(self) -> list[EngineCounters]:
        """Of this process."""
        return [self._engine.snapshot_counters()]

    async def sessions(self) -> list[SessionState]:
        """Of this process."""
        return list(self._engine.sessions())

    @property
    def listeners(self) -> Mapping[Endpoint, socket.socket]:
        """None: this process is nobody's predecessor."""
        return {}

    async def stop(self, bound_s: float, *, grace_s: float = 0.0) -> None:
        """Finish."""
        await self._engine.drain_and_stop(bound_s, grace_s=grace_s)
        self._transfer_log.close()


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
                if str(error) != self._complaint:  # once, not every second
                    self._log.error("kernel_not_told", reason=str(error))
                self._complaint = str(error)

    async def apply(self, wanted: Wanted) -> None:
        """Tell it."""
        async with self._turn:
            self._engine.apply(wanted)

    def counters(self) -> list[EngineCounters]:
        """What the kernel counts; what it counted last when it cannot be asked."""
        with contextlib.suppress(EngineError):  # `run` says so
            self._counters = [self._engine.snapshot_counters()]
        return self._counters

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


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    passed: socket.socket
    ready: asyncio.Queue[messages.Ready]
    sessions: asyncio.Queue[messages.Sessions]
    counters: EngineCounters | None = None
    has: frozenset[Endpoint] = frozenset()


class Workers:
    """Worker processes under this supervisor, which holds the listening sockets."""

    def __init__(
        self,
        log: Log,
        on_failure: OnFailure,
        *,
        workers: int,
        sockets: Mapping[Endpoint, socket.socket],
        json_log: bool,
    ) -> None:
        """`sockets` come from a predecessor or from the service manager."""
        self._log = log
        self._on_failure = on_failure
        self._json_log = json_log
        self._shared = SharedCounts(workers)
        self._listeners = dict(sockets)
        self._workers: list[_Worker | None] = [None] * workers
        self._retired: list[EngineCounters] = []
        self._wanted: Wanted | None = None
        self._stopping = False
        self._group: asyncio.TaskGroup | None = None
        self._turn = asyncio.Lock()

    @property
    def listeners(self) -> Mapping[Endpoint, socket.socket]:
        """The listening sockets."""
        return self._listeners

    async def run(self) -> None:
        """Hear the workers and replace those that die, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    async def apply(self, wanted: Wanted) -> None:
        """Listen where it is new, tell all workers, then stop to listen where it is gone."""
        async with self._turn:
            fronts = fronts_of(wanted.cluster)
            fresh = self._listen([endpoint for endpoint in fronts if endpoint not in self._listeners])
            self._listeners.update(fresh)
            self._wanted = wanted
            for index, worker in enumerate(self._workers):
                if worker is None:
                    self._workers[index] = await self._start(index)
                else:
                    await self._tell(worker, wanted)
            for endpoint in [endpoint for endpoint in self._listeners if endpoint not in fronts]:
                self._listeners.pop(endpoint).close()

    def counters(self) -> list[EngineCounters]:
        """Of every worker that lives or lived."""
        return self._retired + [worker.counters for worker in self._workers if worker and worker.counters]

    async def sessions(self) -> list[SessionState]:
        """Of every worker that answers."""
        found: list[SessionState] = []
        for worker in [worker for worker in self._workers if worker]:
            messages.write(worker.writer, messages.ListSessions())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    found += (await worker.sessions.get()).sessions
        return found

    async def stop(self, bound_s: float, *, grace_s: float = 0.0) -> None:
        """Tell all workers, wait for them, and end those that do not."""
        self._stopping = True
        for listener in self._listeners.values():
            listener.close()
        running = [worker for worker in self._workers if worker]
        for worker in running:
            messages.write(worker.writer, messages.Stop(bound_s, grace_s))
        try:
            async with asyncio.timeout(bound_s + grace_s + _STOP_GRACE_S):
                for worker in running:
                    await worker.process.wait()
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """End the workers now."""
        for worker in self._workers:
            if worker and worker.process.returncode is None:
                worker.process.kill()

    def _listen(self, endpoints: list[Endpoint]) -> dict[Endpoint, socket.socket]:
        opened: dict[Endpoint, socket.socket] = {}
        try:
            for endpoint in endpoints:
                opened[endpoint] = listening_socket(endpoint, BACKLOG)
                prepare_control(opened[endpoint])
        except OSError as error:
            for sock in opened.values():
                sock.close()
            where = endpoints[len(opened)]
            raise EngineError(f"cannot listen on {where}: {error.strerror or error}") from error
        return opened

    async def _start(self, index: int) -> _Worker:
        assert self._group is not None  # noqa: S101 - run() comes first
        pair, their_pair = socket.socketpair()
        passed, their_passed = socket.socketpair()
        fds = [their_pair.fileno(), their_passed.fileno()]
        if self._shared.descriptor >= 0:
            fds.append(self._shared.descriptor)
        process = await start_module(
            "ftpdirector.daemon.worker",
            [
                str(their_pair.fileno()),
                str(their_passed.fileno()),
                str(self._shared.descriptor),
                str(index),
                str(len(self._workers)),
                str(int(self._json_log)),
            ],
            pass_fds=fds,
        )
        their_pair.close()
        their_passed.close()
        passed.sendall(self._shared.key)
        reader, writer = await asyncio.open_connection(sock=pair)
        worker = _Worker(process, reader, writer, passed, asyncio.Queue(), asyncio.Queue())
        self._group.create_task(self._hear(index, worker))
        assert self._wanted is not None  # noqa: S101 - apply() set it
        await self._tell(worker, self._wanted)
        return worker

    async def _tell(self, worker: _Worker, wanted: Wanted) -> None:
        fronts = fronts_of(wanted.cluster)
        fresh = tuple(endpoint for endpoint in fronts if endpoint not in worker.has)
        messages.write(worker.writer, messages.Apply(wanted, fresh))
        # In a thread: a socket pair holds a few hundred descriptors, and the worker takes them once it has the message.
        await asyncio.to_thread(_pass, worker.passed, [self._listeners[endpoint].fileno() for endpoint in fresh])
        worker.has = frozenset(fronts)
        answer = await worker.ready.get()
        if answer.error:
            raise EngineError(answer.error)

    async def _hear(self, index: int, worker: _Worker) -> None:
        while True:
            message = await messages.read(worker.reader)
            match message:
                case messages.Ready():
                    worker.ready.put_nowait(message)
                case messages.Report(counters):
                    worker.counters = _joined(worker.counters, counters)
                case messages.Sessions():
                    worker.sessions.put_nowait(message)
                case messages.SessionFailed(key, cause):
                    self._on_failure(key, cause)
                case messages.Apply() | messages.Stop() | messages.ListSessions() | None:
                    break
        worker.writer.close()
        worker.passed.close()
        status = await worker.process.wait()
        if self._stopping:
            return
        worker.ready.put_nowait(messages.Ready(f"worker {index} ended with status {status}"))
        self._log.error("worker_died", worker=index, status=status)
        if worker.counters:
            self._retired.append(_without_sessions(worker.counters))
        self._workers[index] = None
        await asyncio.sleep(_RESPAWN_AFTER_S)
        async with self._turn:
            if not self._stopping:
                self._workers[index] = await self._start(index)


def _pass(passed: socket.socket, fds: list[int]) -> None:
    with contextlib.suppress(BrokenPipeError):  # a worker that died: whoever hears it says so
        for fd in fds:
            socket.send_fds(passed, [b"s"], [fd])


def fronts_of(cluster: Cluster) -> list[Endpoint]:
    """Where clients connect to."""
    return [Endpoint(address, virtual.port) for virtual in cluster.virtual_servers for address in virtual.addresses]


def _joined(before: EngineCounters | None, news: EngineCounters) -> EngineCounters:
    """A worker reports those virtual servers alone to which something happened."""
    if before is None:
        return news
    return replace(news, virtual_servers={**before.virtual_servers, **news.virtual_servers})


def _without_sessions(counters: EngineCounters) -> EngineCounters:
    return replace(
        counters,
        virtual_servers={
            name: replace(
                virtual,
                sessions=0,
                endpoints=(),
                real_servers={
                    real: replace(values, sessions=0, transfers=0) for real, values in virtual.real_servers.items()
                },
            )
            for name, virtual in counters.virtual_servers.items()
        },
    )
