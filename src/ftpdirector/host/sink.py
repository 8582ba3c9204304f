"""Lines into a descriptor without ever waiting for whoever reads it: a bounded queue, and a thread that writes.

A log must not hold up or end what it tells of: the disk may be full, the reader of a pipe stopped or gone, the file's
directory away. What cannot be written is dropped and counted. The descriptor may be shared with other processes (a
shell, the other workers), so it is never made non-blocking: the thread may block, and nobody else does.
This module knows no format.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

_LARGEST_BYTES: Final = 4 * 1024 * 1024
_MOST_LINES: Final = 16384
_CHUNK_BYTES: Final = 4096
"""PIPE_BUF of pipe(7): up to here, what several processes write into one pipe is not mixed."""
_GATHER_S: Final = 0.005
"""Lines that come together are written together: one wake-up of the thread for all of them."""
_LOOK_AGAIN_MS: Final = 1000


class LineSink:
    """Takes lines from any thread; `write` neither raises nor waits."""

    def __init__(self, *, note: Callable[[int], bytes] | None = None) -> None:
        """No descriptor yet. `note(count)` is the line that tells, once lines can be written again, what is missing."""
        # Reentrant: a line may come from a finalizer that the collector runs while this very thread holds the lock.
        self._lock = threading.RLock()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._fd = -1
        self._next_fd: int | None = None
        self._note = note
        self._dropped = 0
        self._noted = 0
        self._torn = False
        self._closing = False
        self._due = threading.Event()
        self._empty = threading.Event()
        self._empty.set()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Lines that were not written."""
        return self._dropped

    def use(self, fd: int) -> None:
        """Write to this descriptor from now on, which becomes this sink's own; the one before is closed."""
        with self._lock:
            if self._next_fd is not None and self._next_fd >= 0:
                os.close(self._next_fd)
            self._next_fd = fd
            self._due.set()  # the thread, if there is one already, closes the descriptor before

    def write(self, line: bytes) -> None:
        """One line, with its end; dropped and counted when the queue is full."""
        with self._lock:
            # A single long line is taken, else it could never be written.
            if self._lines and (self._bytes + len(line) > _LARGEST_BYTES or len(self._lines) >= _MOST_LINES):
                self._dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._empty.clear()
            if not self._due.is_set():
                self._due.set()
            self._begin()

    def drop(self) -> None:
        """Count a line that could not even be made."""
        with self._lock:
            self._dropped += 1

    def flush(self, within_s: float) -> bool:
        """Wait, at most so long, until all lines are written or dropped; whether they are."""
        self._closing = True
        self._due.set()
        done = self._empty.wait(within_s)
        self._closing = False
        return done

    def _begin(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be had now: the next line tries again
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._due.wait()
            if not self._closing:
                time.sleep(_GATHER_S)
            self._due.clear()
            while chunk := self._take():
                self._put(chunk)

    def _take(self) -> list[bytes]:
        """The next lines, as many as one write(2) keeps together."""
        with self._lock:
            if self._next_fd is not None:
                if self._fd >= 0:
                    os.close(self._fd)
                self._fd, self._next_fd, self._torn = self._next_fd, None, False
            chunk: list[bytes] = []
            size = 0
            while self._lines and (not chunk or size + len(self._lines[0]) <= _CHUNK_BYTES):
                line = self._lines.popleft()
                size += len(line)
                chunk.append(line)
            self._bytes -= size
            if not chunk:
                self._empty.set()
            return chunk

    def _put(self, chunk: list[bytes]) -> None:
        if self._torn and self._write(b"\n"):
            self._torn = False  # a line was cut: the next one does not begin behind its first half
        left = 0 if self._torn else self._write(b"".join(chunk))
        lost: list[bytes] = []
        for line in chunk:
            if left >= len(line):
                left -= len(line)
                continue
            self._torn = self._torn or left > 0
            left = 0
            lost.append(line)
        if lost and self._next_fd is not None:
            self._give_back(lost)
            return
        if lost:
            with self._lock:
                self._dropped += len(lost)
            return
        missing = self._dropped - self._noted
        if missing and self._note is not None:
            self._write(self._note(missing))
            self._noted += missing

    def _give_back(self, lines: list[bytes]) -> None:
        """They go to the descriptor that comes next: the one before took them no more."""
        with self._lock:
            self._lines.extendleft(reversed(lines))
            self._bytes += sum(map(len, lines))

    def _write(self, data: bytes) -> int:
        """How much of it was written before an error, or before another descriptor was to be used instead."""
        view = memoryview(data)
        while view:
            try:
                # It is waited for here and not in write(2): a reader that stands still must not keep the thread from a
                # file that was opened anew. It also serves where somebody else made the descriptor non-blocking.
                if self._is_stuck():
                    if self._next_fd is not None:
                        break
                    continue
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                continue
            except OSError:
                break
        return len(data) - len(view)

    def _is_stuck(self) -> bool:
        """Whether nothing can be written without waiting; looked at for a second. A file and an error never are."""
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        try:
            return not poll.poll(_LOOK_AGAIN_MS)
        except OSError:  # poll(2) refuses more descriptors than RLIMIT_NOFILE allows now; write(2) does not mind
            return False


def own_output() -> int:
    """A descriptor of its own for standard output; -1 when there is none."""
    try:
        return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return -1


def own_standard_error() -> int:
    """A descriptor of its own for standard error; -1 when there is none (`2>&-`): what is written is then dropped.

    Descriptors 0 to 2 are open afterwards, so that no socket becomes "standard error" by chance.
    """
    try:
        fd = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        fd = -1
    opened = os.open(os.devnull, os.O_RDWR)
    while opened <= 2:
        os.set_inheritable(opened, True)  # noqa: FBT003 - the name of the call
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)
    return fd
