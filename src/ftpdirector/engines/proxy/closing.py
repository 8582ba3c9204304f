"""Closing a socket so that its peer gets every byte: to close with unread input would reset it (RFC 1122 4.2.2.13).

This module knows neither whose sockets they are nor what was written to them.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from ftpdirector.engines.proxy.readiness import READABLE, WRITABLE, Readiness

LINGER_S: Final = 2.0
"""How long a peer may go on sending after we said all."""
_DISCARD_BYTES: Final = 1 << 16
_DISCARDS_A_TURN: Final = 16


class Closings:
    """Sockets that are finished, but not yet free to be closed."""

    def __init__(self, readiness: Readiness) -> None:
        """Nothing is closing yet."""
        self._readiness = readiness
        self._open: dict[_Closing, float] = {}

    def __len__(self) -> int:
        """How many sockets still wait for their peer."""
        return len(self._open)

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

    def expire(self, now_s: float) -> None:
        """Close what has lingered long enough."""
        for closing in [closing for closing, due_s in self._open.items() if due_s <= now_s]:
            self.end(closing)

    def end(self, closing: _Closing) -> None:
        """Close one now."""
        if self._open.pop(closing, None) is not None:
            self._readiness.closing(closing.sock.fileno())
            closing.sock.close()

    def only_read(self, closing: _Closing) -> None:
        """All is written; what is left is to hear the peer out."""
        self._readiness.watch(closing.sock.fileno(), READABLE, closing)

    def end_all(self) -> None:
        """Close all now."""
        for closing in list(self._open):
            self.end(closing)


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
        if self._unread_is_gone():
            return True  # close(2) says FIN too, one call for both.
        if not self._finished:
            self._finished = True
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        return False

    def _unread_is_gone(self) -> bool:
        discarded = False
        for _ in range(_DISCARDS_A_TURN):
            try:
                data = self.sock.recv(_DISCARD_BYTES)
            except BlockingIOError:
                return not discarded
            except OSError:
                return True
            if not data:
                return True
            discarded = True
        return False
