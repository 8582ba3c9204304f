"""The data connection on one side of a session: leased or listened for, or connected; what opens it stands here too.

Every socket is set to be reset on close from the moment it stands. This module knows no transfer: whether bytes may
move, and when a side is finished, its owner knows.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final, Protocol

from ftpdirector.engines.proxy.closing import finish_on_close, reset_on_close
from ftpdirector.engines.proxy.ports import IP_FREEBIND, NO_DESCRIPTOR_LEFT, Lease, family_of, reset
from ftpdirector.engines.proxy.readiness import EVERY_EDGE, READABLE
from ftpdirector.engines.proxy.runtime import Runtime
from ftpdirector.engines.proxy.stream import PlainStream, Stream
from ftpdirector.ftp.session import Side
from ftpdirector.model import Endpoint, IPAddress

IP_BIND_ADDRESS_NO_PORT: Final = 24
"""linux/in.h: the port is chosen at connect(2), so that ephemeral ports are shared among destinations."""
_IN_PROGRESS: Final = (0, errno.EINPROGRESS)


class DataOwner(Protocol):
    """Both data connections of a session, as one of them sees them."""

    runtime: Runtime

    def pump(self, end: DataEnd, events: int) -> None:
        """A side may be readable, writable or broken."""

    def tell_open(self, side: Side) -> None:
        """A side stands."""

    def tell_failed(self, side: Side, text: str) -> None:
        """A side could not be opened."""


class DataEnd:
    """The data connection on one side, in whatever state."""

    __slots__ = ("connecting", "data", "lease", "listener", "side", "stream")

    def __init__(self, data: DataOwner, side: Side) -> None:
        """Nothing is open yet."""
        self.data = data
        self.side = side
        self.stream: Stream | None = None
        self.connecting = False
        self.lease: Lease | None = None
        self.listener: ServerListener | None = None

    def ready(self, events: int) -> None:
        """It connected, failed, or can be read or written."""
        stream = self.stream
        if stream is None:
            return
        if not self.connecting:
            self.data.pump(self, events)
            return
        sock = stream.sock
        try:
            sock.getpeername()
        except OSError:
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._close()
                self.data.tell_failed(self.side, os.strerror(code))
            return
        self.connecting = False
        self.data.tell_open(self.side)

    def took(self, sock: socket.socket) -> None:
        """A connection was accepted for this side."""
        reset_on_close(sock)
        sock.settimeout(0)
        self.lease = None
        self.listener = None
        self.stream = PlainStream(sock)
        self.data.runtime.readiness.watch(sock.fileno(), EVERY_EDGE, self)
        self.data.tell_open(self.side)

    def connects(self, sock: socket.socket) -> None:
        """A connection is on its way from here."""
        self.stream = PlainStream(sock)
        self.connecting = True
        self.data.runtime.readiness.watch(sock.fileno(), EVERY_EDGE, self)

    def release(self) -> None:
        """Nobody may connect for this side any more."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def take(self) -> socket.socket | None:
        """The socket, no longer watched and no longer ours."""
        stream, self.stream = self.stream, None
        self.connecting = False
        return None if stream is None else stream.sock

    def close(self) -> None:
        """Answer the peer's FIN with ours."""
        if self.stream is not None:
            finish_on_close(self.stream.sock)
            self._close()

    def reset(self) -> None:
        """RST; a sender whose FIN was answered with FIN alone (`Direction.BOTH`) has heard all there is."""
        self.release()
        if self.stream is not None:
            self._close()

    def _close(self) -> None:
        sock = self.take()
        if sock is not None:
            self.data.runtime.readiness.closing(sock.fileno())
            sock.close()


class ServerListener:
    """Waits for one data connection from the real server (active mode toward it)."""

    __slots__ = ("_end", "_peer", "sock")

    def __init__(self, end: DataEnd, sock: socket.socket, peer: str) -> None:
        """The socket listens; whoever is not at `peer` (an address as text) is reset."""
        self._end = end
        self._peer = peer
        self.sock = sock
        end.data.runtime.readiness.watch(sock.fileno(), READABLE, self)

    def ready(self, events: int) -> None:  # noqa: ARG002  accept tells more
        """Somebody connected."""
        try:
            sock, peer = self.sock.accept()
        except OSError as error:
            if error.errno in NO_DESCRIPTOR_LEFT:
                # The connection stays in the queue: to be told of it again and again would keep a core busy.
                self._end.data.runtime.readiness.rest(self.sock.fileno(), self)
            return
        if peer[0] != self._peer:
            reset(sock)
            return
        self.close()
        self._end.took(sock)

    def close(self) -> None:
        """Listen no more. Closing twice is fine."""
        if self.sock.fileno() >= 0:
            self._end.data.runtime.readiness.closing(self.sock.fileno())
            self.sock.close()


def connect_from(peer: Endpoint, source: IPAddress, source_port: int) -> socket.socket:
    """A connection on its way; from `source_port` where permitted and free (RFC 959 section 5.2: L-1)."""
    text = str(peer.address)
    if source_port > 0:
        try:
            return connect(peer.address, text, peer.port, source, source_port)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                raise
    return connect(peer.address, text, peer.port, source, 0)


def connect(address: IPAddress, text: str, port: int, source: IPAddress | None, source_port: int) -> socket.socket:
    """A connection on its way to `address`, as text `text`. Raises `OSError` when it fails at once."""
    sock = socket.socket(family_of(address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    reset_on_close(sock)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            option = (socket.SOL_SOCKET, socket.SO_REUSEADDR) if source_port else (0, IP_BIND_ADDRESS_NO_PORT)
            sock.setsockopt(*option, 1)
            sock.bind((str(source), source_port))
        code = sock.connect_ex((text, port))
        if code not in _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
    except OSError:
        sock.close()
        raise
    return sock
