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

    def closing(self, descriptor: int) -> None:
        """Forget a descriptor that is closed next: close(2) takes it out of the epoll, which spares a call."""
        self._watchers.pop(descriptor, None)

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
        self._soon.clear()

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
