"""An explanation -> lines of text, each with its kind, so that a terminal may colour them.

What was said already is not said again: steps that end an earlier way, a reason that was given. This module prints
nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from ftpdirector.explain.way import Explanation, Front, Mistake, Phase, ServerRow, Step, Verdict, Way

WIDTH: Final = 110
_WORTH_A_REFERENCE: Final = 2


class Kind(Enum):
    """What a line is."""

    HEADING = auto()
    WORKS = auto()
    FAILS = auto()
    PACKET = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end."""

    text: str = ""
    kind: Kind = Kind.PLAIN


@dataclass(slots=True)
class _Said:
    """What the reader of one virtual server has read already."""

    ways: list[tuple[str, Way]] = field(default_factory=list[tuple[str, Way]])
    reasons: dict[str, str] = field(default_factory=dict[str, str])


def lines_of(explanation: Explanation, *, width: int = WIDTH) -> Iterator[Line]:
    """All of it, for people."""
    for number, front in enumerate(explanation.fronts):
        if number:
            yield Line()
        yield from _front(front, explanation.engine, width)


def _front(front: Front, engine: str, width: int) -> Iterator[Line]:
    yield Line(f'virtual server "{front.name}", {front.endpoint}, engine {engine}', Kind.HEADING)
    yield from _wrapped(front.summary, "  ", width)
    yield from _servers(front.real_servers)
    said = _Said()
    yield Line()
    yield from _way(f"Control connection of client {front.client}", front.control, said, width)
    plain = {way.mode: way for way in front.ways if not way.tls}
    for way in front.ways:
        if way.tls and way.mode in plain:
            yield from _over_tls(way, plain[way.mode], said, width)
        else:
            yield Line()
            yield from _way(_title(way), way, said, width)
    if front.mistakes:
        yield Line()
        yield Line("The usual mistakes, and what fails then", Kind.HEADING)
        for mistake in front.mistakes:
            yield from _mistake(mistake, width)
    yield Line()
    yield Line("To know", Kind.HEADING)
    for note in front.notes:
        yield from _wrapped(note, "  - ", width)


def _title(way: Way) -> str:
    return f"{way.mode.upper()}{' over TLS' if way.tls else ''}"


def _servers(rows: Sequence[ServerRow]) -> Iterator[Line]:
    table = [("real server", "address", "weight", "passive ports", "mark")]
    table += [
        (row.name, row.endpoint, "sorry" if row.sorry else str(row.weight), row.passive_ports, row.mark) for row in rows
    ]
    columns = [column for column in zip(*table, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        yield Line(("  " + "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))).rstrip())


def _way(title: str, way: Way, said: _Said, width: int) -> Iterator[Line]:
    works = way.verdict.works
    yield Line(f"{title}: {'works' if works else 'FAILS'}", Kind.WORKS if works else Kind.FAILS)
    names = max((len(step.at) for step in way.steps), default=0)
    shown, reference = _new_steps(way, said)
    for number, step in enumerate(shown, 1):
        yield from _step(number, step, names, width)
    if reference:
        yield Line(reference)
    said.ways.append((title, way))
    yield from _reason(title, way.verdict, said, width)


def _new_steps(way: Way, said: _Said) -> tuple[Sequence[Step], str]:
    """The steps before those that end an earlier way in the same words, and the reference to these."""
    for title, earlier in said.ways:
        same = 0
        for mine, old in zip(reversed(way.steps), reversed(earlier.steps), strict=False):
            if mine != old:
                break
            same += 1
        if same >= _WORTH_A_REFERENCE:
            first, last = len(earlier.steps) - same + 1, len(earlier.steps)
            return way.steps[:-same], f"      then steps {first} to {last} of {title}"
    return way.steps, ""


def _step(number: int, step: Step, names: int, width: int) -> Iterator[Line]:
    lead = f"{number:4}. {step.at.ljust(names)}  "
    yield from _wrapped(step.text, lead, width)
    if step.packet:
        yield Line(f"{' ' * len(lead)}{step.packet}", Kind.PACKET)


def _over_tls(way: Way, plain: Way, said: _Said, width: int) -> Iterator[Line]:
    title = _title(way)
    if not way.verdict.works:
        yield Line(f"{title}: FAILS", Kind.FAILS)
        yield from _reason(title, way.verdict, said, width)
    elif _data_steps(way) == _data_steps(plain):
        yield Line(f"{title}: works; nobody on the way has to read what is announced", Kind.WORKS)
    else:
        yield Line(f"{title}: works (see --tls)", Kind.WORKS)


def _data_steps(way: Way) -> list[Step]:
    return [step for step in way.steps if step.phase is Phase.DATA]


def _reason(title: str, verdict: Verdict, said: _Said, width: int) -> Iterator[Line]:
    if verdict.works:
        return
    earlier = said.reasons.setdefault(verdict.text, title)
    if earlier != title:
        yield Line(f"  why, and the remedy: see {earlier}")
        return
    yield from _wrapped(f"why: {verdict.text}", "  ", width)
    yield from _wrapped(f"remedy: {verdict.remedy}", "  ", width)


def _mistake(mistake: Mistake, width: int) -> Iterator[Line]:
    yield from _wrapped(mistake.what, "  * ", width)
    for breakage in mistake.breaks:
        modes = ", ".join(mode.upper() for mode in breakage.modes)
        yield from _wrapped(f"{modes}: {breakage.verdict.text}", "      ", width)
    for remedy in dict.fromkeys(breakage.verdict.remedy for breakage in mistake.breaks):
        yield from _wrapped(f"remedy: {remedy}", "      ", width)


def _wrapped(text: str, lead: str, width: int) -> Iterator[Line]:
    body = textwrap.wrap(text, max(40, width - len(lead)), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(body):
        yield Line((lead if not number else " " * len(lead)) + line)
