"""The engine: listens on the virtual addresses, admits clients, gives each a real server, and counts.

It follows what is wanted while it runs: new virtual servers listen, vanished ones stop to accept, sessions go on. All
look-ups are by name, so that a thousand virtual servers cost a session no more than one.
This module knows no FTP command, and never why a real server is offered or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Protocol

from ftpdirector.engines.proxy.alarms import Alarms
from ftpdirector.engines.proxy.closing import Closings
from ftpdirector.engines.proxy.connector import Connector, prepare_control
from ftpdirector.engines.proxy.ports import NO_DESCRIPTOR_LEFT, Lease, PortPool, listening_socket
from ftpdirector.engines.proxy.readiness import READABLE, Readiness, Watcher
from ftpdirector.engines.proxy.relay import PipePool
from ftpdirector.engines.proxy.sampling import Sampler
from ftpdirector.engines.proxy.session import ProxySession
from ftpdirector.engines.proxy.shared import SharedCounts
from ftpdirector.engines.proxy.shortage import Reserve
from ftpdirector.errors import EngineError
from ftpdirector.ftp.actions import Direction, Outcome, TransferEnded
from ftpdirector.model import Endpoint, IPAddress, PortRange, RealServer, VirtualServer
from ftpdirector.scheduling.pool import Pool
from ftpdirector.state import (
    EngineCounters,
    Histogram,
    RealServerCounters,
    SessionState,
    TransferRecord,
    VirtualServerCounters,
)
from ftpdirector.wanted import Offer, Wanted

BACKLOG: Final = 4096
"""Clients that wait to be accepted; the kernel cuts it to net.core.somaxconn."""
_ACCEPTS_A_TURN: Final = 32
_DISCARD_BYTES: Final = 16384
_EXHAUSTED_AGAIN_S: Final = 60.0
"""So long after it was said that no descriptor is left it is said again."""
_SETUP_BOUNDS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Log(Protocol):
    """A structured log, as structlog's loggers are."""

    def debug(self, event: str, /, **values: object) -> object:
        """Something that only helps to follow one session."""

    def info(self, event: str, /, **values: object) -> object:
        """Something that belongs to normal work."""

    def warning(self, event: str, /, **values: object) -> object:
        """Something that an operator may want to mend."""

    def error(self, event: str, /, **values: object) -> object:
        """A bug, or something that stopped work."""


class Clock(Protocol):
    """Both clocks of the host."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never jump."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often the engine looks; what it waits for stands with the virtual server."""

    tick_s: float = 1.0
    """How often sessions are looked at; the precision of every time-out."""
    beside_s: float = 3.0
    """Another real server is tried beside one that has not greeted for so long, and again after as long."""


class SetupTimes:
    """From a PASV, EPSV, PORT or EPRT to its reply."""

    def __init__(self) -> None:
        """Nothing was observed yet."""
        self._counts = [0] * (len(_SETUP_BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """One more."""
        self._sum_s += duration_s
        for place, bound_s in enumerate(_SETUP_BOUNDS_S):
            if duration_s <= bound_s:
                self._counts[place] += 1
                return
        self._counts[-1] += 1

    def histogram(self) -> Histogram:
        """As a value."""
        return Histogram(bounds_s=_SETUP_BOUNDS_S, counts=tuple(self._counts), sum_s=self._sum_s)


class RealServerStats:
    """A real server behind a virtual server: what is known and counted of it here."""

    __slots__ = (
        "_counts", "download_bytes", "downloads", "failures", "key", "refused", "server", "sessions_total",
        "text", "upload_bytes", "uploads", "virtual",
    )  # fmt: skip

    def __init__(self, counts: Callable[[str, int], int], virtual: VirtualServer, server: RealServer) -> None:
        """Nothing is counted yet; `counts` adds to a number that holds across workers."""
        self.virtual = virtual
        self.server = server
        self.text = str(server.address)
        self.key = f"r\0{virtual.name}\0{server.name}"
        self.refused: frozenset[str] = frozenset()
        self.sessions_total = 0
        self.downloads = self.uploads = self.download_bytes = self.upload_bytes = 0
        self.failures: dict[str, int] = {}
        self._counts = counts

    def count(self, change: int) -> None:
        """A session begins (+1) or ends (-1)."""
        self._counts(self.key, change)

    def failed(self, cause: str) -> None:
        """Count a failure by its cause."""
        self.failures[cause] = self.failures.get(cause, 0) + 1


class Listener:
    """A listening socket of a virtual server."""

    __slots__ = ("_engine", "endpoint", "name", "sock", "wildcard")

    def __init__(self, engine: ProxyEngine, name: str, endpoint: Endpoint, sock: socket.socket) -> None:
        self._engine = engine
        self.name = name
        self.endpoint = endpoint if endpoint.port else _local_endpoint(sock)
        self.wildcard = endpoint.address.is_unspecified
        self.sock = sock

    def ready(self, events: int) -> None:  # noqa: ARG002  accept tells more
        """Clients wait to be accepted."""
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, peer = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_DESCRIPTOR_LEFT and not self._turn_one_away():
                    return
                continue  # Else: this client gave up before it was accepted (accept(2), ECONNABORTED).
            sock.settimeout(0)
            self._engine.accepted(self, sock, peer)

    def _turn_one_away(self) -> bool:
        """No descriptor is left but the one in reserve: it serves to say so. False when that serves nobody now."""
        engine = self._engine
        engine.descriptors_exhausted()
        engine.reserve.spend()
        try:
            sock, peer = self.sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in NO_DESCRIPTOR_LEFT:
                engine.readiness.rest(self.sock.fileno(), self)
            return False
        else:
            engine.turn_away(self, sock, peer[0])
            return True
        finally:
            engine.reserve.fill()


class _Virtual:
    """What an engine holds of one virtual server; counters outlive a reload."""

    __slots__ = ("key", "pool", "real", "refused", "server", "sessions_total")

    def __init__(self, server: VirtualServer) -> None:
        self.server = server
        self.key = f"v\0{server.name}"
        self.pool = Pool(server)
        self.real: dict[str, RealServerStats] = {}
        self.refused: dict[str, int] = {}
        self.sessions_total = 0


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
        self.log = log
        self.clock = clock
        self.timing = timing or Timing()
        self.readiness = Readiness(self._loop, self._bug)
        self.pipes = PipePool()
        self.alarms = Alarms(self.readiness, clock.monotonic_s)
        self.closings = Closings(self.readiness, self._check_empty)
        self.reserve = Reserve()
        self.sampler = Sampler()
        self.setup_times = SetupTimes()
        self.now_s = clock.monotonic_s()
        self._on_failure = on_failure
        self._on_transfer = on_transfer
        self._counts = (shared or SharedCounts(workers)).worker(worker_index)
        self._worker_index = worker_index
        self._workers = workers
        self._given = dict(sockets or {})
        self._virtual: dict[str, _Virtual] = {}
        self._listeners: dict[Endpoint, Listener] = {}
        self._offers: Mapping[tuple[str, str], Offer] = {}
        self._sessions: set[ProxySession] = set()
        self._connectors: set[Connector] = set()
        self._pools: dict[IPAddress, PortPool] = {}
        self._chance = random.SystemRandom()
        self._opened = 0
        self._touched: set[str] = set()
        self._exhausted = False
        self._exhausted_s = 0.0
        self._stopping = False
        self._empty = asyncio.Event()
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """Where the engine listens; with the real port where port 0 was asked for."""
        return tuple(_local_endpoint(listener.sock) for listener in self._listeners.values())

    async def start(self, wanted: Wanted) -> None:
        """Listen and serve. Raises `EngineError` when an address is taken; nothing listens then."""
        self.apply(wanted)
        self._ticking = self._loop.call_later(self.timing.tick_s, self._tick)

    def give(self, sockets: Mapping[Endpoint, socket.socket]) -> None:
        """More listening sockets from the supervisor, for what is applied next."""
        self._given.update(sockets)

    def apply(self, wanted: Wanted) -> None:
        """Make what is wanted true; sessions go on.

        Raises `EngineError` when a new address is taken: nothing is changed then.
        """
        listeners = {
            Endpoint(address, server.port): server.name
            for server in wanted.cluster.virtual_servers
            for address in server.addresses
        }
        opened = self._open([endpoint for endpoint in listeners if endpoint not in self._listeners])
        for endpoint in [endpoint for endpoint in self._listeners if endpoint not in listeners]:
            self._close_listener(endpoint)
        for endpoint, name in listeners.items():
            if endpoint in opened:
                listener = self._listeners[endpoint] = Listener(self, name, endpoint, opened[endpoint])
                self.readiness.watch(listener.sock.fileno(), READABLE, listener)
            else:
                self._listeners[endpoint].name = name
        self._offers = wanted.offers
        for server in wanted.cluster.virtual_servers:
            self._apply_virtual(server)
        names = {server.name for server in wanted.cluster.virtual_servers}
        self._touched |= names
        for name in [name for name in self._virtual if name not in names]:
            del self._virtual[name]
        for address, pool in self._pools.items():
            pool.follow(*self._ranges_of(address))

    def snapshot_counters(self) -> EngineCounters:
        """What this process counted; `sessions` and `transfers` are this process's own, now."""
        return self._count(self._virtual)

    def changed_counters(self) -> EngineCounters:
        """The same, for those virtual servers alone to which something happened since the last call."""
        live = {session.behind.virtual.name for session in self._sessions}
        names, self._touched = self._touched | live, set()
        return self._count(names & self._virtual.keys())

    def _count(self, names: Iterable[str]) -> EngineCounters:
        busy: dict[str, int] = {}
        for session in self._sessions:
            if session.transferring:
                busy[session.behind.key] = busy.get(session.behind.key, 0) + 1
        servers: dict[str, VirtualServerCounters] = {}
        for name in names:
            virtual = self._virtual[name]
            servers[name] = VirtualServerCounters(
                endpoints=tuple(str(_local_endpoint(listener.sock)) for listener in self._listeners_of(virtual.server)),
                sessions=self._counts.own(virtual.key),
                sessions_total=virtual.sessions_total,
                refused_total=dict(virtual.refused),
                real_servers={name: self._counters(behind, busy) for name, behind in virtual.real.items()},
            )
        return EngineCounters(virtual_servers=servers, data_setup=self.setup_times.histogram())

    def _listeners_of(self, server: VirtualServer) -> Iterator[Listener]:
        for address in server.addresses:
            listener = self._listeners.get(Endpoint(address, server.port))
            if listener is not None:
                yield listener

    def sessions(self) -> tuple[SessionState, ...]:
        """The sessions that are open now, in the order of their numbers."""
        now_s = self.clock.monotonic_s()
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
        for endpoint in list(self._listeners):
            self._close_listener(endpoint)
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
        for endpoint in list(self._listeners):
            self._close_listener(endpoint)
        for connector in list(self._connectors):
            connector.abandon()
        for session in list(self._sessions):
            session.abandon("the director stopped")
        self.closings.end_all()
        self.alarms.close()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        self.pipes.close()
        self.reserve.spend()
        self.sampler.sum_up()
        if self._ticking is not None:
            self._ticking.cancel()
        for sock in self._given.values():
            sock.close()
        self._given.clear()
        self.readiness.close()

    # What the listening sockets, connectors and sessions of this engine call.

    def accepted(self, listener: Listener, sock: socket.socket, peer: tuple[str, int]) -> None:
        """A client connected: admit or refuse it."""
        virtual = self._virtual[listener.name]
        client = Endpoint(_address(peer[0]), peer[1])
        local = listener.endpoint
        if listener.wildcard:
            local = _local_endpoint(sock)
        self._opened += 1
        number = self._opened * self._workers + self._worker_index
        self.now_s = self.clock.monotonic_s()
        counted = _counted_as(virtual.server, client.address, peer[0])
        connector = Connector(self, virtual.server, number, sock, client, peer[0], local, counted)
        text = self._over_limit(virtual, connector)
        if text:
            self.refuse(connector, *text)
            return
        self._connectors.add(connector)
        connector.start()

    def turn_away(self, listener: Listener, sock: socket.socket, client: str) -> None:
        """A client that there is no descriptor for: it is told so, and its socket is closed here and now."""
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            sock.send(b"421 Too many connections, try again later.\r\n")
            sock.shutdown(socket.SHUT_WR)
            sock.recv(_DISCARD_BYTES)  # What stays unread would turn the close into a reset (RFC 2525 section 2.17).
        sock.close()
        self._count_refused(listener.name, "shortage", client)

    def pick(self, server: VirtualServer, client: IPAddress, excluding: frozenset[str]) -> RealServerStats | None:
        """The real server for this client; None when none is left."""
        virtual = self._virtual.get(server.name)
        if virtual is None:
            return None
        sessions = {name: self._counts.total(behind.key) for name, behind in virtual.real.items()}
        chosen = virtual.pool.pick(client, self.now_s, sessions, self._offered(virtual), excluding)
        return None if chosen is None else virtual.real[chosen.name]

    def chosen(self, connector: Connector, behind: RealServerStats) -> None:
        """Of several real servers that were asked, this one has the client: persistence goes by it."""
        virtual = self._virtual.get(connector.virtual_server.name)
        if virtual is not None:
            virtual.pool.remember(connector.client.address, behind.server.name, self.now_s)

    def later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call after `delay_s`."""
        return self._loop.call_later(delay_s, call)

    def connector_ended(self, connector: Connector) -> None:
        """It became a session, or is refused next, or its client left."""
        self._connectors.discard(connector)

    def client_left(self, connector: Connector) -> None:
        """A client hung up before it had a session; that is no refusal."""
        self.log.debug("client_left", session=connector.number, client=connector.client_text)
        self._count_client(connector.virtual_server.name, connector.counted, -1)
        self.readiness.closing(connector.client_sock.fileno())
        connector.client_sock.close()
        self._check_empty()

    def server_failed(self, behind: RealServerStats, cause: str, reason: str) -> None:
        """A real server refused a session; the client does not see it as long as another takes it."""
        behind.failed(cause)
        if cause == "closed":
            # Servers at their limit close so too (ProFTPD's MaxInstances): whoever judges wants to know.
            reason = f"{reason}; {self._counts.total(behind.key)} sessions live there"
        names = {"virtual_server": behind.virtual.name, "real_server": behind.server.name, "cause": cause}
        self.sampler.say(self.log.warning, self.now_s, "real_server_refused_session", names, reason=reason)
        if self._on_failure is not None:
            self._on_failure(behind.virtual.name, behind.server.name, cause)

    def shortage(self, behind: RealServerStats, error: OSError) -> None:
        """This host could not connect to a real server for a reason of its own: nobody is judged."""
        behind.failed("shortage")
        if error.errno in NO_DESCRIPTOR_LEFT:
            self.descriptors_exhausted()
        names = {"virtual_server": behind.virtual.name, "real_server": behind.server.name}
        reason = error.strerror or str(error)
        self.sampler.say(self.log.warning, self.now_s, "no_connection_from_this_host", names, reason=reason)

    def refuse(self, connector: Connector, cause: str, text: str) -> None:
        """Tell a client that it gets no session (RFC 959: 421 service not available, closing control connection)."""
        self._count_refused(connector.virtual_server.name, cause, connector.client_text)
        self._count_client(connector.virtual_server.name, connector.counted, -1)
        self.closings.close(connector.client_sock, self.now_s, b"421 " + text.encode("ascii") + b"\r\n")

    def session_opened(
        self, connector: Connector, behind: RealServerStats, server_sock: socket.socket, greeting: bytes
    ) -> None:
        """A real server greeted: the session begins."""
        sockets = (connector.client_sock, server_sock)
        session = ProxySession(
            self, behind, connector.number, connector.client, connector.client_text, connector.virtual, sockets
        )
        session.counted = connector.counted
        self._sessions.add(session)
        behind.sessions_total += 1
        virtual = self._virtual.get(behind.virtual.name)
        if virtual is not None:
            virtual.sessions_total += 1
        self.log.debug(
            "session_opened", session=session.number, client=session.client_text, virtual_server=behind.virtual.name,
            real_server=behind.server.name,
        )  # fmt: skip
        session.begin(greeting)

    def session_ended(self, session: ProxySession, reason: str) -> None:
        """A session closed both control connections."""
        self._sessions.discard(session)
        behind = session.behind
        behind.count(-1)
        self._count_client(behind.virtual.name, session.counted, -1)
        self.log.info(
            "session_ended", session=session.number, client=session.client_text, user=session.user,
            virtual_server=behind.virtual.name, real_server=behind.server.name, reason=reason,
            transfers=session.transfers, duration_s=round(self.clock.monotonic_s() - session.opened_s, 3),
        )  # fmt: skip
        self._check_empty()

    def transfer_ended(self, session: ProxySession, ended: TransferEnded, moved: int, started_s: float) -> None:
        """Count and log one transfer; `started_s` is monotonic, 0 when no relay was started."""
        behind = session.behind
        upload = ended.direction is Direction.UPLOAD
        if ended.outcome is Outcome.COMPLETE:
            behind.uploads += upload
            behind.downloads += not upload
        elif ended.outcome in (Outcome.FAILED, Outcome.ABORTED):
            behind.failed(ended.outcome.name.lower())
        if upload:
            behind.upload_bytes += moved
        else:
            behind.download_bytes += moved
        duration_s = self.clock.monotonic_s() - started_s if started_s else 0.0
        outcome = ended.outcome.name.lower()
        self.log.info(
            "transfer", session=session.number, client=session.client_text, user=session.user, verb=ended.verb,
            path=ended.path, outcome=outcome, bytes=moved, duration_s=round(duration_s, 6), reply=ended.reply,
            virtual_server=behind.virtual.name, real_server=behind.server.name,
        )  # fmt: skip
        if self._on_transfer is not None:
            self._on_transfer(
                TransferRecord(
                    session=session.number,
                    started_s=self.clock.now_s() - duration_s,
                    duration_s=duration_s,
                    bytes=moved,
                    client=session.client_text,
                    user=session.user,
                    verb=ended.verb,
                    path=ended.path,
                    upload=upload,
                    binary=True,
                    complete=ended.outcome is Outcome.COMPLETE,
                    outcome=outcome,
                    reply=ended.reply,
                    virtual_server=behind.virtual.name,
                    real_server=behind.server.name,
                )
            )

    def lease(
        self, address: IPAddress, ports: PortRange, client: str, on_open: Callable[[socket.socket], None]
    ) -> Lease:
        """A data port for `client` on one address, from this worker's own part of `ports`.

        Raises `HostError` when there is none.
        """
        part = self._part(ports)
        pool = self._pools.get(address)
        if pool is None:
            pool = PortPool(self.readiness, address, part, self._chance, self.clock.monotonic_s)
            pool.follow(*self._ranges_of(address))
            self._pools[address] = pool
        return pool.lease(client, on_open, part)

    def no_data_port(self, session: ProxySession, reason: str) -> None:
        """A client asked for a data port, and there is none for it."""
        names = {"virtual_server": session.behind.virtual.name}
        own = {"session": session.number, "client": session.client_text, "reason": reason}
        self.sampler.say(self.log.warning, self.now_s, "no_data_port", names, **own)

    def local_address(self, sock: socket.socket) -> IPAddress:
        """The address on this host that a connection uses."""
        return _local_endpoint(sock).address

    def descriptors_exhausted(self) -> None:
        """Say it once in a while, however often it happens."""
        if not self._exhausted:
            self._exhausted = True
            self._exhausted_s = self.clock.monotonic_s()
            self.log.warning("no_descriptor_left", remedy="raise LimitNOFILE of the service")

    # Inside.

    def _apply_virtual(self, server: VirtualServer) -> None:
        virtual = self._virtual.get(server.name)
        if virtual is None:
            virtual = self._virtual[server.name] = _Virtual(server)
        elif virtual.server != server:
            virtual.server = server
            virtual.pool.follow(server)
        old = virtual.real
        virtual.real = {}
        for real in server.real_servers:
            behind = old.get(real.name)
            if behind is None:
                behind = RealServerStats(self._counts.add, server, real)
            behind.virtual = server
            behind.server = real
            behind.text = str(real.address)
            virtual.real[real.name] = behind

    def _offered(self, virtual: _Virtual) -> dict[str, Offer]:
        name = virtual.server.name
        offers = self._offers
        return {real: offers[name, real] for real in virtual.real if (name, real) in offers}

    def _over_limit(self, virtual: _Virtual, connector: Connector) -> tuple[str, str] | None:
        """Count the client in, then compare: two workers that admit at once never both exceed a limit."""
        server = virtual.server
        total, per_client = self._count_client(server.name, connector.counted, 1)
        if server.max_sessions and total > server.max_sessions:
            return "max_sessions", "Too many sessions on this address, try again later."
        if server.max_sessions_per_client and per_client > server.max_sessions_per_client:
            return "max_sessions_per_client", "Too many sessions from your address."
        return None

    def _count_client(self, name: str, counted: str, change: int) -> tuple[int, int]:
        self._touched.add(name)
        return self._counts.add(f"v\0{name}", change), self._counts.add(counted, change)

    def _count_refused(self, name: str, cause: str, client: str) -> None:
        virtual = self._virtual.get(name)
        if virtual is not None:
            virtual.refused[cause] = virtual.refused.get(cause, 0) + 1
            self._touched.add(name)
        names = {"virtual_server": name, "cause": cause}
        self.sampler.say(self.log.info, self.now_s, "client_refused", names, client=client)

    def _part(self, ports: PortRange) -> PortRange:
        """Workers never meet; where there are more of them than ports they pass over what another one has."""
        part = ports.cut(self._workers)[self._worker_index]
        return part if len(part) else ports

    def _ranges_of(self, address: IPAddress) -> list[PortRange]:
        """The parts that virtual servers announce on an address now, one time each."""
        ranges = {
            virtual.server.passive_ports: None
            for virtual in self._virtual.values()
            if any(
                one == address or (one.is_unspecified and one.version == address.version)
                for one in virtual.server.addresses
            )
        }
        return [self._part(ports) for ports in ranges]

    def _counters(self, behind: RealServerStats, busy: Mapping[str, int]) -> RealServerCounters:
        return RealServerCounters(
            sessions=self._counts.own(behind.key),
            sessions_total=behind.sessions_total,
            transfers=busy.get(behind.key, 0),
            downloads_total=behind.downloads,
            uploads_total=behind.uploads,
            download_bytes_total=behind.download_bytes,
            upload_bytes_total=behind.upload_bytes,
            failures_total=dict(behind.failures),
        )

    def _open(self, endpoints: list[Endpoint]) -> dict[Endpoint, socket.socket]:
        opened: dict[Endpoint, socket.socket] = {}
        for endpoint in endpoints:
            try:
                given = self._given.pop(endpoint, None)
                sock = given if given is not None else listening_socket(endpoint, BACKLOG)
                sock.settimeout(0)
                prepare_control(sock)
            except OSError as error:
                for other in opened.values():
                    other.close()
                raise EngineError(f"cannot listen on {endpoint}: {error.strerror or error}") from error
            opened[endpoint] = sock
        return opened

    def _close_listener(self, endpoint: Endpoint) -> None:
        listener = self._listeners.pop(endpoint)
        # Unregistered by hand: other processes may hold the same socket, so that close(2) would not do it.
        self.readiness.forget(listener.sock.fileno())
        listener.sock.close()

    def _tick(self) -> None:
        now_s = self.now_s = self.clock.monotonic_s()
        self.reserve.fill()
        self.readiness.wake()
        self._exhausted = self._exhausted and now_s - self._exhausted_s < _EXHAUSTED_AGAIN_S
        for pool in self._pools.values():
            pool.expire(now_s)
        for connector in list(self._connectors):
            connector.tick(now_s)
        for session in list(self._sessions):
            session.tick(now_s)
        self.closings.expire(now_s)
        self.sampler.sum_up(now_s)
        self._check_empty()
        self._ticking = self._loop.call_later(self.timing.tick_s, self._tick)

    def _check_empty(self) -> None:
        if self._stopping and not self._sessions and not self._connectors and not len(self.closings):
            self._empty.set()

    def _bug(self, watcher: Watcher, bug: Exception) -> None:
        self.log.error("bug", where=type(watcher).__name__, error=repr(bug))


def _counted_as(server: VirtualServer, client: IPAddress, text: str) -> str:
    """The name of a count: by network for IPv6, where every host has a network of addresses (RFC 7934)."""
    if client.version == 6:
        text = f"{int(client) >> (128 - server.client_prefix_ipv6):x}/{server.client_prefix_ipv6}"
    return f"c\0{server.name}\0{text}"


@lru_cache(4096)
def _address(text: str) -> IPAddress:
    """Clients come again: parsing an address costs as much as three calls into the kernel."""
    return ip_address(text)


def _local_endpoint(sock: socket.socket) -> Endpoint:
    name = sock.getsockname()
    return Endpoint(ip_address(name[0]), int(name[1]))
