"""Probes over time -> a verdict, with its reason in words.

Pure: the time of a probe is given with it. This module knows no socket and no FTP.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from ftpdirector.state import Health, Verdict


class ProbeOutcome(Enum):
    """What one probe found."""

    UP = auto()
    DOWN = auto()
    FULL = auto()
    """The real server takes no more sessions just now (421: too many users, or going down); it is alive."""
    CLOSED = auto()
    """It hung up, or refused, before anybody logged in: full where sessions live (`settled`), down where none do."""
    UNDECIDED = auto()
    """The director itself lacked something: this says nothing of the real server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One probe of one real server."""

    outcome: ProbeOutcome
    reason: str
    duration_s: float = 0.0
    banner: str = ""
    cause: str = ""
    """Why it is undecided, in a word that is a label value: `open_files`, `local_ports` ..."""


def settled(result: ProbeResult, sessions: int) -> ProbeResult:
    """What a hang-up before the login means beside `sessions` sessions that live there; anything else as it is.

    ProFTPD at its MaxInstances accepts a connection and closes it without a byte. Where nobody is served, the same
    silence is a server that is broken.
    """
    if result.outcome is not ProbeOutcome.CLOSED:
        return result
    if not sessions:
        return replace(result, outcome=ProbeOutcome.DOWN)
    plural = "" if sessions == 1 else "s"
    return replace(
        result,
        outcome=ProbeOutcome.FULL,
        reason=f"{result.reason}; {sessions} session{plural} there: it is full",
    )


class VerdictTracker:
    """Holds the verdict of one real server: `rise` good probes make it up, `fall` bad ones down.

    The first probe decides alone, both ways: nothing is known that it could contradict. Full is believed at once, and
    over at once, since it harms no session; but a server that was down before still needs `rise` good probes. A probe
    that is undecided changes nothing but what is said of it.
    """

    def __init__(self, rise: int, fall: int, verdict: Verdict | None = None) -> None:
        """Start from a verdict (a reload keeps it), or from unknown."""
        self._rise = rise
        self._fall = fall
        self._good = 0
        self._bad = 0
        self.verdict = verdict or Verdict()
        self._ill = self.verdict.health is Health.DOWN

    def judge(self, result: ProbeResult, now_s: float) -> Verdict:
        """The verdict after one more probe; `since_s` and the reason change only when the health does.

        CLOSED, which only `settled` can tell from full, counts as down.
        """
        before = self.verdict
        match result.outcome:
            case ProbeOutcome.UP:
                self._good, self._bad = self._good + 1, 0
            case ProbeOutcome.DOWN | ProbeOutcome.CLOSED:
                self._good, self._bad = 0, self._bad + 1
            case ProbeOutcome.FULL:
                self._bad = 0
            case ProbeOutcome.UNDECIDED:
                counts = before.undecided_total
                self.verdict = replace(
                    before,
                    undecided=result.reason,
                    undecided_total={**counts, result.cause: counts.get(result.cause, 0) + 1},
                )
                return self.verdict
        health = self._health(result.outcome)
        self._ill = health is Health.DOWN or (self._ill and health is not Health.UP)
        changed = health is not before.health
        keeps_reason = not changed and health is Health.UP and result.outcome is not ProbeOutcome.UP
        self.verdict = Verdict(
            health=health,
            reason=before.reason if keeps_reason else result.reason,
            since_s=now_s if changed else before.since_s,
            last_probe_duration_s=result.duration_s,
            undecided_total=before.undecided_total,
        )
        return self.verdict

    def _health(self, outcome: ProbeOutcome) -> Health:
        before = self.verdict.health
        match outcome:
            case ProbeOutcome.FULL:
                return Health.FULL
            case ProbeOutcome.UP:
                return Health.UP if not self._ill or self._good >= self._rise else before
            case ProbeOutcome.DOWN | ProbeOutcome.CLOSED:
                return Health.DOWN if before is Health.UNKNOWN or self._bad >= self._fall else before
            case ProbeOutcome.UNDECIDED:
                return before
