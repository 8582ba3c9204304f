"""Looks over time -> a verdict, with its reason in words.

Pure: the time of a look is given with it. This module knows no socket and no FTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ftpdirector.state import Health, Verdict


class LookOutcome(Enum):
    """What one look found."""

    UP = auto()
    DOWN = auto()
    FULL = auto()
    """The real server answered 421: too many users, or going down; it is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one real server."""

    outcome: LookOutcome
    reason: str
    duration_s: float = 0.0
    banner: str = ""


class Judge:
    """Holds the verdict of one real server: `rise` good looks make it up, `fall` bad ones down.

    The first look decides alone, both ways: nothing is known that it could contradict. Full is believed at once, and
    over at once, since it harms no session; but who was down before has its `rise` good looks still to give.
    """

    def __init__(self, rise: int, fall: int, verdict: Verdict | None = None) -> None:
        """Start from a verdict (a reload keeps it), or from unknown."""
        self._rise = rise
        self._fall = fall
        self._good = 0
        self._bad = 0
        self.verdict = verdict or Verdict()
        self._ill = self.verdict.health is Health.DOWN

    def judge(self, look: Look, now_s: float) -> Verdict:
        """The verdict after one more look; `since_s` and the reason change only when the health does."""
        match look.outcome:
            case LookOutcome.UP:
                self._good, self._bad = self._good + 1, 0
            case LookOutcome.DOWN:
                self._good, self._bad = 0, self._bad + 1
            case LookOutcome.FULL:
                self._bad = 0
        health = self._health(look.outcome)
        self._ill = health is Health.DOWN or (self._ill and health is not Health.UP)
        if health is self.verdict.health:
            self.verdict = Verdict(
                health=health,
                reason=look.reason
                if health is not Health.UP or look.outcome is LookOutcome.UP
                else self.verdict.reason,
                since_s=self.verdict.since_s,
                last_probe_duration_s=look.duration_s,
            )
        else:
            self.verdict = Verdict(
                health=health, reason=look.reason, since_s=now_s, last_probe_duration_s=look.duration_s
            )
        return self.verdict

    def _health(self, outcome: LookOutcome) -> Health:
        before = self.verdict.health
        match outcome:
            case LookOutcome.FULL:
                return Health.FULL
            case LookOutcome.UP:
                return Health.UP if not self._ill or self._good >= self._rise else before
            case LookOutcome.DOWN:
                return Health.DOWN if before is Health.UNKNOWN or self._bad >= self._fall else before
