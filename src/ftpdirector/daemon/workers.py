"""Worker processes that share listening sockets, under this supervisor, which holds them.

All workers are told at once, and nobody waits for one that hangs: a worker that gives no sign of life for some seconds
is killed, and replaced like one that died. What it counted is kept. A worker that cannot start is tried again, later
each time. This module knows no health check and no operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ftpdirector.daemon import messages
from ftpdirector.daemon.crew import OnFailure
from ftpdirector.daemon.logs import where_of
from ftpdirector.daemon.serving import Start
from ftpdirector.daemon.snapshot import summed, without_sessions
from ftpdirector.engines.proxy.listeners import BACKLOG
from ftpdirector.engines.proxy.ports import listening_socket
from ftpdirector.engines.proxy.runtime import Log
from ftpdirector.engines.proxy.shared import SharedCounts
from ftpdirector.engines.proxy.stream import prepare_control
from ftpdirector.errors import EngineError
from ftpdirector.host.privileges import Account
from ftpdirector.host.run import start_module
from ftpdirector.model import Cluster, Endpoint
from ftpdirector.state import EngineCounters, SessionState
from ftpdirector.status.transfer_log import open_transfer_log
from ftpdirector.wanted import Wanted

_STOP_GRACE_S: Final = 5.0
_HELLO_S: Final = 30.0
"""A new process: Python and all modules, on a machine that is busy."""
_ANSWER_S: Final = 1.0
"""How long somebody who asks for counts waits for a worker; what it said last stands in for it then."""
_LOOK_EVERY_S: Final = 0.5
_SILENT_LOOKS: Final = 10
"""So many looks without any word from a worker, and it hangs: it reports once a second. Looks are counted and not
seconds, so that a host that stood still itself (a virtual machine that was moved) blames nobody."""
_OFFERS_A_LOOK: Final = 500
"""A large cluster may take a worker one look more for so many real servers."""
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0
_HEALTHY_S: Final = 30.0
"""A worker that served so long was no failed start."""
_RETIRED_KEPT: Final = 8


@dataclass(slots=True)
class _Worker:
    index: int
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    passed: socket.socket
    begun_s: float
    counters: EngineCounters | None = None
    has: frozenset[Endpoint] = frozenset()
    ready: bool = False
    silent_looks: int = 0
    hangs: bool = False
    number: int = 0
    waiting: dict[int, asyncio.Future[messages.Ready | messages.Told | None]] = field(
        default_factory=dict[int, "asyncio.Future[messages.Ready | messages.Told | None]"]
    )
    """Who asked, by the number of the question; None comes of it when the worker ends."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Descriptors go over a second socket, in the order of the messages that speak of them."""


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
        orphan_bound_s: float,
        account: Account | None,
    ) -> None:
        """`sockets` come from a predecessor or from the service manager; `account` is who the workers are to be."""
        self._log = log
        self._on_failure = on_failure
        self._json_log = json_log
        self._orphan_bound_s = orphan_bound_s
        self._account = account
        self._shared = SharedCounts(workers)
        self._listeners = dict(sockets)
        self._workers: list[_Worker | None] = [None] * workers
        self._problems: dict[int, str] = {}
        self._outcomes: list[asyncio.Event] = [asyncio.Event() for _ in range(workers)]
        """Set once the worker's first start has come to an end, good or bad."""
        self._retired: list[EngineCounters] = []
        self._wanted: Wanted | None = None
        self._log_path: str | None = None
        self._log_fd: int | None = None
        self._late: tuple[int, ...] = ()
        self._one_less = asyncio.Event()
        self._stopping = False
        self._group: asyncio.TaskGroup | None = None
        self._turn = asyncio.Lock()

    @property
    def listeners(self) -> Mapping[Endpoint, socket.socket]:
        """The listening sockets."""
        return self._listeners

    @property
    def running(self) -> int:
        """Workers that serve and answer."""
        return sum(worker.ready and not worker.hangs for worker in self._living())

    async def run(self) -> None:
        """Keep the workers alive and look after those that hang, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._watch_loop()

    async def apply(self, wanted: Wanted) -> tuple[str, ...]:
        """Listen where it is new, tell all workers at once, then stop to listen where it is gone."""
        async with self._turn:
            self._use_log(wanted.cluster.transfer_log, self._listen_for(wanted))
            before, self._wanted = self._wanted, wanted
            if before is None:
                await self._first_start()
                return ()
            told = [(worker, self._expect(worker)) for worker in self._living()]
            for worker, (number, _) in told:
                self._begin(self._tell(worker, number, wanted))
        answers = [(worker, await answer) for worker, (_, answer) in told]
        refused = [
            (worker, answer.error) for worker, answer in answers if isinstance(answer, messages.Ready) and answer.error
        ]
        if refused and len(refused) == len(answers):
            self._wanted = before if self._wanted is wanted else self._wanted
            raise EngineError(refused[0][1])
        for worker, error in refused:
            self._log.error("worker_refused", worker=worker.index, reason=error)
            worker.process.kill()
        now = fronts_of(self._wanted.cluster)
        for endpoint in [endpoint for endpoint in self._listeners if endpoint not in now]:
            self._listeners.pop(endpoint).close()
        return tuple(
            f"worker {worker.index} did not answer; it was ended, and a new one is started"
            for worker, answer in answers
            if answer is None and worker.hangs
        )

    async def reopen(self) -> None:
        """Open the transfer log anew, and hand it to all workers."""
        if self._log_path is not None:
            self._replace_log(self._log_path, open_transfer_log(self._log_path))

    async def refresh(self) -> None:
        """Ask every worker that serves; one that does not answer in time has its last word."""
        await self._ask_all(with_sessions=False)

    def counters(self) -> list[EngineCounters]:
        """Of every worker that lives or lived."""
        return self._retired + [worker.counters for worker in self._living() if worker.counters]

    async def sessions(self) -> list[SessionState]:
        """Of every worker that answers."""
        return [session for told in await self._ask_all(with_sessions=True) for session in told.sessions]

    def notes(self) -> tuple[str, ...]:
        """Who does not serve, and why."""
        return (
            *(self._problems[index] for index in sorted(self._problems)),
            *(f"worker {index} does not answer; its counts are what it said last" for index in self._late),
        )

    async def stop(self, bound_s: float, *, grace_s: float = 0.0) -> None:
        """Tell all workers, wait for them, and end those that do not."""
        self._stopping = True
        for listener in self._listeners.values():
            listener.close()
        for worker in self._living():
            messages.write(worker.writer, messages.Stop(bound_s, grace_s))
        try:
            async with asyncio.timeout(bound_s + grace_s + _STOP_GRACE_S):
                while self._living():  # whoever hears the last word of one takes it off the list
                    self._one_less.clear()
                    await self._one_less.wait()
        except TimeoutError:
            self.kill()

    def end_now(self) -> None:
        """Sessions end and data connections are reset; a worker that does not obey is killed."""
        self._stopping = True
        for worker in self._living():
            messages.write(worker.writer, messages.Stop(0.0))
        asyncio.get_running_loop().call_later(_STOP_GRACE_S, self.kill)

    def kill(self) -> None:
        """End the workers by force; the kernel resets what they transfer."""
        for worker in self._living():
            _kill(worker)

    # Inside.

    def _living(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker is not None]

    def _begin(self, work: Coroutine[object, object, object]) -> None:
        assert self._group is not None  # noqa: S101 - run() comes first
        self._group.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[object, object, object]) -> None:
        """No error in the care of one worker ends the care of the others."""
        try:
            await work
        except Exception as error:  # noqa: BLE001
            self._log.error("bug", where=where_of(error), error=repr(error))

    def _listen_for(self, wanted: Wanted) -> dict[Endpoint, socket.socket]:
        fresh: dict[Endpoint, socket.socket] = {}
        endpoints = [endpoint for endpoint in fronts_of(wanted.cluster) if endpoint not in self._listeners]
        try:
            for endpoint in endpoints:
                fresh[endpoint] = listening_socket(endpoint, BACKLOG)
                prepare_control(fresh[endpoint])
        except OSError as error:
            for sock in fresh.values():
                sock.close()
            where = endpoints[len(fresh)]
            raise EngineError(f"cannot listen on {where}: {error.strerror or error}") from error
        return fresh

    def _use_log(self, path: str | None, fresh: dict[Endpoint, socket.socket]) -> None:
        """Open it before anything is changed, and only if it is another one."""
        if path != self._log_path:
            try:
                fd = None if path is None else open_transfer_log(path)
            except EngineError:
                for sock in fresh.values():
                    sock.close()
                raise
            self._replace_log(path, fd)
        self._listeners.update(fresh)

    def _replace_log(self, path: str | None, fd: int | None) -> None:
        before, self._log_path, self._log_fd = self._log_fd, path, fd
        for worker in self._living():
            self._begin(self._hand_log(worker))
        if before is not None:
            os.close(before)

    async def _hand_log(self, worker: _Worker) -> None:
        async with worker.turn:
            try:
                fds = [os.dup(self._log_fd)] if self._log_fd is not None else []
            except OSError as error:  # said before a message that it would wait for: the log it has goes on
                self._log.error("transfer_log_not_handed", worker=worker.index, reason=error.strerror)
                return
            messages.write(worker.writer, messages.UseTransferLog(bool(fds)))
            await asyncio.to_thread(_pass, worker.passed, fds)

    async def _first_start(self) -> None:
        for index in range(len(self._workers)):
            self._begin(self._keep(index))
        for outcome in self._outcomes:
            await outcome.wait()
        if not self.running:
            self._stopping = True
            raise EngineError(
                "; ".join(self._problems[index] for index in sorted(self._problems)) or "no worker serves"
            )

    async def _keep(self, index: int) -> None:
        """One worker after the other, as long as the director lives."""
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping:
            begun_s = loop.time()
            served, problem = False, ""
            try:
                worker = await self._start(index)
                problem = await self._hear(worker)
                served = worker.ready
            except (EngineError, OSError) as error:
                problem = f"cannot start: {error}"
            except Exception as error:  # noqa: BLE001 - a bug in one start ends neither the next nor the others
                self._log.error("bug", where=where_of(error), error=repr(error))
                problem = f"met a bug: {error!r}"
            if self._stopping:
                break
            failures = 0 if loop.time() - begun_s > _HEALTHY_S else failures
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(failures, 10))
            failures += 1
            self._problems[index] = f"worker {index} {problem}; it is started again"
            self._log.error(
                "worker_died" if served else "worker_not_started", worker=index, reason=problem, retry_in_s=pause_s
            )
            self._outcomes[index].set()
            await asyncio.sleep(pause_s)
        self._outcomes[index].set()

    async def _start(self, index: int) -> _Worker:
        """A process that has said which version it is, and that has been told what is wanted."""
        pair, their_pair = socket.socketpair()
        passed, their_passed = socket.socketpair()
        with their_pair, their_passed:
            process = await self._start_process(index, their_pair, their_passed)
        reader, writer = await asyncio.open_connection(sock=pair)
        worker = _Worker(index, process, reader, writer, passed, asyncio.get_running_loop().time())
        try:
            passed.sendall(self._shared.key)
            try:
                async with asyncio.timeout(_HELLO_S):
                    spoken = await messages.hear_hello(reader)
            except TimeoutError:
                raise EngineError(f"it said nothing within {_HELLO_S:.0f} s") from None
            if spoken.startswith("!"):
                raise EngineError(f"it cannot be loaded: {spoken[1:]}")
            if spoken != messages.PROTOCOL:
                raise EngineError(
                    f"it is of another version ({spoken}) than this director ({messages.PROTOCOL}):"
                    " the package was changed on disk; restart the director, or run it with --take-over"
                )
        except BaseException:
            await self._bury(worker)
            raise
        if self._stopping:
            await self._bury(worker)
            raise EngineError("the director ends")
        self._workers[index] = worker
        assert self._wanted is not None  # noqa: S101 - apply() set it
        if self._log_fd is not None:
            self._begin(self._hand_log(worker))
        number, answer = self._expect(worker)
        self._begin(self._tell(worker, number, self._wanted))
        self._begin(self._until_ready(worker, answer))
        return worker

    async def _start_process(
        self, index: int, pair: socket.socket, passed: socket.socket
    ) -> asyncio.subprocess.Process:
        start = Start(
            counts_fd=self._shared.descriptor,
            index=index,
            workers=len(self._workers),
            is_json=self._json_log,
            orphan_bound_s=self._orphan_bound_s,
            account=str(self._account or ""),
        )
        fds = [pair.fileno(), passed.fileno()]
        return await start_module(
            "ftpdirector.daemon.worker",
            [*map(str, fds), *start.words()],
            pass_fds=[*fds, self._shared.descriptor] if self._shared.descriptor >= 0 else fds,
        )

    async def _until_ready(
        self, worker: _Worker, answer: asyncio.Future[messages.Ready | messages.Told | None]
    ) -> None:
        told = await answer
        if isinstance(told, messages.Ready) and not told.error:
            worker.ready = True
            self._problems.pop(worker.index, None)
            self._outcomes[worker.index].set()
        elif isinstance(told, messages.Ready):
            self._problems[worker.index] = f"worker {worker.index} cannot serve: {told.error}"
            _kill(worker)

    def _expect(self, worker: _Worker) -> tuple[int, asyncio.Future[messages.Ready | messages.Told | None]]:
        worker.number += 1
        future: asyncio.Future[messages.Ready | messages.Told | None] = asyncio.get_running_loop().create_future()
        worker.waiting[worker.number] = future
        return worker.number, future

    async def _tell(self, worker: _Worker, number: int, wanted: Wanted) -> None:
        async with worker.turn:
            fronts = fronts_of(wanted.cluster)
            fresh = tuple(endpoint for endpoint in fronts if endpoint not in worker.has)
            try:
                fds = [os.dup(self._listeners[endpoint].fileno()) for endpoint in fresh]
            except OSError as error:  # no descriptor is left here: this worker cannot be told, so it must not serve
                self._log.error("worker_not_told", worker=worker.index, reason=error.strerror)
                _kill(worker)
                return
            if not messages.write(worker.writer, messages.Apply(number, wanted, fresh)):
                _kill(worker)
            worker.has = frozenset(fronts)
            # In a thread: a socket pair holds a few hundred descriptors, and the worker takes them once it has the
            # message.
            await asyncio.to_thread(_pass, worker.passed, fds)

    async def _ask_all(self, *, with_sessions: bool) -> list[messages.Told]:
        asked: dict[asyncio.Future[messages.Ready | messages.Told | None], _Worker] = {}
        for worker in self._living():
            number, answer = self._expect(worker)
            asked[answer] = worker
            messages.write(worker.writer, messages.Ask(number, with_sessions))
        if not asked:
            self._late = ()
            return []
        done, late = await asyncio.wait(asked, timeout=_ANSWER_S)
        self._late = tuple(sorted(asked[answer].index for answer in late))
        return [told for told in (answer.result() for answer in done) if isinstance(told, messages.Told)]

    async def _hear(self, worker: _Worker) -> str:
        """Until it ends; how it ended, in words."""
        problem = ""
        try:
            while (message := await messages.read(worker.reader)) is not None:
                worker.silent_looks = 0
                self._heard(worker, message)
        except EngineError as error:
            problem = str(error)
        finally:
            status = await self._bury(worker)
        if self._workers[worker.index] is worker:
            self._workers[worker.index] = None
            self._one_less.set()
        if worker.counters:
            self._retired.append(without_sessions(worker.counters))
            self._fold_retired()
        if worker.hangs:
            problem = "gave no sign of life and was ended"
        return problem or f"ended with status {status}"

    def _heard(self, worker: _Worker, message: messages.ToWorker | messages.FromWorker) -> None:
        match message:
            case messages.Ready(number):
                self._answered(worker, number, message)
            case messages.Told(number, counters):
                worker.counters = _joined(worker.counters, counters)
                self._answered(worker, number, message)
            case messages.Report(counters):
                worker.counters = _joined(worker.counters, counters)
            case messages.SessionFailed(key, cause):
                self._on_failure(key, cause)
            case unexpected:
                raise EngineError(f"it said {type(unexpected).__name__}")

    def _answered(self, worker: _Worker, number: int, message: messages.Ready | messages.Told) -> None:
        waiting = worker.waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def _bury(self, worker: _Worker) -> int:
        """End the process if it has not ended, and let go of all that speaks with it; its exit status."""
        if worker.process.returncode is None and not worker.reader.at_eof():
            _kill(worker)
        worker.writer.close()
        worker.passed.close()
        try:
            async with asyncio.timeout(_STOP_GRACE_S):
                status = await worker.process.wait()
        except TimeoutError:
            _kill(worker)  # it closed its side and did not end
            status = await worker.process.wait()
        for waiting in worker.waiting.values():
            if not waiting.done():
                waiting.set_result(None)
        worker.waiting.clear()
        return status

    async def _watch_loop(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            offers = len(self._wanted.offers) if self._wanted is not None else 0
            for worker in self._living():
                worker.silent_looks += 1
                if worker.silent_looks > _SILENT_LOOKS + offers // _OFFERS_A_LOOK and not worker.hangs:
                    worker.hangs = True
                    self._log.error("worker_hangs", worker=worker.index, silent_s=worker.silent_looks * _LOOK_EVERY_S)
                    _kill(worker)

    def _fold_retired(self) -> None:
        """Sums of those that are gone: a worker that dies again and again does not fill the memory."""
        if len(self._retired) > _RETIRED_KEPT:
            self._retired = [summed(self._retired)]


def _kill(worker: _Worker) -> None:
    if worker.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()


def _pass(passed: socket.socket, fds: Sequence[int]) -> None:
    """Hand descriptors over; they are closed here in any case."""
    try:
        for fd in fds:
            socket.send_fds(passed, [b"s"], [fd])
    except OSError:
        pass  # a worker that died: whoever hears it says so
    finally:
        for fd in fds:
            os.close(fd)


def fronts_of(cluster: Cluster) -> list[Endpoint]:
    """Where clients connect to."""
    return [Endpoint(address, virtual.port) for virtual in cluster.virtual_servers for address in virtual.addresses]


def _joined(before: EngineCounters | None, news: EngineCounters) -> EngineCounters:
    """A worker reports those virtual servers alone to which something happened."""
    if before is None:
        return news
    return replace(news, virtual_servers={**before.virtual_servers, **news.virtual_servers})
