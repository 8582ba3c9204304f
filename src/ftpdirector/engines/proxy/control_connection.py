"""One control connection of a session: read, written, and held back when its peer or the other side is slow.

This module knows neither commands nor replies.
"""

from __future__ import annotations

import socket
from typing import Final, Protocol

from ftpdirector.engines.proxy.closing import ESTABLISHED, tcp_state
from ftpdirector.engines.proxy.readiness import FAILED, READABLE, WRITABLE, Readiness
from ftpdirector.engines.proxy.stream import READ_BYTES, Stream
from ftpdirector.ftp.actions import Side

_DRAIN_READS: Final = 8


class ControlOwner(Protocol):
    """The session, as its control connections see it."""

    @property
    def ended(self) -> bool:
        """Whether both control connections are given up."""
        ...

    @property
    def transferring(self) -> bool:
        """Whether a transfer runs."""
        ...

    def reads(self, side: Side) -> bool:
        """Whether this side is to be read."""
        ...

    def choose_events(self) -> None:
        """What one side takes decides whether the other is read."""

    def bytes_arrived(self, side: Side, data: bytes) -> None:
        """A control connection was read."""

    def lost(self, side: Side, *, reset: bool) -> None:
        """A control connection ended; by FIN, behind which the peer may still listen, or broken off."""

    def abandon(self, reason: str) -> None:
        """End now, whatever runs."""


class ControlConnection:
    """One side's control connection."""

    __slots__ = ("_ended", "_events", "_readiness", "_session", "held", "side", "stream")

    def __init__(self, session: ControlOwner, readiness: Readiness, stream: Stream, side: Side) -> None:
        """A stream that nobody watches yet, or that is handed over with what it is watched for."""
        self.stream = stream
        self.side = side
        self.held = b""
        self._session = session
        self._readiness = readiness
        self._events = READABLE
        self._ended = False

    @property
    def sock(self) -> socket.socket:
        """The TCP connection."""
        return self.stream.sock

    @property
    def gone(self) -> bool:
        """Whether the peer ended its side."""
        return self._ended

    def watch(self) -> None:
        """Begin to read."""
        self._readiness.watch(self.sock.fileno(), READABLE, self)

    def ready(self, events: int) -> None:
        """Flush what is held, then read once."""
        session = self._session
        if self.held and events & (WRITABLE | FAILED):
            self.write(b"")
        if session.ended:
            return
        if self._ended:
            if events & FAILED:
                self._gone()
        elif self._events & READABLE or events & FAILED:
            self.read()

    def read(self) -> bool:
        """Read once; False when nothing was there, or there will never be more."""
        if self._ended:
            return False
        try:
            data = self.stream.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            self._lose(reset=True)
            return False
        if data:
            self._session.bytes_arrived(self.side, data)
        else:
            self._lose()
        return bool(data)

    def look(self) -> None:
        """Is the peer still there? Read what came; FIN may stand behind more than is read at a time."""
        session = self._session
        for _ in range(_DRAIN_READS):
            if session.ended or not self.read():
                return
        if not session.ended and tcp_state(self.sock) != ESTABLISHED:
            self._lose()

    def dismiss(self) -> None:
        """The session has ended: without the circle of references no collector of garbage is needed."""
        del self._session

    def _gone(self) -> None:
        """It had said FIN, now it is gone for good: nobody is left to be told anything, but a file may still be whole.

        The session goes on behind a FIN only if answers are due to the client, or the real server had said its 2xx.
        """
        session = self._session
        if session.transferring:
            self._readiness.forget(self.sock.fileno())
        else:
            session.abandon("the client is gone" if self.side is Side.CLIENT else "the real server is gone")

    def _lose(self, *, reset: bool = False) -> None:
        session = self._session
        self._ended = True
        session.lost(self.side, reset=reset)
        if not session.ended:
            self.choose_events()

    def write(self, data: bytes, *, urgent: bool = False) -> None:
        """Send, or hold what the kernel does not take. A failure shows when reading, which tells it once."""
        if self.held:
            data = self.held + data
            self.held = b""
        elif not data:
            return
        try:
            sent = self.stream.send_urgent(data) if urgent else self.stream.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(data)
        if sent < len(data):
            self.held = data[sent:]
            self._session.choose_events()
        elif self._events & WRITABLE:
            self._session.choose_events()

    def choose_events(self) -> None:
        """Watch for what is of use now."""
        events = READABLE if not self._ended and self._session.reads(self.side) else 0
        if self.held:
            events |= WRITABLE
        if events != self._events:
            self._events = events
            self._readiness.watch(self.sock.fileno(), events, self)
