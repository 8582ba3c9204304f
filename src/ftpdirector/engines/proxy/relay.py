"""The bytes of one transfer: from the sender's socket to the receiver's, spliced in the kernel once it is worth it.

A chunk that does not fill the first buffer goes by recv and send (a small file needs no pipe); a sender that fills it
is spliced through a pooled pipe. What was sent to the receiver is handed over: the kernel holds it. The sender's FIN is
answered at once; nothing is said to the receiver, because a killed sender ends just as cleanly as a finished one.
This module knows no FTP and never decides whether a file is whole.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from ftpdirector.engines.proxy.stream import Stream

PIPE_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 16
_SPLICE_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
"""No SPLICE_F_MORE: it would cork the last segment for up to 200 ms (tcp(7))."""

_chunk = bytearray(_CHUNK_BYTES)
_chunk_view = memoryview(_chunk)
"""One buffer for the whole process: a chunk is sent, or what is left of it copied, before the next is read."""


class Pipe:
    """A pipe whose both ends do not block."""

    __slots__ = ("entrance", "exit")

    def __init__(self) -> None:
        """Open it, 1 MiB large where the limit on pipe memory of the user allows (pipe(7)).

        Raises `OSError` when no descriptor is left.
        """
        self.exit, self.entrance = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.entrance, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except PermissionError:
            return  # A smaller pipe is slower, not wrong.

    def close(self) -> None:
        """Give both descriptors back."""
        os.close(self.exit)
        os.close(self.entrance)


class PipePool:
    """Empty pipes for re-use: opening and sizing one costs as much as moving a small file."""

    def __init__(self, keep: int = 16) -> None:
        """Keep at most so many."""
        self._empty: list[Pipe] = []
        self._keep = keep

    def take(self) -> Pipe:
        """An empty pipe; raises `OSError` when no descriptor is left."""
        return self._empty.pop() if self._empty else Pipe()

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """A pipe that still holds bytes is closed: they must not reach another transfer."""
        if empty and len(self._empty) < self._keep:
            self._empty.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._empty:
            self._empty.pop().close()


class Progress(Enum):
    """What came of one turn of moving bytes."""

    WAITS = auto()
    """The sender has nothing, or the receiver takes nothing; the next edge of readiness goes on."""
    AGAIN = auto()
    """There is more to do, but others shall have their turn."""
    ENDED = auto()
    """The sender's FIN arrived, and all its bytes were handed over."""
    SENDER_BROKE = auto()
    RECEIVER_BROKE = auto()


class Flow:
    """One direction of one transfer."""

    __slots__ = ("_held", "_pipe", "_pipes", "_rest", "bytes", "eof", "on_eof", "receiver", "sender", "splicing", "why")

    def __init__(self, sender: Stream, receiver: Stream, pipes: PipePool, on_eof: Callable[[], None]) -> None:
        """Between two streams that do not block; `on_eof` is called once, as soon as the sender's FIN is seen."""
        self.sender = sender
        self.receiver = receiver
        self.on_eof = on_eof
        self.bytes = 0
        self.eof = False
        self.splicing = False
        self.why = ""
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._held = 0
        self._rest = b""

    @property
    def holds(self) -> bool:
        """Whether the receiver does not take what is there for it."""
        return bool(self._held or self._rest)

    def move(self) -> Progress:
        """Move what can be moved without waiting, at most a pipe full."""
        if self._rest:
            progress = self._send_rest()
            if progress is not None:
                return progress
        if self.splicing:
            return self._splice()
        return self._copy()

    def close(self) -> None:
        """Give the pipe back; bytes that are still held are lost."""
        if self._pipe is not None:
            self._pipes.give_back(self._pipe, empty=not self._held)
            self._pipe = None
        self._rest = b""
        self._held = 0

    def _copy(self) -> Progress:
        if self.eof:
            return Progress.ENDED
        try:
            size = self.sender.recv_into(_chunk)
        except BlockingIOError:
            return Progress.WAITS
        except OSError as error:
            self.why = error.strerror or str(error)
            return Progress.SENDER_BROKE
        if not size:
            self._end_of_sender()
            return Progress.ENDED
        try:
            sent = self.receiver.send(_chunk_view[:size])
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.why = error.strerror or str(error)
            return Progress.RECEIVER_BROKE
        self.bytes += sent
        self.splicing = size == _CHUNK_BYTES and self.sender.plain and self.receiver.plain
        if sent < size:
            self._rest = bytes(_chunk_view[sent:size])
            return Progress.WAITS
        return Progress.AGAIN

    def _send_rest(self) -> Progress | None:
        try:
            sent = self.receiver.send(self._rest)
        except BlockingIOError:
            return Progress.WAITS
        except OSError as error:
            self.why = error.strerror or str(error)
            return Progress.RECEIVER_BROKE
        self.bytes += sent
        self._rest = self._rest[sent:]
        return Progress.WAITS if self._rest else None

    def _splice(self) -> Progress:
        if self._pipe is None:
            try:
                self._pipe = self._pipes.take()
            except OSError:
                self.splicing = False  # No descriptor is left: the buffer does it too.
                return self._copy()
        if not self.eof and not self._held:
            try:
                size = os.splice(self.sender.sock.fileno(), self._pipe.entrance, PIPE_BYTES, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                return Progress.WAITS
            except OSError as error:
                self.why = error.strerror or str(error)
                return Progress.SENDER_BROKE
            if not size:
                self._end_of_sender()
            self._held = size
        return self._drain(self._pipe)

    def _drain(self, pipe: Pipe) -> Progress:
        while self._held:
            try:
                size = os.splice(pipe.exit, self.receiver.sock.fileno(), self._held, flags=_SPLICE_FLAGS)
            except BlockingIOError:
                return Progress.WAITS
            except OSError as error:
                self.why = error.strerror or str(error)
                return Progress.RECEIVER_BROKE
            self._held -= size
            self.bytes += size
        return Progress.ENDED if self.eof else Progress.AGAIN

    def _end_of_sender(self) -> None:
        self.eof = True
        self.on_eof()
