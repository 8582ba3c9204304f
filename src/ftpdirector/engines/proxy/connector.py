"""From an accepted client to a real server's greeting; the client sees nothing of the servers that were tried in vain.

A real server that is slow to greet is not given up for that: others are tried beside it, and the first that greets has
the client (as in RFC 8305, "Happy Eyeballs"). The client is not read meanwhile: what it sends early stays in the
kernel, bounded by its receive buffer; only that it leaves is noticed.
This module knows no command, and of replies only the greeting.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Final, Protocol

from ftpdirector.engines.proxy.counters import RealServerStats
from ftpdirector.engines.proxy.ports import NO_DESCRIPTOR_LEFT, family_of, reset
from ftpdirector.engines.proxy.proxyheader import proxy_header
from ftpdirector.engines.proxy.readiness import CLIENT_LEAVES, FAILED, READABLE, WRITABLE
from ftpdirector.engines.proxy.runtime import Runtime
from ftpdirector.engines.proxy.shortage import OWN_ERRORS
from ftpdirector.engines.proxy.stream import READ_BYTES, prepare_control
from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.replies import LARGEST_REPLY_BYTES, ReplyReader
from ftpdirector.model import Endpoint, IPAddress, VirtualServer

_ATTEMPTS_AT_MOST: Final = 4
"""Real servers that one client waits for at a time: each is a descriptor, and a session there."""


class ConnectorOwner(Protocol):
    """Who picks real servers, and is told what came of it."""

    def pick(self, server: VirtualServer, client: IPAddress, excluding: frozenset[str]) -> RealServerStats | None:
        """The real server for this client; None when none is left."""
        ...

    def chosen(self, connector: Connector, behind: RealServerStats) -> None:
        """Of several real servers that were asked, this one has the client."""

    def connector_ended(self, connector: Connector) -> None:
        """It becomes a session, or is refused next, or its client left."""

    def client_left(self, connector: Connector) -> None:
        """A client hung up before it had a session."""

    def server_failed(self, behind: RealServerStats, cause: str, reason: str) -> None:
        """A real server refused a session."""

    def shortage(self, behind: RealServerStats, error: OSError) -> None:
        """This host could not connect to a real server for a reason of its own."""

    def refuse(self, connector: Connector, cause: str, text: str) -> None:
        """The client gets no session, and is to be told so."""

    def session_opened(
        self, connector: Connector, behind: RealServerStats, server_sock: socket.socket, greeting: bytes
    ) -> None:
        """A real server greeted."""


class _Attempt:
    """One real server that was asked for a session and has not answered yet."""

    __slots__ = ("_connector", "_greeting", "_header", "_reader", "begun_s", "behind", "due_s", "sock")

    def __init__(self, connector: Connector, behind: RealServerStats) -> None:
        """Counted as a session of the real server from now on. Raises `OSError` when no socket can be had."""
        self._connector = connector
        self.behind = behind
        server, virtual_server = behind.server, connector.virtual_server
        self.sock = socket.socket(family_of(server.address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._reader = ReplyReader()
        self._greeting = b""
        self._header = b""
        self.begun_s = connector.runtime.clock.monotonic_s()
        self.due_s = self.begun_s + virtual_server.timeouts.connect_s
        behind.count(1)

    def connect(self) -> None:
        """Begin. Raises `OSError` when that fails at once."""
        connector, behind = self._connector, self.behind
        prepare_control(self.sock)
        code = self.sock.connect_ex((behind.text, behind.server.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self._header = proxy_header(connector.virtual_server.proxy_protocol, connector.client, connector.virtual)
        events = READABLE | WRITABLE if self._header else READABLE
        connector.runtime.readiness.watch(self.sock.fileno(), events, self)

    def ready(self, events: int) -> None:
        """The real server connected, greeted or failed."""
        if self.sock.fileno() < 0 or (self._header and not self._send_header(events)):
            return
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._broken(error)
            return
        if data:
            self._read(data)
        else:
            self._connector.failed(self, "closed", "closed the connection before its greeting")

    def tick(self, now_s: float) -> None:
        """About once a second: a real server that says nothing is given up."""
        if now_s < self.due_s:
            return
        greeting_due_s = self.begun_s + self._connector.virtual_server.timeouts.greeting_s
        if not self._is_connected():
            self._connector.failed(self, "connect", "no answer in time")
        elif now_s < greeting_due_s:
            self.due_s = greeting_due_s
        else:
            self._connector.failed(self, "greeting", "no greeting in time")

    def end(self) -> None:
        """Give the real server up; by RST, which leaves no ephemeral port in TIME_WAIT here."""
        self._connector.runtime.readiness.closing(self.sock.fileno())
        reset(self.sock)
        self.behind.count(-1)

    def _send_header(self, events: int) -> bool:
        """Whether all of it is sent; it fits the empty send buffer in one piece, or the connection failed."""
        if not events & WRITABLE:
            return False
        try:
            self.sock.send(self._header)
        except BlockingIOError:
            return False
        except OSError as error:
            self._broken(error)
            return False
        self._header = b""
        self._connector.runtime.readiness.watch(self.sock.fileno(), READABLE, self)
        return True

    def _read(self, data: bytes) -> None:
        self._greeting += data
        try:
            replies = self._reader.feed(data)
            if len(self._greeting) > LARGEST_REPLY_BYTES:
                raise ProtocolError("The real server's greeting does not end", reply_code=421)
        except ProtocolError as error:
            self._connector.failed(self, "greeting", str(error))
            return
        if 200 <= self._reader.doubt < 300:
            # `220-` ... `230 `: clients take it for the end. If it is not, the rest is passed on like all that follows.
            replies.append(self._reader.settle())
        for reply in replies:
            if 200 <= reply.code < 300:
                self._connector.greeted(self, self._greeting)
                return
            if reply.code == 421:
                self._connector.failed(self, "full", "greeted with 421")
                return
            if reply.code >= 400:
                self._connector.failed(self, "greeting", f"greeted with {reply.code}")
                return
            # 120: ready in so many minutes (RFC 959 section 5.4). A second reply follows.

    def _broken(self, error: OSError) -> None:
        """A server that is full may accept and close at once; behind a PROXY header that it did not read, by RST."""
        cause = "closed" if error.errno in (errno.ECONNRESET, errno.EPIPE) else "connect"
        self._connector.failed(self, cause, error.strerror or str(error))

    def _is_connected(self) -> bool:
        try:
            self.sock.getpeername()
        except OSError:
            return False
        return True


class Connector:
    """A client that waits for a real server."""

    __slots__ = (
        "_attempts", "_ended", "_owner", "_tried", "_watch", "client", "client_sock", "client_text", "counted",
        "number", "runtime", "virtual", "virtual_server",
    )  # fmt: skip

    def __init__(
        self,
        runtime: Runtime,
        owner: ConnectorOwner,
        virtual_server: VirtualServer,
        number: int,
        client_sock: socket.socket,
        client: Endpoint,
        client_text: str,
        virtual: Endpoint,
        counted: str,
    ) -> None:
        """A client that was counted in as `counted`; `start` tries the first real server."""
        self.runtime = runtime
        self._owner = owner
        self.virtual_server = virtual_server
        self.number = number
        self.client_sock = client_sock
        self.client = client
        self.client_text = client_text
        self.virtual = virtual
        self.counted = counted
        self._tried: frozenset[str] = frozenset()
        self._attempts: list[_Attempt] = []
        self._watch: asyncio.TimerHandle | None = None
        self._ended = False

    def start(self) -> None:
        """Try the first real server, unless the client left while it waited in the queue."""
        if self._has_left():
            self._leave()
            return
        self.runtime.readiness.watch(self.client_sock.fileno(), CLIENT_LEAVES, self)
        self._watch = self.runtime.later(self.runtime.timing.beside_s, self._slow)
        self._try_next()

    def ready(self, events: int) -> None:
        """The client's connection ended, or its sending half did."""
        if self._ended:
            return
        if events & FAILED or self._has_left():
            self._leave()
        else:
            # It said FIN behind commands, and may still want their answers; told once is enough.
            self.runtime.readiness.watch(self.client_sock.fileno(), 0, self)

    def tick(self, now_s: float) -> None:
        """About once a second."""
        for attempt in list(self._attempts):
            if attempt in self._attempts:
                attempt.tick(now_s)

    def abandon(self) -> None:
        """The engine stops."""
        self._refuse("stopping", "The service is stopping.")

    def failed(self, attempt: _Attempt, cause: str, reason: str) -> None:
        """A real server gave no session; the next one is tried at once."""
        self._give_up(attempt)
        self._owner.server_failed(attempt.behind, cause, reason)
        self._try_next()

    def greeted(self, attempt: _Attempt, greeting: bytes) -> None:
        """The first real server that greets has the client; one that is still silent is not judged for that."""
        self._attempts.remove(attempt)
        self._end()
        self._owner.session_opened(self, attempt.behind, attempt.sock, greeting)
        if len(self._tried) > 1:
            self._owner.chosen(self, attempt.behind)

    def _slow(self) -> None:
        """Nobody has greeted for a while: another real server is tried beside those that are waited for."""
        self._watch = self.runtime.later(self.runtime.timing.beside_s, self._slow)
        if len(self._attempts) < _ATTEMPTS_AT_MOST:
            self._try_next()

    def _try_next(self) -> None:
        while not self._ended:
            behind = self._owner.pick(self.virtual_server, self.client.address, self._tried)
            if behind is None or (self._attempts and behind.server.sorry):
                # A sorry server is for when nobody else takes the client; somebody still may.
                if not self._attempts:
                    self._refuse("none_left", "No server is available for this address now, try again later.")
                return
            self._tried |= {behind.server.name}
            try:
                attempt = _Attempt(self, behind)
            except OSError as error:
                if not self._short_of(behind, error):
                    return
                continue
            self._attempts.append(attempt)
            try:
                attempt.connect()
            except OSError as error:
                self._give_up(attempt)
                if error.errno not in OWN_ERRORS:
                    self._owner.server_failed(behind, "connect", error.strerror or str(error))
                elif not self._short_of(behind, error):
                    return
                continue
            return

    def _short_of(self, behind: RealServerStats, error: OSError) -> bool:
        """It lies on this host: nobody is judged. Whether another real server is worth a try."""
        self._owner.shortage(behind, error)
        if error.errno not in NO_DESCRIPTOR_LEFT:
            return True
        if not self._attempts:
            self._refuse("shortage", "Too many connections, try again later.")
        return False

    def _has_left(self) -> bool:
        """Whether the client said FIN and nothing before it, or is gone altogether."""
        try:
            return not self.client_sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _leave(self) -> None:
        self._end()
        self._owner.client_left(self)

    def _refuse(self, cause: str, text: str) -> None:
        self._end()
        self._owner.refuse(self, cause, text)

    def _give_up(self, attempt: _Attempt) -> None:
        self._attempts.remove(attempt)
        attempt.end()

    def _end(self) -> None:
        self._ended = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for attempt in list(self._attempts):
            self._give_up(attempt)
        self._owner.connector_ended(self)
