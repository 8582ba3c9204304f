"""One session: its two control connections, the pure FTP session between them, and what the session asks for.

Bytes and events go in, the session's actions are carried out in order; an event that an action causes at once (a port
that is leased) waits until the actions before it are done. This module knows no reply code and no scheduling.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ftpdirector.engines.proxy.alarms import Alarm
from ftpdirector.engines.proxy.control_connection import ControlConnection
from ftpdirector.engines.proxy.counters import RealServerStats
from ftpdirector.engines.proxy.data import DataConnections
from ftpdirector.engines.proxy.ports import reset
from ftpdirector.engines.proxy.runtime import Runtime
from ftpdirector.engines.proxy.session_clocks import SessionClocks
from ftpdirector.engines.proxy.shortage import OWN_ERROR_TEXTS
from ftpdirector.engines.proxy.stream import PlainStream, local_endpoint
from ftpdirector.errors import HostError
from ftpdirector.ftp.actions import (
    Action,
    Clock,
    Close,
    Connect,
    DataReady,
    Direction,
    Drop,
    Finish,
    Listen,
    LoggedIn,
    Refused,
    RememberRefused,
    Side,
    StartClock,
    StartRelay,
    StopClock,
    ToClient,
    ToServer,
    TransferEnded,
)
from ftpdirector.ftp.session import Session
from ftpdirector.model import Endpoint

_HELD_BYTES: Final = 1 << 16
"""What a slow peer does not take is held up to here; then the other side is not read any more."""
_SILENCE_S: Final = 1.0
"""A command that waits so long for those before it may wait in vain; looked at with the tick."""


class SessionOwner(Protocol):
    """Who counts and logs what sessions do."""

    def transfer_ended(self, session: ProxySession, ended: TransferEnded, moved: int, started_s: float) -> None:
        """One transfer; `started_s` is monotonic, 0 when no relay was started."""

    def session_ended(self, session: ProxySession, reason: str) -> None:
        """Both control connections are given up."""


class ProxySession:
    """One session between a client and a real server."""

    __slots__ = (
        "_busy",
        "_client",
        "_clocks",
        "_data",
        "_due",
        "_grace",
        "_owner",
        "_paused",
        "_server",
        "_transfer_s",
        "active_s",
        "behind",
        "client",
        "client_text",
        "command_s",
        "counted",
        "ended",
        "number",
        "opened_s",
        "runtime",
        "session",
        "transfers",
        "user",
        "virtual",
    )  # fmt: skip

    def __init__(
        self,
        runtime: Runtime,
        owner: SessionOwner,
        behind: RealServerStats,
        number: int,
        client: Endpoint,
        client_text: str,
        virtual: Endpoint,
        sockets: tuple[socket.socket, socket.socket],
    ) -> None:
        """A session whose real server has greeted; `sockets` are the client's and the real server's."""
        self.runtime = runtime
        self._owner = owner
        self.behind = behind
        self.number = number
        self.client = client
        self.client_text = client_text
        self.virtual = virtual
        self.session = Session(
            client=client,
            virtual=virtual,
            server=behind.server.endpoint,
            data_to_server=behind.virtual.data_to_server,
            refused=behind.refused,
        )
        self.ended = False
        self.counted = ""
        self.user = ""
        self.transfers = 0
        self.opened_s = self.active_s = runtime.now_s
        self.command_s = 0.0
        self._clocks = SessionClocks(runtime, behind.virtual.timeouts, self._clock_rings)
        self._transfer_s = 0.0
        self._busy = False
        self._paused = False
        self._due: deque[Action] | None = None
        self._data: DataConnections | None = None
        self._grace: Alarm | None = None
        self._client = ControlConnection(self, runtime.readiness, PlainStream(sockets[0]), Side.CLIENT)
        self._server = ControlConnection(self, runtime.readiness, PlainStream(sockets[1]), Side.SERVER)

    @property
    def transferring(self) -> bool:
        """Whether a transfer runs."""
        return self.session.transferring

    def begin(self, greeting: bytes) -> None:
        """Greet the client in the real server's words, and begin to read both."""
        self.runtime.readiness.hand_over(self._server.sock.fileno(), self._server)
        self._client.watch()
        self._client.write(greeting)
        self._clocks.start(Clock.LOGIN)

    def choose_events(self) -> None:
        """What one side takes decides whether the other is read."""
        self._client.choose_events()
        self._server.choose_events()

    def reads(self, side: Side) -> bool:
        """Whether this side is to be read: what one side sends, the other must take."""
        if side is Side.SERVER:
            return len(self._client.held) < _HELD_BYTES
        return self.session.reading_client and len(self._server.held) < _HELD_BYTES

    def bytes_arrived(self, side: Side, data: bytes) -> None:
        """A control connection was read."""
        self.active_s = self.runtime.now_s
        if side is Side.SERVER:
            self.do(self.session.server_bytes(data))
            return
        self.command_s = self.runtime.clock.monotonic_s()
        self.do(self.session.client_bytes(data))

    def lost(self, side: Side, *, reset: bool) -> None:
        """A control connection ended or broke."""
        if side is Side.CLIENT:
            self.do(self.session.client_lost(reset=reset))
            return
        actions = self.session.server_lost()
        if any(isinstance(action, ToClient) and action.data.startswith(b"421") for action in actions):
            self.behind.failed("control_lost")  # The client is told, so this is no farewell behind a QUIT.
        self.do(actions)

    def tick(self, now_s: float) -> None:
        """About once a second: is something overdue?"""
        self._clocks.tick(now_s)
        if self.ended:
            return
        quiet_s = now_s - self.active_s
        reply_s = self.behind.virtual.timeouts.reply_s
        if quiet_s >= _SILENCE_S and self.session.may_be_stuck:
            self.do(self.session.silence())
        elif reply_s and quiet_s >= reply_s and self._awaits_server():
            self.do(self.session.not_replied())
        elif quiet_s >= self.behind.virtual.idle_timeout_s and not self._awaits_server():
            self.active_s = now_s
            self.do(self.session.idle_timed_out())

    def shut_down(self) -> None:
        """The engine stops: end at once, or after the running transfer."""
        self.do(self.session.shutting_down())

    def abandon(self, reason: str) -> None:
        """End now, whatever runs: data connections are reset, so that no file is taken for complete."""
        self._end(reason)

    def data_open(self, side: Side) -> None:
        """See `Observer`."""
        self.do(self.session.data_open(side))

    def data_failed(self, side: Side, text: str) -> None:
        """See `Observer`."""
        if side is Side.SERVER:
            self.behind.failed("shortage" if text in OWN_ERROR_TEXTS else "data_connect")
        self.do(self.session.data_failed(side, text))

    def stranger_connected(self, address: str) -> None:
        """See `Observer`."""
        self.do(self.session.stranger_connected(address))

    def data_moves(self) -> None:
        """See `Observer`."""
        self.active_s = self.runtime.now_s

    def data_ended(self, direction: Direction) -> None:
        """See `Observer`.

        A client killed in mid-upload ends its data connection with a clean FIN, just as one that has sent all. What
        tells them apart is the control connection, which the kernel closes in the same breath. Nothing promises an
        order: Linux 6.18 closes the higher descriptor first, and that is the data connection of nearly every client.
        So the real server's FIN waits for `upload_grace`, and the control connection is looked at before and after.
        """
        if direction is not Direction.UPLOAD:
            self.do(self.session.data_ended(direction, empty=self._data is None or self._data.is_empty))
            return
        self._client.look()
        if not self.ended:
            self._cancel_grace()
            self._grace = self.runtime.alarms.after(self.behind.virtual.timeouts.upload_grace_s, self._grace_over)

    def _grace_over(self) -> None:
        self._grace = None
        self._client.look()
        if not self.ended:
            self.do(self.session.data_ended(Direction.UPLOAD))

    def _cancel_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def data_broken(self, side: Side, text: str) -> None:
        """See `Observer`."""
        if side is Side.SERVER:
            self.behind.failed("data_lost")
        self.do(self.session.data_broken(side, text, empty=self._data is None or self._data.is_empty))

    def do(self, actions: Sequence[Action]) -> None:
        """Carry out actions in order; those that they cause come after them."""
        if self._busy:
            if self._due is None:
                self._due = deque()
            self._due.extend(actions)
            return
        self._busy = True
        try:
            self._carry_out_all(actions)
            while self._due:
                due, self._due = self._due, None
                self._carry_out_all(due)
        except Exception as bug:  # noqa: BLE001  one session's bug must not end the others, nor leave its client waiting
            self.runtime.log.error("bug", session=self.number, client=self.client_text, error=repr(bug))
            self._end("a bug in the director")
        finally:
            self._busy = False
            self._due = None
        if self.ended:
            return
        if self.session.reading_client is self._paused:
            self._paused = not self._paused
            self._client.choose_events()

    def _carry_out_all(self, actions: Sequence[Action]) -> None:
        """In order; what the client is told in one breath is one segment."""
        said: list[bytes] = []
        for action in actions:
            if isinstance(action, ToClient):
                said.append(action.data)
                continue
            self._say(said)
            self._carry_out(action)
        self._say(said)

    def _say(self, said: list[bytes]) -> None:
        if said and not self.ended:
            self._client.write(said[0] if len(said) == 1 else b"".join(said))
        said.clear()

    def _carry_out(self, action: Action) -> None:
        if self.ended:
            return
        match action:
            case ToClient():
                self._client.write(action.data)
            case ToServer():
                self._server.write(action.data, urgent=action.urgent)
            case Listen(side):
                self._listen() if side is Side.CLIENT else self._listen_for_server()
            case Connect(side, endpoint):
                self._connect(side, endpoint)
            case StartRelay(direction):
                self._transfer_s = self.runtime.clock.monotonic_s()
                self._data_connections().start(direction)
            case StartClock(clock):
                self._clocks.start(clock)
            case StopClock(clock):
                self._clocks.stop(clock)
            case Finish(side):
                self._if_data(lambda data: data.finish(side, self.behind.virtual.idle_timeout_s))
            case Drop(side):
                self._if_data(lambda data: data.drop(side))
            case DataReady():
                self.runtime.setup_times.observe(self.runtime.clock.monotonic_s() - self.command_s)
            case TransferEnded():
                self._transfer_ended(action)
            case LoggedIn(user):
                self.user = user
                self.runtime.log.debug("logged_in", session=self.number, client=self.client_text, user=user)
            case RememberRefused(verb, reason):
                self.behind.refused |= {verb}
                self._info("verb_not_served", verb=verb, reason=reason)
            case Refused(verb, reply):
                self._info("command_refused", session=self.number, client=self.client_text, verb=verb, reply=reply)
            case Close(reason):
                self._end(reason)

    def _awaits_server(self) -> bool:
        """Whether the real server has something to do; in mid-transfer the relay knows whose turn it is."""
        awaits = self.session.awaits_server
        return awaits if awaits is not None else self._data is None or self._data.owing is not Side.CLIENT

    def _clock_rings(self, clock: Clock) -> None:
        if clock is Clock.DATA_CONNECTION:
            self.behind.failed("data_timeout")
        elif clock is Clock.ANSWER:
            self.behind.failed("answer_timeout")
        self.do(self.session.clock_ran_out(clock))

    def _info(self, event: str, **own: object) -> None:
        """What one client can cause as often as it likes is bounded in the log."""
        names = {"virtual_server": self.behind.virtual.name, "real_server": self.behind.server.name}
        self.runtime.sampler.say(self.runtime.log.info, self.runtime.now_s, event, names, **own)

    def _connect(self, side: Side, endpoint: Endpoint) -> None:
        if side is Side.SERVER:
            self._data_connections().connect_to_server(self.behind.server.address, self.behind.text, endpoint.port)
        else:
            self._data_connections().connect_to_client(endpoint, self.virtual.address, self.virtual.port - 1)

    def _data_connections(self) -> DataConnections:
        if self._data is None:
            self._data = DataConnections(self.runtime, self)
        return self._data

    def _if_data(self, do: Callable[[DataConnections], None]) -> None:
        if self._data is not None:
            do(self._data)
            if self._data.idle and not self._data.moved:
                self._forget_data()  # An idle session keeps nothing of its transfers.

    def _forget_data(self) -> None:
        data, self._data = self._data, None
        if data is not None:
            data.dismiss()

    def _listen(self) -> None:
        address, ports = self.virtual.address, self.behind.virtual.passive_ports
        client = self.client_text
        try:
            port = self._data_connections().lease(lambda took: self.runtime.ports.lease(address, ports, client, took))
        except HostError as error:
            self._no_data_port(str(error))
            self.do(self.session.listen_failed(Side.CLIENT, str(error)))
            return
        self.do(self.session.listening(Side.CLIENT, Endpoint(self.virtual.address, port)))

    def _no_data_port(self, reason: str) -> None:
        """A client asked for a data port, and there is none for it."""
        names = {"virtual_server": self.behind.virtual.name}
        own = {"session": self.number, "client": self.client_text, "reason": reason}
        self.runtime.warn("no_data_port", names, **own)

    def _listen_for_server(self) -> None:
        local = local_endpoint(self._server.sock).address
        try:
            endpoint = self._data_connections().listen_for_server(local, self.behind.server.address)
        except OSError as error:
            self.do(self.session.listen_failed(Side.SERVER, error.strerror or str(error)))
            return
        self.do(self.session.listening(Side.SERVER, endpoint))

    def _transfer_ended(self, ended: TransferEnded) -> None:
        self._cancel_grace()
        moved = 0
        if self._data is not None:
            moved = self._data.take_moved()
            if self._data.idle:
                self._forget_data()
        self.transfers += 1
        self._owner.transfer_ended(self, ended, moved, self._transfer_s)
        self._transfer_s = 0.0

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        self._clocks.end()
        self._cancel_grace()
        if self._data is not None:
            self._data.close()
            self._forget_data()
        runtime = self.runtime
        runtime.closings.close(self._client.sock, runtime.now_s, self._client.held)
        if self._client.gone and not self.user:
            # Nothing can be lost before a login, and a close from this side would keep an ephemeral port for a minute.
            runtime.readiness.closing(self._server.sock.fileno())
            reset(self._server.sock)
        else:
            runtime.closings.close(self._server.sock, runtime.now_s, self._server.held)
        for control in (self._client, self._server):
            control.dismiss()
        self._owner.session_ended(self, reason)
