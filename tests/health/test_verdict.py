"""Looks over time -> a verdict."""

from __future__ import annotations

import pytest

from ftpdirector.health.verdict import Judge, Look, LookOutcome
from ftpdirector.state import Health

LETTERS = {"u": LookOutcome.UP, "d": LookOutcome.DOWN, "f": LookOutcome.FULL}
SHOWN = {Health.UP: "U", Health.DOWN: "D", Health.FULL: "F", Health.UNKNOWN: "?"}


@pytest.mark.parametrize(
    ("looks", "verdicts"),
    [
        ("u", "U"),
        ("d", "D"),  # the first look decides alone
        ("uddd", "UUUD"),
        ("uddudd", "UUUUUU"),  # a good look begins the count anew
        ("dudu", "DDDD"),
        ("duu", "DDU"),
        ("ufu", "UFU"),  # full harms nobody and is over at once
        ("dfu", "DFF"),  # but who was down has his good looks still to give
        ("dfuu", "DFFU"),
        ("fddd", "FFFD"),
        ("ufddduu", "UFFFDDU"),
    ],
)
def test_rise_two_and_fall_three(looks: str, verdicts: str) -> None:
    judge = Judge(rise=2, fall=3)
    found = [judge.judge(Look(outcome=LETTERS[look], reason=look), now_s=place) for place, look in enumerate(looks)]
    assert "".join(SHOWN[one.health] for one in found) == verdicts


def test_since_is_when_the_health_changed_and_the_reason_is_the_last_one() -> None:
    judge = Judge(rise=1, fall=1)
    judge.judge(Look(outcome=LookOutcome.UP, reason="greets"), 10.0)
    judge.judge(Look(outcome=LookOutcome.UP, reason="greets"), 20.0)
    assert judge.verdict.since_s == 10.0
    judge.judge(Look(outcome=LookOutcome.DOWN, reason="connect: connection refused"), 30.0)
    judge.judge(Look(outcome=LookOutcome.DOWN, reason="connect took longer than 3 s"), 40.0)
    assert (judge.verdict.since_s, judge.verdict.reason) == (30.0, "connect took longer than 3 s")


def test_a_verdict_outlives_a_reload() -> None:
    judge = Judge(rise=2, fall=3)
    judge.judge(Look(outcome=LookOutcome.DOWN, reason="gone"), 0)
    again = Judge(2, 3, judge.verdict)
    assert again.judge(Look(outcome=LookOutcome.UP, reason="back"), 1).health is Health.DOWN
    assert again.judge(Look(outcome=LookOutcome.UP, reason="back"), 2).health is Health.UP
