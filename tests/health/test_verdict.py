"""Probes over time -> a verdict."""

from __future__ import annotations

import pytest

from ftpdirector.health.verdict import ProbeOutcome, ProbeResult, VerdictTracker
from ftpdirector.state import Health

LETTERS = {"u": ProbeOutcome.UP, "d": ProbeOutcome.DOWN, "f": ProbeOutcome.FULL, "?": ProbeOutcome.UNDECIDED}
SHOWN = {Health.UP: "U", Health.DOWN: "D", Health.FULL: "F", Health.UNKNOWN: "?"}


@pytest.mark.parametrize(
    ("probes", "verdicts"),
    [
        ("u", "U"),
        ("d", "D"),  # the first probe decides alone
        ("uddd", "UUUD"),
        ("uddudd", "UUUUUU"),  # a good probe begins the count anew
        ("dudu", "DDDD"),
        ("duu", "DDU"),
        ("ufu", "UFU"),  # full harms nobody and is over at once
        ("dfu", "DFF"),  # but a server that was down still needs its good probes
        ("dfuu", "DFFU"),
        ("fddd", "FFFD"),
        ("ufddduu", "UFFFDDU"),
        ("?", "?"),
        ("??d", "??D"),
        ("?u", "?U"),
        ("u?????", "UUUUUU"),
        ("ud?d?d", "UUUUUD"),  # what cannot be told neither counts nor clears a count
        ("d?u?u", "DDDDU"),
        ("f?", "FF"),
    ],
)
def test_rise_two_and_fall_three(probes: str, verdicts: str) -> None:
    tracker = VerdictTracker(rise=2, fall=3)
    found = [
        tracker.judge(ProbeResult(outcome=LETTERS[letter], reason=letter), now_s=place)
        for place, letter in enumerate(probes)
    ]
    assert "".join(SHOWN[one.health] for one in found) == verdicts


def test_since_is_when_the_health_changed_and_the_reason_is_the_last_one() -> None:
    tracker = VerdictTracker(rise=1, fall=1)
    tracker.judge(ProbeResult(outcome=ProbeOutcome.UP, reason="greets"), 10.0)
    tracker.judge(ProbeResult(outcome=ProbeOutcome.UP, reason="greets"), 20.0)
    assert tracker.verdict.since_s == 10.0
    tracker.judge(ProbeResult(outcome=ProbeOutcome.DOWN, reason="connect: connection refused"), 30.0)
    tracker.judge(ProbeResult(outcome=ProbeOutcome.DOWN, reason="connect took longer than 3 s"), 40.0)
    assert (tracker.verdict.since_s, tracker.verdict.reason) == (30.0, "connect took longer than 3 s")


def test_a_verdict_outlives_a_reload() -> None:
    tracker = VerdictTracker(rise=2, fall=3)
    tracker.judge(ProbeResult(outcome=ProbeOutcome.DOWN, reason="gone"), 0)
    again = VerdictTracker(2, 3, tracker.verdict)
    assert again.judge(ProbeResult(outcome=ProbeOutcome.UP, reason="back"), 1).health is Health.DOWN
    assert again.judge(ProbeResult(outcome=ProbeOutcome.UP, reason="back"), 2).health is Health.UP


def test_what_could_not_be_told_is_said_and_counted_and_the_reason_stays() -> None:
    tracker = VerdictTracker(rise=1, fall=1)
    tracker.judge(ProbeResult(outcome=ProbeOutcome.UP, reason="greets"), 10.0)
    for cause in ("open_files", "local_ports", "open_files"):
        tracker.judge(ProbeResult(outcome=ProbeOutcome.UNDECIDED, reason=f"lacks {cause}", cause=cause), 20.0)
    verdict = tracker.verdict
    assert (verdict.health, verdict.reason, verdict.since_s) == (Health.UP, "greets", 10.0)
    assert (verdict.undecided, verdict.undecided_total) == ("lacks open_files", {"open_files": 2, "local_ports": 1})
    tracker.judge(ProbeResult(outcome=ProbeOutcome.UP, reason="greets"), 30.0)
    assert (tracker.verdict.undecided, tracker.verdict.undecided_total) == ("", {"open_files": 2, "local_ports": 1})
