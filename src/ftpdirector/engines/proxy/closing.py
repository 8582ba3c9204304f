"""Closing a socket so that its peer gets every byte: to close with unread input would reset it (RFC 1122 4.2.2.13).

A receiver of data is kept until it has acknowledged everything. Closed before, the kernel would be alone with what is
left, and it resets a peer that takes nothing for some minutes, behind its 226 (tcp(7), tcp_orphan_retries).
This module knows neither whose sockets they are nor what was written to them.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from ftpdirector.engines.proxy.ports import SO_LINGER_RESET
from ftpdirector.engines.proxy.readiness import EVERY_EDGE, READABLE, WRITABLE, Readiness

LINGER_S: Final = 2.0
"""How long a peer may go on sending after we said all."""
SO_LINGER_OFF: Final = struct.pack("ii", 0, 0)
ESTABLISHED: Final = 1
"""`tcp_state`: neither side has said FIN (netinet/tcp.h)."""
_UNACKNOWLEDGED: Final = frozenset({4, 9, 11})
"""FIN_WAIT1, LAST_ACK, CLOSING: our FIN was said, and is not acknowledged."""
_LOOKS: Final = 16
"""So often in its patience a receiver is looked at for progress."""
_DISCARD_BYTES: Final = 1 << 16
_DISCARDS_A_TURN: Final = 16


def tcp_state(sock: socket.socket) -> int:
    """The state of a connection: the first byte of TCP_INFO (tcp(7)), numbered as in netinet/tcp.h."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def unacknowledged(sock: socket.socket) -> int:
    """Bytes that were written, FIN among them, and that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def reset_on_close(sock: socket.socket) -> None:
    """Whoever closes this socket, and be it the kernel of a process that was killed: its peer gets RST (socket(7))."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER_RESET)


def finish_on_close(sock: socket.socket) -> None:
    """Whoever closes this socket, its peer gets FIN behind the last byte; as every socket is at first."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER_OFF)


class Closings:
    """Sockets that are finished, but not yet free to be closed."""

    def __init__(self, readiness: Readiness, on_empty: Callable[[], None] = lambda: None) -> None:
        """`on_empty` hears when the last one was closed."""
        self._readiness = readiness
        self._on_empty = on_empty
        self._open: dict[_Closing, float] = {}
        self._receivers: dict[_Receiver, float] = {}

    def __len__(self) -> int:
        """How many sockets still wait for their peer."""
        return len(self._open) + len(self._receivers)

    def close(self, sock: socket.socket, now_s: float, rest: bytes = b"") -> None:
        """Write `rest`, say FIN, close as soon as the peer has nothing more to say or `LINGER_S` after `now_s`.

        The socket must not block. In nearly every case there is nothing unread, and it is closed here and now.
        """
        closing = _Closing(self, sock, rest)
        if closing.go_on():
            self._readiness.closing(sock.fileno())
            sock.close()
            return
        self._open[closing] = now_s + LINGER_S
        self._readiness.watch(sock.fileno(), READABLE | WRITABLE if closing.rest else READABLE, closing)

    def finish(self, sock: socket.socket, now_s: float, patience_s: float) -> None:
        """Say FIN behind the last byte, and close once the peer has acknowledged all of it.

        The socket is one that `EVERY_EDGE` is watched for. A peer that acknowledges nothing for `patience_s` is reset:
        it has not got the file, and must not believe so. Should this process die before, the kernel goes on alone.
        """
        finish_on_close(sock)
        receiver = _Receiver(self, sock, now_s, patience_s)
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            done = True  # It never stood, or was reset.
        else:
            done = receiver.is_done()
        if done:
            self._readiness.closing(sock.fileno())
            sock.close()
            return
        self._receivers[receiver] = now_s + min(LINGER_S, patience_s / _LOOKS)
        self._readiness.hand_over(sock.fileno(), receiver)

    def expire(self, now_s: float) -> None:
        """Close what has lingered long enough; look whether receivers have acknowledged more since the last look."""
        for closing in [closing for closing, due_s in self._open.items() if due_s <= now_s]:
            self.end(closing)
        for receiver in [receiver for receiver, look_s in self._receivers.items() if look_s <= now_s]:
            if receiver.has_all():
                self.end_receiver(receiver)  # It may still talk, out of turn: nobody listens any more.
            elif receiver.waits(now_s):
                self._receivers[receiver] = now_s + receiver.patience_s / _LOOKS
            else:
                reset_on_close(receiver.sock)
                self.end_receiver(receiver)

    def end(self, closing: _Closing) -> None:
        """Close one now."""
        if self._open.pop(closing, None) is not None:
            self._close(closing.sock)

    def end_receiver(self, receiver: _Receiver) -> None:
        """Close one now."""
        if self._receivers.pop(receiver, None) is not None:
            self._close(receiver.sock)

    def only_read(self, closing: _Closing) -> None:
        """All is written; what is left is to hear the peer out."""
        self._readiness.watch(closing.sock.fileno(), READABLE, closing)

    def read_on(self, receiver: _Receiver) -> None:
        """There is more to discard: be told of it anew, since an edge is told but once."""
        self._readiness.watch(receiver.sock.fileno(), EVERY_EDGE, receiver)

    def end_all(self) -> None:
        """Close all now.

        To receivers the kernel goes on to send what is left, and FIN behind it: they were told that the file is whole,
        and a reset would take from them what is on its way. One that takes nothing for minutes is reset by the kernel.
        """
        for closing in list(self._open):
            self.end(closing)
        for receiver in list(self._receivers):
            self.end_receiver(receiver)

    def _close(self, sock: socket.socket) -> None:
        self._readiness.closing(sock.fileno())
        sock.close()
        if not self._open and not self._receivers:
            self._on_empty()


class _Closing:
    __slots__ = ("_finished", "_owner", "rest", "sock")

    def __init__(self, owner: Closings, sock: socket.socket, rest: bytes) -> None:
        self.sock = sock
        self.rest = rest
        self._owner = owner
        self._finished = False

    def ready(self, events: int) -> None:  # noqa: ARG002  the socket tells more
        had_rest = bool(self.rest)
        if self.go_on():
            self._owner.end(self)
        elif had_rest and not self.rest:
            self._owner.only_read(self)

    def go_on(self) -> bool:
        """Whether the socket may be closed without loss."""
        try:
            if self.rest:
                self.rest = self.rest[self.sock.send(self.rest) :]
        except BlockingIOError:
            return False
        except OSError:
            return True
        if _discard(self.sock) is _Unread.NOTHING:
            return True  # close(2) says FIN too, one call for both.
        if not self._finished:
            self._finished = True
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        return False


class _Receiver:
    """A data connection whose last byte and FIN are written, and not yet acknowledged.

    The kernel tells when they are: the state changes then from FIN_WAIT1 to FIN_WAIT2, or to CLOSE, and a change of
    state wakes whoever watches the socket, whatever is watched for (tcp_rcv_state_process).
    """

    __slots__ = ("_least", "_owner", "_progress_s", "patience_s", "sock")

    def __init__(self, owner: Closings, sock: socket.socket, now_s: float, patience_s: float) -> None:
        self.sock = sock
        self.patience_s = patience_s
        self._owner = owner
        self._least = sys.maxsize
        self._progress_s = now_s

    def ready(self, events: int) -> None:  # noqa: ARG002  the socket tells more
        if self.is_done():
            self._owner.end_receiver(self)

    def is_done(self) -> bool:
        """Whether the socket may be closed without loss: all is acknowledged and read, or the connection is broken."""
        if _discard(self.sock) is _Unread.MORE:
            self._owner.read_on(self)
            return False
        return self.has_all()

    def has_all(self) -> bool:
        """Whether there is nothing left that the peer could acknowledge."""
        return tcp_state(self.sock) not in _UNACKNOWLEDGED

    def waits(self, now_s: float) -> bool:
        """Whether the peer has acknowledged more of late."""
        left = unacknowledged(self.sock)
        if left < self._least:
            self._least = left
            self._progress_s = now_s
        return now_s - self._progress_s < self.patience_s


class _Unread(Enum):
    """What was left to be read."""

    NOTHING = auto()
    """Nothing, and if the peer said FIN or broke off, nothing will come."""
    SOME = auto()
    """It is discarded."""
    MORE = auto()
    """Some is discarded, and there is more."""


def _discard(sock: socket.socket) -> _Unread:
    found = _Unread.NOTHING
    for _ in range(_DISCARDS_A_TURN):
        try:
            data = sock.recv(_DISCARD_BYTES)
        except BlockingIOError:
            return found
        except OSError:
            return _Unread.NOTHING
        if not data:
            return _Unread.NOTHING
        found = _Unread.SOME
    return _Unread.MORE
