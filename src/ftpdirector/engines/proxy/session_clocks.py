"""The clocks of one session: how long each runs, and who rings.

An idle session has none, and costs no timer: a clock is looked at with the engine's tick, and has an alarm of its own
only in its last second. This module knows no reason for a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ftpdirector.engines.proxy.alarms import Alarm
from ftpdirector.engines.proxy.runtime import Runtime
from ftpdirector.ftp.actions import Clock
from ftpdirector.model import Timeouts

_AT_ONCE_S: Final = 0.04
"""What a real server sends together arrives together; a reply is never held back for longer than this."""
_AFTER_STRANGER_S: Final = 2.0
"""A stranger must not take a client's transfer from it by being faster."""


class SessionClocks:
    """Those that run."""

    __slots__ = ("_alarm", "_due", "_ring", "_runtime", "_timeouts")

    def __init__(self, runtime: Runtime, timeouts: Timeouts, ring: Callable[[Clock], None]) -> None:
        """None runs; `ring` hears of each that is over."""
        self._runtime = runtime
        self._timeouts = timeouts
        self._ring: Callable[[Clock], None] | None = ring
        self._due: dict[Clock, float] = {}
        self._alarm: Alarm | None = None

    def start(self, clock: Clock) -> None:
        """Run, from the beginning."""
        timeouts = self._timeouts
        if clock is Clock.EARLY_COMMAND and timeouts.early_command_s >= timeouts.data_connection_s:
            return  # The real server will not hear of it.
        wait_s = _duration_s(clock, timeouts)
        now_s = self._runtime.clock.monotonic_s()
        self._due[clock] = now_s + wait_s
        if wait_s < self._runtime.timing.tick_s:
            self._set_alarm(now_s)

    def stop(self, clock: Clock) -> None:
        """It need not run."""
        self._due.pop(clock, None)

    def tick(self, now_s: float) -> None:
        """About once a second."""
        if self._due:
            self._look(now_s)

    def end(self) -> None:
        """Stop all, and ring never more."""
        self._due.clear()
        self._ring = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _look(self, now_s: float) -> None:
        for clock, due_s in list(self._due.items()):
            if due_s <= now_s and self._due.pop(clock, None) is not None and self._ring is not None:
                self._ring(clock)
        if self._due:
            self._set_alarm(now_s)

    def _set_alarm(self, now_s: float) -> None:
        wait_s = min(self._due.values()) - now_s
        if wait_s < self._runtime.timing.tick_s:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = self._runtime.alarms.after(max(0.0, wait_s), self._alarm_rings)

    def _alarm_rings(self) -> None:
        self._alarm = None
        self._look(self._runtime.clock.monotonic_s())


def _duration_s(clock: Clock, timeouts: Timeouts) -> float:
    match clock:
        case Clock.LOGIN:
            return timeouts.login_s
        case Clock.ANSWER:
            return timeouts.answer_s
        case Clock.EARLY_COMMAND:
            return timeouts.early_command_s
        case Clock.DATA_CONNECTION:
            return timeouts.data_connection_s
        case Clock.STRANGER:
            return _AFTER_STRANGER_S
        case Clock.LATE_END | Clock.HALF_REPLY:
            return _AT_ONCE_S
