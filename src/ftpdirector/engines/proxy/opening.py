"""From an accepted client to a real server's greeting; the client sees nothing of the servers that were tried in vain.

The client is not read meanwhile: what it sends early stays in the kernel, bounded by its receive buffer.
This module knows no command, and of replies only the greeting.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from ftpdirector.engines.proxy.control import READ_BYTES
from ftpdirector.engines.proxy.ports import family_of
from ftpdirector.engines.proxy.proxyheader import proxy_header
from ftpdirector.engines.proxy.readiness import READABLE, WRITABLE
from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.replies import ReplyReader
from ftpdirector.model import Endpoint, VirtualServer

if TYPE_CHECKING:
    from ftpdirector.engines.proxy.server import Behind, ProxyEngine

KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""Seconds, seconds, times: a NAT on the way must not forget an idle control connection in a long transfer."""


def prepare_control(sock: socket.socket) -> None:
    """Options of a control connection; set on a listening socket, accepted ones inherit them (tcp(7)).

    SO_OOBINLINE: the Data Mark of a Synch would be lost otherwise (RFC 854, "The TELNET Synch").
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Opening:
    """A client that waits for a real server."""

    __slots__ = (
        "_begun_s",
        "_behind", "_greeting", "_header", "_reader", "_sock", "_tried", "client", "client_sock", "client_text",
        "due_s", "engine", "number", "virtual", "virtual_server",
    )  # fmt: skip

    def __init__(
        self,
        engine: ProxyEngine,
        virtual_server: VirtualServer,
        number: int,
        client_sock: socket.socket,
        client: Endpoint,
        client_text: str,
        virtual: Endpoint,
    ) -> None:
        """A client that passed the limits; `start` tries the first real server."""
        self.engine = engine
        self.virtual_server = virtual_server
        self.number = number
        self.client_sock = client_sock
        self.client = client
        self.client_text = client_text
        self.virtual = virtual
        self.due_s = 0.0
        self._begun_s = 0.0
        self._tried: frozenset[str] = frozenset()
        self._behind: Behind | None = None
        self._sock: socket.socket | None = None
        self._reader = ReplyReader()
        self._greeting = b""
        self._header = b""

    def start(self) -> None:
        """Try the next real server, or give up."""
        while True:
            behind = self.engine.pick(self.virtual_server, self.client.address, self._tried)
            if behind is None:
                self.engine.opening_ended(self)
                self.engine.refuse(self, "none_left", "No server is available for this address now, try again later.")
                return
            self._tried |= {behind.server.name}
            self._behind = behind
            self._reader = ReplyReader()
            self._greeting = b""
            code = self._connect(behind)
            if code in (0, errno.EINPROGRESS):
                return
            self._failed("connect", os.strerror(code))

    def ready(self, events: int) -> None:
        """The real server connected, greeted or failed."""
        sock = self._sock
        if sock is None:
            return
        if self._header and not self._send_header(sock, events):
            return
        try:
            data = sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._next("connect", error.strerror or str(error))
            return
        if not data:
            self._next("greeting", "closed before its greeting")
            return
        self._read(data)

    def tick(self, now_s: float) -> None:
        """About once a second: a real server that says nothing is given up."""
        if self._sock is None or now_s < self.due_s:
            return
        if not self._is_connected(self._sock):
            self._next("connect", "no answer in time")
        elif now_s < self._begun_s + self.virtual_server.timeouts.greeting_s:
            self.due_s = self._begun_s + self.virtual_server.timeouts.greeting_s
        else:
            self._next("greeting", "no greeting in time")

    def abandon(self) -> None:
        """The engine stops."""
        self._leave()
        self.engine.opening_ended(self)
        self.engine.refuse(self, "stopping", "The service is stopping.")

    def _connect(self, behind: Behind) -> int:
        server = behind.server
        sock = socket.socket(family_of(server.address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._sock = sock
        prepare_control(sock)
        behind.count(1)
        self._begun_s = self.engine.clock.monotonic_s()
        self.due_s = self._begun_s + self.virtual_server.timeouts.connect_s
        code = sock.connect_ex((behind.text, server.port))
        if code in (0, errno.EINPROGRESS):
            self._header = proxy_header(self.virtual_server.proxy_protocol, self.client, self.virtual)
            self.engine.readiness.watch(sock.fileno(), READABLE | WRITABLE if self._header else READABLE, self)
        return code

    def _send_header(self, sock: socket.socket, events: int) -> bool:
        """Whether all of it is sent; it fits the empty send buffer in one piece, or the connection failed."""
        if not events & WRITABLE:
            return False
        try:
            sock.send(self._header)
        except BlockingIOError:
            return False
        except OSError as error:
            self._next("connect", error.strerror or str(error))
            return False
        self._header = b""
        self.engine.readiness.watch(sock.fileno(), READABLE, self)
        return True

    def _read(self, data: bytes) -> None:
        self._greeting += data
        try:
            replies = self._reader.feed(data)
        except ProtocolError as error:
            self._next("greeting", str(error))
            return
        for reply in replies:
            if 200 <= reply.code < 300:
                self._greeted()
                return
            if reply.code == 421:
                self._next("full", "greeted with 421")
                return
            if reply.code >= 400:
                self._next("greeting", f"greeted with {reply.code}")
                return
            # 120: ready in so many minutes (RFC 959 section 5.4). A second reply follows.

    def _greeted(self) -> None:
        behind, sock = self._behind, self._sock
        if behind is None or sock is None:
            return
        self._sock = None
        self.engine.opening_ended(self)
        self.engine.link_up(self, behind, sock, self._greeting)

    def _next(self, cause: str, reason: str) -> None:
        self._failed(cause, reason)
        self.start()

    def _failed(self, cause: str, reason: str) -> None:
        behind = self._behind
        self._leave()
        if behind is not None:
            self.engine.server_failed(behind, cause, reason)

    def _leave(self) -> None:
        if self._sock is not None:
            self.engine.readiness.closing(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._behind is not None:
            self._behind.count(-1)
            self._behind = None

    @staticmethod
    def _is_connected(sock: socket.socket) -> bool:
        try:
            sock.getpeername()
        except OSError:
            return False
        return True
