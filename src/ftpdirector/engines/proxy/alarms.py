"""Calls that come due within a millisecond: one timerfd(2) for all of them.

Timers of an event loop are too coarse for it: uvloop counts whole milliseconds, and half of one becomes none at all.
This module knows nobody who waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from ftpdirector.engines.proxy.readiness import READABLE, Readiness

_CLOCK_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
"""TFD_NONBLOCK and TFD_CLOEXEC are the same bits (linux/timerfd.h)."""
_NS_A_SECOND: Final = 1_000_000_000

_libc: Final = ctypes.CDLL(None, use_errno=True)
"""The `os` module has timerfd_create from Python 3.13 on."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """A call that is due once."""

    __slots__ = ("_call", "due_s")

    def __init__(self, due_s: float, call: Callable[[], None]) -> None:
        """Made by `Alarms.after`."""
        self.due_s = due_s
        self._call: Callable[[], None] | None = call

    def __lt__(self, other: Alarm) -> bool:
        """Whichever is due first."""
        return self.due_s < other.due_s

    def cancel(self) -> None:
        """It will not be called; cancelling twice, or behind the call, is fine."""
        self._call = None

    def go_off(self) -> None:
        """Make the call, unless it was cancelled."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Alarms:
    """The alarms of one engine."""

    def __init__(self, readiness: Readiness, now_s: Callable[[], float]) -> None:
        """`now_s` is monotonic. Raises `OSError` when no descriptor is left."""
        self._now_s = now_s
        self._readiness = readiness
        self._due: list[Alarm] = []
        self._timer = _libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._timer < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        readiness.watch(self._timer, READABLE, self)

    def after(self, delay_s: float, call: Callable[[], None]) -> Alarm:
        """Call in `delay_s` seconds, or as soon as the engine has its turn behind that."""
        alarm = Alarm(self._now_s() + delay_s, call)
        heappush(self._due, alarm)
        if self._due[0] is alarm:
            self._arm(delay_s)
        return alarm

    def ready(self, events: int) -> None:  # noqa: ARG002  there is only one event
        """The earliest one is due."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._timer, 8)  # How often it went off; unread it would stay readable.
        now_s = self._now_s()
        while self._due and self._due[0].due_s <= now_s:
            heappop(self._due).go_off()
        if self._due:
            self._arm(self._due[0].due_s - now_s)

    def close(self) -> None:
        """Forget all of them. Closing twice is fine."""
        self._due.clear()
        if self._timer >= 0:
            self._readiness.forget(self._timer)
            os.close(self._timer)
            self._timer = -1

    def _arm(self, delay_s: float) -> None:
        delay_ns = max(1, round(delay_s * _NS_A_SECOND))  # Nought would disarm it.
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(*divmod(delay_ns, _NS_A_SECOND)))
        _libc.timerfd_settime(self._timer, 0, ctypes.byref(spec), None)
