"""Probes on time: each real server once an interval, with jitter, never twice at a time; verdicts are called back.

A real server that stands behind several virtual servers with the same health check is probed once. Failures that
real sessions met count as one probe, and bring the next one forward. This module knows no engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from ftpdirector.health.probe import ANONYMOUS, Secret, probe
from ftpdirector.health.verdict import ProbeOutcome, ProbeResult, VerdictTracker, settled
from ftpdirector.model import Cluster, Endpoint, HealthCheck, ProxyProtocol
from ftpdirector.state import Health, Verdict
from ftpdirector.text import shown
from ftpdirector.wanted import Key

_JITTER = 0.1
_SPACING_S = 1.0
"""Probes of one real server begin at least so far apart, however many sessions fail."""

_COUNTED_S: Final = 1.2
"""So long after a session began it is counted for certain: workers report once a second."""

_CAUSES: Final = {
    "connect": (ProbeOutcome.DOWN, "could not connect to it"),
    "greeting": (ProbeOutcome.DOWN, "was not greeted by it"),
    "closed": (ProbeOutcome.CLOSED, "was hung up on before the greeting"),
    "full": (ProbeOutcome.FULL, "was told 421"),
    "shortage": (ProbeOutcome.UNDECIDED, "could not be tried: the director lacked what a connection takes"),
}


class WallClock(Protocol):
    """The time of day."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        ...


@dataclass(slots=True)
class _Watched:
    endpoint: Endpoint
    check: HealthCheck
    proxy_protocol: ProxyProtocol
    tracker: VerdictTracker
    keys: list[Key] = field(default_factory=list[Key])
    soon: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the next probe is due, or by a session that failed."""
    due: asyncio.TimerHandle | None = None
    """What sets it on time."""
    is_probed: bool = False
    """A probe runs now."""
    task: asyncio.Task[None] | None = None


_Subject = tuple[Endpoint, HealthCheck, ProxyProtocol]


def _no_sessions(key: Key) -> int:
    del key
    return 0


class Monitor:
    """Runs one task for each real server that is watched."""

    def __init__(
        self,
        *,
        clock: WallClock,
        chance: Random,
        read_password: Callable[[str], Secret],
        on_verdict: Callable[[Key, Verdict, Verdict], None],
        sessions: Callable[[Key], int] = _no_sessions,
    ) -> None:
        """`on_verdict(key, before, now)` is called after every probe; `read_password(path)` before one that logs in.

        `read_password` raises OSError, or ValueError for a path or a content that cannot be one. `sessions(key)` is how
        many sessions live at a real server, at most a second ago.
        """
        self._clock = clock
        self._chance = chance
        self._read_password = read_password
        self._on_verdict = on_verdict
        self._sessions = sessions
        self._watched: dict[_Subject, _Watched] = {}
        self._by_key: dict[Key, _Watched] = {}
        self._group: asyncio.TaskGroup | None = None

    @property
    def verdicts(self) -> Mapping[Key, Verdict]:
        """What is held of each real server now."""
        return {key: watched.tracker.verdict for key, watched in self._by_key.items()}

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._start_tasks()
            await asyncio.Event().wait()

    def watch(self, cluster: Cluster) -> None:
        """Watch these real servers from now on; verdicts of those that were watched already are kept."""
        before = self._by_key
        subjects: dict[_Subject, _Watched] = {}
        self._by_key = {}
        for virtual in cluster.virtual_servers:
            for server in virtual.real_servers:
                check = virtual.health_check
                subject = (server.endpoint, check, virtual.proxy_protocol)
                key = (virtual.name, server.name)
                watched = subjects.get(subject) or self._watched.get(subject)
                if watched is None:
                    old = before.get(key)
                    keep = old.tracker.verdict if old and old.endpoint == server.endpoint else None
                    watched = _Watched(*subject, VerdictTracker(check.rise, check.fall, keep))
                if subject not in subjects:
                    subjects[subject] = watched
                    watched.keys = []
                watched.keys.append(key)
                self._by_key[key] = watched
        for subject, watched in self._watched.items():
            if subject not in subjects and watched.task is not None:
                watched.task.cancel()
        self._watched = subjects
        self._start_tasks()

    def session_failed(self, key: Key, cause: str) -> None:
        """A real session could not use this real server; `cause` is the engine's word.

        `connect`, `greeting`: a bad probe. `full`: it said 421. `closed`: it hung up before its greeting, which is full
        where sessions live; where none do yet, a probe finds out. `shortage`: the director lacked something, which
        decides nothing. Any other word is a bad probe in that word.
        """
        watched = self._by_key.get(key)
        if watched is None or watched.soon.is_set():
            # A burst of sessions may fail together for one short reason: they count as one probe, and a probe judges.
            return
        outcome, words = _CAUSES.get(cause, (ProbeOutcome.DOWN, cause))
        if outcome is ProbeOutcome.CLOSED and not self._sessions_at(watched):
            watched.soon.set()
            return
        label = cause if outcome is ProbeOutcome.UNDECIDED else ""
        result = ProbeResult(outcome=outcome, reason=f"a client's session {words}", cause=label)
        before = watched.tracker.verdict.health
        now = self._judge(watched, result).health
        if outcome is ProbeOutcome.UNDECIDED:
            return  # a probe would lack the same, and take from what is scarce
        if now is not Health.FULL:
            watched.soon.set()
        elif before is not Health.FULL and not watched.is_probed:
            # No new session for an interval, and then it is tried: sooner it would be as full as it is.
            self._set_due(watched, self._interval_s(watched))

    def _start_tasks(self) -> None:
        if self._group is None:
            return
        for watched in self._watched.values():
            if watched.task is None or watched.task.done():  # after a failure of the whole, all begin again
                watched.task = self._group.create_task(self._probe_loop(watched))

    async def _probe_loop(self, watched: _Watched) -> None:
        # The first probes of many servers are spread over a part of the interval.
        pause_s = self._chance.random() * min(1.0, watched.check.interval_s / 4)
        while True:
            self._set_due(watched, pause_s)
            try:
                await asyncio.sleep(min(_SPACING_S, pause_s))
                await watched.soon.wait()
            finally:
                if watched.due is not None:
                    watched.due.cancel()
            watched.soon.clear()
            watched.is_probed = True
            try:
                result = await self._probe(watched)
                if result.outcome is ProbeOutcome.CLOSED and not self._sessions_at(watched):
                    # Those that filled it may have come in the last second.
                    await asyncio.sleep(_COUNTED_S)
            finally:
                watched.is_probed = False
            self._judge(watched, result)
            pause_s = self._interval_s(watched)

    def _set_due(self, watched: _Watched, pause_s: float) -> None:
        # A timer that sets the event, not one that cancels the wait: there are many of them.
        if watched.due is not None:
            watched.due.cancel()
        watched.due = asyncio.get_running_loop().call_later(pause_s, watched.soon.set)

    def _interval_s(self, watched: _Watched) -> float:
        return watched.check.interval_s * (1 + _JITTER * (2 * self._chance.random() - 1))

    async def _probe(self, watched: _Watched) -> ProbeResult:
        password = ANONYMOUS
        if watched.check.password_file is not None and watched.check.probe.logs_in:
            try:
                password = self._read_password(watched.check.password_file)
            except (OSError, ValueError) as error:
                said = f"cannot be read: {error.strerror or error}" if isinstance(error, OSError) else str(error)
                return ProbeResult(
                    outcome=ProbeOutcome.UNDECIDED,
                    reason=shown(f"password_file {watched.check.password_file} {said}"),
                    cause="password_file",
                )
        return await probe(watched.endpoint, watched.check, password, watched.proxy_protocol)

    def _sessions_at(self, watched: _Watched) -> int:
        return sum(self._sessions(key) for key in watched.keys)

    def _judge(self, watched: _Watched, result: ProbeResult) -> Verdict:
        before = watched.tracker.verdict
        if result.outcome is ProbeOutcome.CLOSED:
            result = settled(result, self._sessions_at(watched))
        now = watched.tracker.judge(result, self._clock.now_s())
        for key in watched.keys:
            self._on_verdict(key, before, now)
        return now
