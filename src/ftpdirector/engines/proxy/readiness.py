"""Which descriptors are ready: one epoll(7) of our own, itself watched by the event loop.

A transport of the event loop would cost an object, a task at set-up and a handle for each socket, and it hides what the
relay must see (EPOLLRDHUP, EPOLLERR) and do (MSG_PEEK, MSG_OOB, splice(2)). So the loop watches one descriptor, and the
sockets of all sessions are in here: 10,000 idle ones cost the loop nothing. Works alike on asyncio and uvloop.
This module knows no FTP and never reads or writes a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
FAILED: Final = select.EPOLLERR | select.EPOLLHUP
EVERY_EDGE: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""For data connections: told once about each change, so that a relay that waits costs no epoll_ctl(2)."""

CLIENT_LEAVES: Final = select.EPOLLRDHUP
"""The peer sent FIN; told without reading (epoll_ctl(2))."""
_WAKES_A_TURN: Final = 64
_BATCH: Final = 128
"""Descriptors served before the event loop gets its turn."""


class Watcher(Protocol):
    """Whoever wants to hear of a descriptor."""

    def ready(self, events: int) -> None:
        """Something may have happened.

        Another's late event may arrive here when a descriptor's number was used again: believe the socket, not this.
        """


class Readiness:
    """Calls watchers as their descriptors become ready, a bounded number a turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_bug: Callable[[Watcher, Exception], None]) -> None:
        """Watch with `loop`; `on_bug` hears of exceptions that a watcher let escape."""
        self._loop = loop
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._soon: deque[Callable[[], None]] = deque()
        self._turn_due = False
        self._resting: dict[int, Watcher] = {}
        self._waking = False
        self._on_bug = on_bug
        loop.add_reader(self._epoll.fileno(), self._turn)

    def __len__(self) -> int:
        """How many descriptors are watched."""
        return len(self._watchers)

    def watch(self, descriptor: int, events: int, watcher: Watcher) -> None:
        """Begin to watch, or change what is watched for."""
        known = self._watchers.get(descriptor)
        self._watchers[descriptor] = watcher
        if known is None:
            self._epoll.register(descriptor, events)
        else:
            self._epoll.modify(descriptor, events)

    def hand_over(self, descriptor: int, watcher: Watcher) -> None:
        """Somebody else hears of this descriptor from now on; what it is watched for stays."""
        self._watchers[descriptor] = watcher

    def forget(self, descriptor: int) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        if self._watchers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
        if self._resting:
            self._resting.pop(descriptor, None)

    def closing(self, descriptor: int) -> None:
        """Forget a descriptor that is closed next: close(2) takes it out of the epoll, which spares a call."""
        self._watchers.pop(descriptor, None)
        if self._resting:
            self._resting.pop(descriptor, None)
            if self._resting and not self._waking:
                self._waking = True
                self.soon(self._wake_some)

    def rest(self, descriptor: int, watcher: Watcher) -> None:
        """Leave a listening socket alone that cannot be accepted from for want of a descriptor.

        It is watched again as soon as any other descriptor is closed, and at `wake`. To watch on would turn in circles.
        """
        self.watch(descriptor, 0, watcher)
        self._resting[descriptor] = watcher

    @property
    def resting(self) -> int:
        """How many rest."""
        return len(self._resting)

    def is_resting(self, descriptor: int) -> bool:
        """Whether `rest` was the last word on it."""
        return descriptor in self._resting

    def wake(self) -> None:
        """Watch all again that rest: descriptors may have become free elsewhere on the host."""
        self._wake(len(self._resting))

    def soon(self, call: Callable[[], None]) -> None:
        """Call in the next turn, after others had theirs."""
        self._soon.append(call)
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def close(self) -> None:
        """Stop watching everything; the sockets stay open."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        self._watchers.clear()
        self._resting.clear()
        self._soon.clear()

    def _wake_some(self) -> None:
        """Those that rest longest; whoever finds nothing free goes to the end of the row."""
        self._waking = False
        self._wake(_WAKES_A_TURN)

    def _wake(self, at_most: int) -> None:
        for _ in range(min(at_most, len(self._resting))):
            descriptor = next(iter(self._resting))
            self.watch(descriptor, READABLE, self._resting.pop(descriptor))

    def _turn(self) -> None:
        self._turn_due = False
        if self._epoll.closed:
            return
        for _ in range(len(self._soon)):
            self._soon.popleft()()
            if self._epoll.closed:
                return
        with contextlib.suppress(InterruptedError):
            for descriptor, events in self._epoll.poll(0, _BATCH):
                watcher = self._watchers.get(descriptor)
                if watcher is None:
                    continue
                try:
                    watcher.ready(events)
                except Exception as bug:  # noqa: BLE001  one session's bug must not end the others
                    self._on_bug(watcher, bug)
                if self._epoll.closed:
                    return
