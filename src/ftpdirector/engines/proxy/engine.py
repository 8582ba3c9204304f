"""The engine: gives each client that is admitted a real server, and hears, counts and logs what comes of it.

It follows what is wanted while it runs: new virtual servers listen, vanished ones stop to accept, sessions go on. All
look-ups are by name, so that a thousand virtual servers cost a session no more than one.
This module knows no FTP command, and never why a real server is offered or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address

from ftpdirector.engines.proxy.admission import Admission, counted_as
from ftpdirector.engines.proxy.alarms import Alarms
from ftpdirector.engines.proxy.closing import Closings
from ftpdirector.engines.proxy.connector import Connector
from ftpdirector.engines.proxy.counters import Counters, RealServerStats
from ftpdirector.engines.proxy.data_ports import DataPorts
from ftpdirector.engines.proxy.listeners import Listener, Listeners
from ftpdirector.engines.proxy.ports import NO_DESCRIPTOR_LEFT
from ftpdirector.engines.proxy.readiness import Readiness, Watcher
from ftpdirector.engines.proxy.relay import PipePool
from ftpdirector.engines.proxy.runtime import Clock, Log, Runtime, Timing
from ftpdirector.engines.proxy.sampling import Sampler
from ftpdirector.engines.proxy.session import ProxySession
from ftpdirector.engines.proxy.shared import SharedCounts
from ftpdirector.engines.proxy.shortage import DescriptorShortage
from ftpdirector.engines.proxy.stream import local_endpoint
from ftpdirector.ftp.actions import Direction, Outcome, TransferEnded
from ftpdirector.model import Endpoint, IPAddress, VirtualServer
from ftpdirector.scheduling.pool import Pool
from ftpdirector.state import EngineCounters, SessionState, TransferRecord
from ftpdirector.wanted import Offer, Wanted


class ProxyEngine:
    """One process's part of the proxy: may share its listening sockets with other workers."""

    def __init__(
        self,
        *,
        log: Log,
        clock: Clock,
        on_failure: Callable[[str, str, str], None] | None = None,
        on_transfer: Callable[[TransferRecord], None] | None = None,
        shared: SharedCounts | None = None,
        worker_index: int = 0,
        workers: int = 1,
        sockets: Mapping[Endpoint, socket.socket] | None = None,
        timing: Timing | None = None,
    ) -> None:
        """To be made inside a running event loop.

        `on_failure(virtual server, real server, cause)` hears of real servers that refused a session: `connect`,
        `greeting` (none in time, or a bad one), `closed` (before its greeting) or `full` (it said 421).
        It does not hear of what this host was short of. `sockets` are listening sockets handed over by a supervisor;
        the engine closes its copies.
        """
        self._loop = asyncio.get_running_loop()
        readiness = Readiness(self._loop, self._bug)
        counts = (shared or SharedCounts(workers)).worker(worker_index)
        self._counters = Counters(counts)
        self.runtime = Runtime(
            log=log,
            clock=clock,
            timing=timing or Timing(),
            readiness=readiness,
            later=self._loop.call_later,
            alarms=Alarms(readiness, clock.monotonic_s),
            pipes=PipePool(),
            closings=Closings(readiness, self._check_empty),
            ports=DataPorts(readiness, clock.monotonic_s, worker_index, workers),
            setup_times=self._counters.setup_times,
            sampler=Sampler(),
            shortage=DescriptorShortage(log.warning, clock.monotonic_s),
            now_s=clock.monotonic_s(),
        )
        self._admission = Admission(self.runtime, self._counters)
        self._listeners = Listeners(self.runtime, self, sockets or {})
        self._on_failure = on_failure
        self._on_transfer = on_transfer
        self._worker_index = worker_index
        self._workers = workers
        self._schedulers: dict[str, Pool] = {}
        self._offers: Mapping[tuple[str, str], Offer] = {}
        self._sessions: set[ProxySession] = set()
        self._connectors: set[Connector] = set()
        self._opened = 0
        self._stopping = False
        self._empty = asyncio.Event()
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where the engine listens; with the real port where port 0 was asked for."""
        return self._listeners.addresses

    async def start(self, wanted: Wanted) -> None:
        """Listen and serve. Raises `EngineError` when an address is taken; nothing listens then."""
        self.apply(wanted)
        self._ticking = self._loop.call_later(self.runtime.timing.tick_s, self._tick)

    def give(self, sockets: Mapping[Endpoint, socket.socket]) -> None:
        """More listening sockets from the supervisor, for what is applied next."""
        self._listeners.give(sockets)

    def apply(self, wanted: Wanted) -> None:
        """Make what is wanted true; sessions go on.

        Raises `EngineError` when a new address is taken: nothing is changed then.
        """
        servers = wanted.cluster.virtual_servers
        self._listeners.follow(
            {Endpoint(address, server.port): server.name for server in servers for address in server.addresses}
        )
        self._offers = wanted.offers
        for server in servers:
            pool = self._schedulers.get(server.name)
            if pool is None:
                self._schedulers[server.name] = Pool(server)
            elif self._counters.virtual[server.name].server != server:
                pool.follow(server)
        self._counters.follow(servers)
        for name in self._schedulers.keys() - self._counters.virtual.keys():
            del self._schedulers[name]
        self.runtime.ports.follow(servers)

    def snapshot_counters(self) -> EngineCounters:
        """What this process counted; `sessions` and `transfers` are this process's own, now."""
        return self._count(self._counters.virtual)

    def changed_counters(self) -> EngineCounters:
        """The same, for those virtual servers alone to which something happened since the last call."""
        live = {session.behind.virtual.name for session in self._sessions}
        return self._count(self._counters.take_touched(live))

    def _count(self, names: Iterable[str]) -> EngineCounters:
        transfers: dict[str, int] = {}
        for session in self._sessions:
            if session.transferring:
                transfers[session.behind.key] = transfers.get(session.behind.key, 0) + 1
        return self._counters.engine_counters(names, transfers, self._endpoints_of)

    def _endpoints_of(self, server: VirtualServer) -> tuple[str, ...]:
        return tuple(str(local_endpoint(listener.sock)) for listener in self._listeners.of(server))

    def sessions(self) -> tuple[SessionState, ...]:
        """The sessions that are open now, in the order of their numbers."""
        now_s = self.runtime.clock.monotonic_s()
        return tuple(
            SessionState(
                number=session.number,
                client=str(session.client),
                user=session.user,
                virtual_server=session.behind.virtual.name,
                real_server=session.behind.server.name,
                age_s=max(0.0, now_s - session.opened_s),
                idle_s=max(0.0, now_s - session.active_s),
                transferring=session.transferring,
            )
            for session in sorted(self._sessions, key=lambda session: session.number)
        )

    async def drain_and_stop(self, bound_s: float, *, grace_s: float = 0.0) -> None:
        """No new sessions; idle ones get 421 after `grace_s`; transfers finish within `bound_s` more, or are reset."""
        self._stopping = True
        self._listeners.close_all()
        await self._end_of_all(grace_s)
        for connector in list(self._connectors):
            connector.abandon()
        for session in list(self._sessions):
            session.shut_down()
        await self._end_of_all(bound_s)
        await self.stop()

    async def _end_of_all(self, within_s: float) -> None:
        self._empty.clear()
        self._check_empty()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._empty.wait()

    async def stop(self) -> None:
        """End now: running transfers are reset, so that no file is taken for complete."""
        self._stopping = True
        self._listeners.close_all()
        for connector in list(self._connectors):
            connector.abandon()
        for session in list(self._sessions):
            session.abandon("the director stopped")
        runtime = self.runtime
        runtime.closings.end_all()
        runtime.alarms.close()
        runtime.ports.close()
        runtime.pipes.close()
        self._listeners.reserve.spend()
        runtime.sampler.sum_up()
        if self._ticking is not None:
            self._ticking.cancel()
        self._listeners.close_given()
        runtime.readiness.close()

    # What the listening sockets, connectors and sessions of this engine call.

    def accepted(self, listener: Listener, sock: socket.socket, peer: tuple[str, int]) -> None:
        """A client connected: admit or refuse it."""
        server = self._counters.virtual[listener.name].server
        client = Endpoint(_address(peer[0]), peer[1])
        local = listener.endpoint
        if listener.wildcard:
            local = local_endpoint(sock)
        self._opened += 1
        number = self._opened * self._workers + self._worker_index
        self.runtime.now_s = self.runtime.clock.monotonic_s()
        counted = counted_as(server, client.address, peer[0])
        refusal = self._admission.admit(server, counted)
        if refusal is not None:
            self._admission.refuse(sock, peer[0], server.name, counted, *refusal)
            return
        connector = Connector(self.runtime, self, server, number, sock, client, peer[0], local, counted)
        self._connectors.add(connector)
        connector.start()

    def turn_away(self, listener: Listener, sock: socket.socket, client: str) -> None:
        """A client that there is no descriptor for: it is told so, and its socket is closed here and now."""
        self._admission.turn_away(sock, client, listener.name)

    def pick(self, server: VirtualServer, client: IPAddress, excluding: frozenset[str]) -> RealServerStats | None:
        """The real server for this client; None when none is left."""
        virtual = self._counters.virtual.get(server.name)
        if virtual is None:
            return None
        name = server.name
        sessions = {real: self._counters.sessions_on(behind) for real, behind in virtual.real.items()}
        offered = {real: self._offers[name, real] for real in virtual.real if (name, real) in self._offers}
        chosen = self._schedulers[name].pick(client, self.runtime.now_s, sessions, offered, excluding)
        return None if chosen is None else virtual.real[chosen.name]

    def chosen(self, connector: Connector, behind: RealServerStats) -> None:
        """Of several real servers that were asked, this one has the client: persistence goes by it."""
        pool = self._schedulers.get(connector.virtual_server.name)
        if pool is not None:
            pool.remember(connector.client.address, behind.server.name, self.runtime.now_s)

    def connector_ended(self, connector: Connector) -> None:
        """It became a session, or is refused next, or its client left."""
        self._connectors.discard(connector)

    def client_left(self, connector: Connector) -> None:
        """A client hung up before it had a session; that is no refusal."""
        self.runtime.log.debug("client_left", session=connector.number, client=connector.client_text)
        self._admission.leaves(connector.virtual_server.name, connector.counted)
        self.runtime.readiness.closing(connector.client_sock.fileno())
        connector.client_sock.close()
        self._check_empty()

    def server_failed(self, behind: RealServerStats, cause: str, reason: str) -> None:
        """A real server refused a session; the client does not see it as long as another takes it."""
        behind.failed(cause)
        if cause == "closed":
            # Servers at their limit close so too (ProFTPD's MaxInstances): whoever judges wants to know.
            reason = f"{reason}; {self._counters.sessions_on(behind)} sessions live there"
        names = {"virtual_server": behind.virtual.name, "real_server": behind.server.name, "cause": cause}
        self.runtime.warn("real_server_refused_session", names, reason=reason)
        if self._on_failure is not None:
            self._on_failure(behind.virtual.name, behind.server.name, cause)

    def shortage(self, behind: RealServerStats, error: OSError) -> None:
        """This host could not connect to a real server for a reason of its own: nobody is judged."""
        behind.failed("shortage")
        if error.errno in NO_DESCRIPTOR_LEFT:
            self.runtime.shortage.noticed()
        names = {"virtual_server": behind.virtual.name, "real_server": behind.server.name}
        reason = error.strerror or str(error)
        self.runtime.warn("no_connection_from_this_host", names, reason=reason)

    def refuse(self, connector: Connector, cause: str, text: str) -> None:
        """Tell a client that it gets no session."""
        name, counted = connector.virtual_server.name, connector.counted
        self._admission.refuse(connector.client_sock, connector.client_text, name, counted, cause, text)

    def session_opened(
        self, connector: Connector, behind: RealServerStats, server_sock: socket.socket, greeting: bytes
    ) -> None:
        """A real server greeted: the session begins."""
        sockets = (connector.client_sock, server_sock)
        number, client, text, virtual = connector.number, connector.client, connector.client_text, connector.virtual
        session = ProxySession(self.runtime, self, behind, number, client, text, virtual, sockets)
        session.counted = connector.counted
        self._sessions.add(session)
        behind.sessions_total += 1
        stats = self._counters.virtual.get(behind.virtual.name)
        if stats is not None:
            stats.sessions_total += 1
        self.runtime.log.debug(
            "session_opened", session=session.number, client=session.client_text, virtual_server=behind.virtual.name,
            real_server=behind.server.name,
        )  # fmt: skip
        session.begin(greeting)

    def session_ended(self, session: ProxySession, reason: str) -> None:
        """A session closed both control connections."""
        self._sessions.discard(session)
        behind = session.behind
        behind.count(-1)
        self._admission.leaves(behind.virtual.name, session.counted)
        self.runtime.log.info(
            "session_ended", session=session.number, client=session.client_text, user=session.user,
            virtual_server=behind.virtual.name, real_server=behind.server.name, reason=reason,
            transfers=session.transfers, duration_s=round(self.runtime.clock.monotonic_s() - session.opened_s, 3),
        )  # fmt: skip
        self._check_empty()

    def transfer_ended(self, session: ProxySession, ended: TransferEnded, moved: int, started_s: float) -> None:
        """Count and log one transfer; `started_s` is monotonic, 0 when no relay was started."""
        behind = session.behind
        behind.count_transfer(ended, moved)
        duration_s = self.runtime.clock.monotonic_s() - started_s if started_s else 0.0
        outcome = ended.outcome.name.lower()
        self.runtime.log.info(
            "transfer", session=session.number, client=session.client_text, user=session.user, verb=ended.verb,
            path=ended.path, outcome=outcome, bytes=moved, duration_s=round(duration_s, 6), reply=ended.reply,
            virtual_server=behind.virtual.name, real_server=behind.server.name,
        )  # fmt: skip
        if self._on_transfer is not None:
            self._on_transfer(
                TransferRecord(
                    session=session.number,
                    started_s=self.runtime.clock.now_s() - duration_s,
                    duration_s=duration_s,
                    bytes=moved,
                    client=session.client_text,
                    user=session.user,
                    verb=ended.verb,
                    path=ended.path,
                    upload=ended.direction is Direction.UPLOAD,
                    binary=ended.binary,
                    complete=ended.outcome is Outcome.COMPLETE,
                    outcome=outcome,
                    reply=ended.reply,
                    virtual_server=behind.virtual.name,
                    real_server=behind.server.name,
                )
            )

    # Inside.

    def _tick(self) -> None:
        runtime = self.runtime
        now_s = runtime.now_s = runtime.clock.monotonic_s()
        self._listeners.reserve.fill()
        runtime.readiness.wake()
        runtime.shortage.expire(now_s)
        runtime.ports.expire(now_s)
        for connector in list(self._connectors):
            connector.tick(now_s)
        for session in list(self._sessions):
            session.tick(now_s)
        runtime.closings.expire(now_s)
        runtime.sampler.sum_up(now_s)
        self._check_empty()
        self._ticking = self._loop.call_later(runtime.timing.tick_s, self._tick)

    def _check_empty(self) -> None:
        if self._stopping and not self._sessions and not self._connectors and not len(self.runtime.closings):
            self._empty.set()

    def _bug(self, watcher: Watcher, bug: Exception) -> None:
        self.runtime.log.error("bug", where=type(watcher).__name__, error=repr(bug))


@lru_cache(4096)
def _address(text: str) -> IPAddress:
    """Clients come again: parsing an address costs as much as three calls into the kernel."""
    return ip_address(text)
