"""An explanation -> lines of text, each with its kind, so that a terminal may colour them.

What was said already is not said again: steps that end an earlier path, a reason that was given. This module prints
nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from ftpdirector.explain.path import (
    Explanation,
    Front,
    MisconfigurationEffect,
    Path,
    PathVerdict,
    Phase,
    ServerRow,
    Step,
)

WIDTH: Final = 110
_WORTH_A_REFERENCE: Final = 2


class LineKind(Enum):
    """What a line is."""

    HEADING = auto()
    WORKS = auto()
    FAILS = auto()
    PACKET = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line without its end."""

    text: str = ""
    kind: LineKind = LineKind.PLAIN


@dataclass(slots=True)
class _Said:
    """What the reader of one virtual server has read already."""

    ways: list[tuple[str, Path]] = field(default_factory=list[tuple[str, Path]])
    reasons: dict[str, str] = field(default_factory=dict[str, str])


def lines_of(explanation: Explanation, *, width: int = WIDTH) -> Iterator[TextLine]:
    """All of it, for people."""
    for number, front in enumerate(explanation.fronts):
        if number:
            yield TextLine()
        yield from _front(front, explanation.engine, width)


def _front(front: Front, engine: str, width: int) -> Iterator[TextLine]:
    yield TextLine(f'virtual server "{front.name}", {front.endpoint}, engine {engine}', LineKind.HEADING)
    yield from _wrapped(front.summary, "  ", width)
    yield from _servers(front.real_servers)
    said = _Said()
    yield TextLine()
    yield from _path(f"Control connection of client {front.client}", front.control, said, width)
    plain = {path.mode: path for path in front.ways if not path.tls}
    for path in front.ways:
        if path.tls and path.mode in plain:
            yield from _over_tls(path, plain[path.mode], said, width)
        else:
            yield TextLine()
            yield from _path(_title(path), path, said, width)
    if front.mistakes:
        yield TextLine()
        yield TextLine("The usual mistakes, and what fails then", LineKind.HEADING)
        for effect in front.mistakes:
            yield from _mistake(effect, width)
    yield TextLine()
    yield TextLine("To know", LineKind.HEADING)
    for note in front.notes:
        yield from _wrapped(note, "  - ", width)


def _title(path: Path) -> str:
    return f"{path.mode.upper()}{' over TLS' if path.tls else ''}"


def _servers(rows: Sequence[ServerRow]) -> Iterator[TextLine]:
    table = [("real server", "address", "weight", "passive ports", "mark")]
    table += [
        (row.name, row.endpoint, "sorry" if row.sorry else str(row.weight), row.passive_ports, row.mark) for row in rows
    ]
    columns = [column for column in zip(*table, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        yield TextLine(("  " + "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))).rstrip())


def _path(title: str, path: Path, said: _Said, width: int) -> Iterator[TextLine]:
    works = path.verdict.works
    yield TextLine(f"{title}: {'works' if works else 'FAILS'}", LineKind.WORKS if works else LineKind.FAILS)
    names = max((len(step.at) for step in path.steps), default=0)
    shown, reference = _new_steps(path, said)
    for number, step in enumerate(shown, 1):
        yield from _step(number, step, names, width)
    if reference:
        yield TextLine(reference)
    said.ways.append((title, path))
    yield from _reason(title, path.verdict, said, width)


def _new_steps(path: Path, said: _Said) -> tuple[Sequence[Step], str]:
    """The steps before those that end an earlier path in the same words, and the reference to these."""
    for title, earlier in said.ways:
        same = 0
        for mine, old in zip(reversed(path.steps), reversed(earlier.steps), strict=False):
            if mine != old:
                break
            same += 1
        if same >= _WORTH_A_REFERENCE:
            first, last = len(earlier.steps) - same + 1, len(earlier.steps)
            return path.steps[:-same], f"      then steps {first} to {last} of {title}"
    return path.steps, ""


def _step(number: int, step: Step, names: int, width: int) -> Iterator[TextLine]:
    lead = f"{number:4}. {step.at.ljust(names)}  "
    yield from _wrapped(step.text, lead, width)
    if step.packet:
        yield TextLine(f"{' ' * len(lead)}{step.packet}", LineKind.PACKET)


def _over_tls(path: Path, plain: Path, said: _Said, width: int) -> Iterator[TextLine]:
    title = _title(path)
    if not path.verdict.works:
        yield TextLine(f"{title}: FAILS", LineKind.FAILS)
        yield from _reason(title, path.verdict, said, width)
    elif _data_steps(path) == _data_steps(plain):
        yield TextLine(f"{title}: works; nobody on the way has to read what is announced", LineKind.WORKS)
    else:
        yield TextLine(f"{title}: works (see --tls)", LineKind.WORKS)


def _data_steps(path: Path) -> list[Step]:
    return [step for step in path.steps if step.phase is Phase.DATA]


def _reason(title: str, verdict: PathVerdict, said: _Said, width: int) -> Iterator[TextLine]:
    if verdict.works:
        return
    earlier = said.reasons.setdefault(verdict.text, title)
    if earlier != title:
        yield TextLine(f"  why, and the remedy: see {earlier}")
        return
    yield from _wrapped(f"why: {verdict.text}", "  ", width)
    yield from _wrapped(f"remedy: {verdict.remedy}", "  ", width)


def _mistake(effect: MisconfigurationEffect, width: int) -> Iterator[TextLine]:
    yield from _wrapped(effect.what, "  * ", width)
    for breakage in effect.breaks:
        modes = ", ".join(mode.upper() for mode in breakage.modes)
        yield from _wrapped(f"{modes}: {breakage.verdict.text}", "      ", width)
    for remedy in dict.fromkeys(breakage.verdict.remedy for breakage in effect.breaks):
        yield from _wrapped(f"remedy: {remedy}", "      ", width)


def _wrapped(text: str, lead: str, width: int) -> Iterator[TextLine]:
    body = textwrap.wrap(text, max(40, width - len(lead)), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(body):
        yield TextLine((lead if not number else " " * len(lead)) + line)
