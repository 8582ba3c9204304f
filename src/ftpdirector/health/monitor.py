"""Looks on time: each real server once an interval, with jitter, never twice at a time; verdicts are called back.

A real server that stands behind several virtual servers with the same health check is looked at once. Failures that
real sessions met count as one look, and bring the next one forward. This module knows no engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from ftpdirector.health.probe import ANONYMOUS, Secret, probe
from ftpdirector.health.verdict import Judge, Look, LookOutcome
from ftpdirector.model import Cluster, Endpoint, HealthCheck, ProxyProtocol
from ftpdirector.state import Verdict
from ftpdirector.wanted import Key

_JITTER = 0.1
_SPACING_S = 1.0
"""Looks at one real server begin at least so far apart, however many sessions fail."""

_CAUSES = {
    "connect": "could not connect to it",
    "greeting": "was not greeted by it",
    "full": "was told 421",
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
    judge: Judge
    keys: list[Key] = field(default_factory=list[Key])
    soon: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a session that failed, until the next look."""
    task: asyncio.Task[None] | None = None


_Subject = tuple[Endpoint, HealthCheck, ProxyProtocol]


class Monitor:
    """Runs one task for each real server that is watched."""

    def __init__(
        self,
        *,
        clock: WallClock,
        chance: Random,
        read_password: Callable[[str], Secret],
        on_verdict: Callable[[Key, Verdict, Verdict], None],
    ) -> None:
        """`on_verdict(key, before, now)` is called after every look; `read_password(path)` before one that logs in."""
        self._clock = clock
        self._chance = chance
        self._read_password = read_password
        self._on_verdict = on_verdict
        self._watched: dict[_Subject, _Watched] = {}
        self._by_key: dict[Key, _Watched] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changed = asyncio.Event()

    @property
    def verdicts(self) -> Mapping[Key, Verdict]:
        """What is held of each real server now."""
        return {key: watched.judge.verdict for key, watched in self._by_key.items()}

    async def run(self) -> None:
        """Look until cancelled."""
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
                    keep = old.judge.verdict if old and old.endpoint == server.endpoint else None
                    watched = _Watched(*subject, Judge(check.rise, check.fall, keep))
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
        """A real session could not use this real server: `full`, or anything else in words."""
        watched = self._by_key.get(key)
        if watched is None or watched.soon.is_set():
            # A burst of sessions may fail together for one short reason: they count as one look, and a probe judges.
            return
        outcome = LookOutcome.FULL if cause == "full" else LookOutcome.DOWN
        self._judge(watched, Look(outcome=outcome, reason=f"a client's session {_CAUSES.get(cause, cause)}"))
        watched.soon.set()

    def _start_tasks(self) -> None:
        if self._group is None:
            return
        for watched in self._watched.values():
            if watched.task is None or watched.task.done():  # after a failure of the whole, all begin again
                watched.task = self._group.create_task(self._look_for_ever(watched))

    async def _look_for_ever(self, watched: _Watched) -> None:
        # The first looks of many servers are spread over a part of the interval.
        pause_s = self._chance.random() * min(1.0, watched.check.interval_s / 4)
        while True:
            # A timer that sets the event, not one that cancels the wait: there are many of them.
            due = asyncio.get_running_loop().call_later(pause_s, watched.soon.set)
            try:
                await asyncio.sleep(min(_SPACING_S, pause_s))
                await watched.soon.wait()
            finally:
                due.cancel()
            watched.soon.clear()
            self._judge(watched, await self._look(watched))
            pause_s = watched.check.interval_s * (1 + _JITTER * (2 * self._chance.random() - 1))

    async def _look(self, watched: _Watched) -> Look:
        password = ANONYMOUS
        if watched.check.password_file is not None:
            try:
                password = self._read_password(watched.check.password_file)
            except OSError as error:
                return Look(
                    outcome=LookOutcome.DOWN,
                    reason=f"password_file {watched.check.password_file} cannot be read: {error.strerror}",
                )
        return await probe(watched.endpoint, watched.check, password, watched.proxy_protocol)

    def _judge(self, watched: _Watched, look: Look) -> None:
        before = watched.judge.verdict
        now = watched.judge.judge(look, self._clock.now_s())
        for key in watched.keys:
            self._on_verdict(key, before, now)
