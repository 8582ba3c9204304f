"""What connectors and sessions share of the engine that runs them: log, clocks, readiness, pipes, ports and counters.

There is no way back from here to the engine: what it must hear is told to an owner, which each of them is given.
This module decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ftpdirector.engines.proxy.alarms import Alarms
from ftpdirector.engines.proxy.closing import Closings
from ftpdirector.engines.proxy.counters import SetupTimes
from ftpdirector.engines.proxy.data_ports import DataPorts
from ftpdirector.engines.proxy.readiness import Readiness
from ftpdirector.engines.proxy.relay import PipePool
from ftpdirector.engines.proxy.sampling import Sampler
from ftpdirector.engines.proxy.shortage import DescriptorShortage


class Log(Protocol):
    """A structured log, as structlog's loggers are."""

    def debug(self, event: str, /, **values: object) -> object:
        """Something that only helps to follow one session."""

    def info(self, event: str, /, **values: object) -> object:
        """Something that belongs to normal work."""

    def warning(self, event: str, /, **values: object) -> object:
        """Something that an operator may want to mend."""

    def error(self, event: str, /, **values: object) -> object:
        """A bug, or something that stopped work."""


class Clock(Protocol):
    """Both clocks of the host."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never jump."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often the engine looks; what it waits for stands with the virtual server."""

    tick_s: float = 1.0
    """How often sessions are looked at; the precision of every time-out."""
    beside_s: float = 3.0
    """Another real server is tried beside one that has not greeted for so long, and again after as long."""


@dataclass(slots=True, kw_only=True, eq=False)
class Runtime:
    """Made once by the engine; `now_s` alone changes."""

    log: Log
    clock: Clock
    timing: Timing
    readiness: Readiness
    later: Callable[[float, Callable[[], object]], asyncio.TimerHandle]
    """Call after so many seconds; as precise as the event loop."""
    alarms: Alarms
    """The same within a millisecond."""
    pipes: PipePool
    closings: Closings
    ports: DataPorts
    setup_times: SetupTimes
    sampler: Sampler
    shortage: DescriptorShortage
    now_s: float
    """Monotonic, as it was when the engine last looked: at a tick, or as a client was accepted."""

    def warn(self, event: str, names: dict[str, str], **own: object) -> None:
        """A warning that may come from many sessions at once: bounded in number, by the values that they share."""
        self.sampler.say(self.log.warning, self.now_s, event, names, **own)
