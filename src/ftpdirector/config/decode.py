"""The text of a cluster file -> a Cluster, or every problem at once, each with its place and its remedy.

One pass: what is no TOML, what cannot be decoded, and the rules across fields as far as the rest decodes.
This module knows no key and no rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ftpdirector.config.finding import Finding, Rule
from ftpdirector.config.host_rules import HOST_RULES, HostFacts
from ftpdirector.config.places import Lines, Places, find_places
from ftpdirector.config.places import Path as PathInFile
from ftpdirector.config.reader import Aim, Decoded, Mistake, read
from ftpdirector.config.rules import RULES
from ftpdirector.config.syntax import read_toml
from ftpdirector.config.values import visible
from ftpdirector.config.words import path_of, words_of
from ftpdirector.errors import ConfigError, Problem
from ftpdirector.model import Cluster

LARGEST_FILE_BYTES: Final = 16 * 1024 * 1024
STANDARD_INPUT: Final = "<stdin>"
_BYTE_ORDER_MARK: Final = "\ufeff"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_MOST_HURT: Final = 20
_SHORTEST_FILE: Final = (
    'write [[virtual_server]] with name = "ftp" and address = "192.0.2.10", and below it '
    '[[virtual_server.real_server]] with name = "alpha" and address = "192.0.2.11"'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A cluster file that can be used, and what is valid but risky in it."""

    cluster: Cluster
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A cluster file and everything to say of it; `cluster` is None where there are problems."""

    cluster: Cluster | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    def loaded(self) -> Loaded:
        """What can be used; a ConfigError with all problems, and the warnings, if it cannot."""
        if self.cluster is None:
            raise ConfigError(self.problems, self.warnings)
        return Loaded(cluster=self.cluster, warnings=self.warnings)


def load(path: Path, *, host: HostFacts | None = None) -> Loaded:
    """Read and decode a cluster file; a ConfigError names every problem, also that it cannot be read.

    With `host`, the rules about the host that it is to be used on are among them.
    """
    return examine_file(path, host=host).loaded()


def decode(text: str, *, source: str) -> Cluster:
    """A Cluster that keeps every rule; else a ConfigError with all problems. `source` names the file in them."""
    return examine(text, source=source).loaded().cluster


def examine_file(path: Path, *, host: HostFacts | None = None) -> Examined:
    """Everything that is to be said of a file, also that it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _refused(Problem(file=visible(str(path)), what=f"cannot be read: {reason}", rule="readable"))
    return examine_bytes(data, source=visible(str(path)), host=host)


def examine_bytes(data: bytes, *, source: str, host: HostFacts | None = None) -> Examined:
    """Everything that is to be said of a file's content."""
    if len(data) > LARGEST_FILE_BYTES:
        return _refused(Problem(file=source, what=f"is larger than {LARGEST_FILE_BYTES} bytes", rule="size"))
    try:
        return examine(data.decode(), source=source, host=host)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        start = before.rfind(b"\n") + 1
        line = data[start : error.start + 80].split(b"\n")[0].rstrip(b"\r")
        kind = "is UTF-16" if data.startswith(_UTF_16) else "is not UTF-8"
        return _refused(
            Problem(
                file=source,
                line=before.count(b"\n") + 1,
                column=len(before[start:].decode(errors="replace")) + 1,
                excerpt="" if data.startswith(_UTF_16) else visible(line.decode(errors="replace")),
                what=kind,
                remedy="save it as UTF-8",
                rule="utf-8",
            )
        )


def _refused(problem: Problem) -> Examined:
    return Examined(cluster=None, problems=(problem,), warnings=())


def examine(text: str, *, source: str, host: HostFacts | None = None) -> Examined:
    """Everything that is to be said of a text; `source` names the file, `host` is what it is to be used on."""
    warnings: list[Problem] = []
    if text.startswith(_BYTE_ORDER_MARK):
        text = text[1:]
        warnings.append(
            Problem(
                file=source,
                line=1,
                column=1,
                excerpt=visible(Lines(text).line(1)),
                what="the file begins with a byte order mark (BOM), which other programs that read TOML refuse",
                remedy="save it as UTF-8 without BOM",
                rule="byte-order-mark",
            )
        )
    reading = read_toml(text)
    lines = Lines(text)
    problems = [
        Problem(
            file=source,
            line=slip.line,
            column=slip.column,
            excerpt=visible(lines.line(slip.line)),
            what=slip.what,
            remedy=slip.remedy,
            rule="toml",
        )
        for slip in reading.slips
    ]
    raw = reading.raw
    if raw == {} and not problems:
        return _refused(
            Problem(
                file=source,
                line=1,
                column=1,
                excerpt=visible(lines.line(1)),
                what="is empty",
                remedy=_SHORTEST_FILE,
                rule="empty",
            )
        )
    if raw is None:
        return Examined(cluster=None, problems=tuple(problems), warnings=tuple(warnings))
    decoded = read(raw, is_broken=bool(problems))
    place = _Placing(source, text, reading.text, raw)
    problems += [place.mistake(one) for one in decoded.mistakes]
    is_whole = not problems
    broken, risky = _judge(decoded, is_whole=is_whole)
    if is_whole and host is not None:
        for rule in HOST_RULES:
            found = [place.finding(rule.name, finding) for finding in rule.look(decoded.cluster, host)]
            (problems if rule.is_problem else warnings).extend(found)
    problems += [place.finding(rule.name, finding) for rule, finding in broken]
    warnings += [place.finding(rule.name, finding) for rule, finding in risky]
    told = {(problem.line, problem.where) for problem in problems}
    ignored = [place.mistake(one) for one in decoded.ignored]
    warnings += [one for one in ignored if (one.line, one.where) not in told]
    return Examined(
        cluster=None if problems else decoded.cluster,
        problems=_in_order(problems),
        warnings=_in_order(warnings),
    )


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda one: (one.line, one.column)))


# Rules

_Broken = tuple[Rule, Finding]


def _judge(decoded: Decoded, *, is_whole: bool) -> tuple[list[_Broken], list[_Broken]]:
    """The rules that are broken: problems, and warnings."""
    clusters = [decoded.cluster] if is_whole else list(_parts(decoded))
    broken: list[_Broken] = []
    risky: list[_Broken] = []
    for rule in RULES:
        found = list(rule.look(decoded.cluster)) if is_whole else _look_at_parts(rule, clusters)
        (broken if rule.is_problem else risky).extend((rule, finding) for finding in found)
    return broken, risky


def _parts(decoded: Decoded) -> Iterator[Cluster]:
    """The cluster, then its virtual servers that decoded as a whole, then each of those that did not.

    No rule finds more in some of the virtual servers than in all of them, so that what is found in a part is true.
    """
    yield decoded.cluster
    virtual_servers = getattr(decoded.cluster, "virtual_servers", ())
    yield _with(decoded.cluster, tuple(one for place, one in enumerate(virtual_servers) if place not in decoded.hurt))
    for place in sorted(decoded.hurt)[:_MOST_HURT]:
        yield _with(decoded.cluster, virtual_servers[place : place + 1])


def _with(cluster: Cluster, virtual_servers: tuple[Any, ...]) -> Cluster:
    part = object.__new__(Cluster)
    for name in Cluster.__slots__:
        if hasattr(cluster, name):
            object.__setattr__(part, name, getattr(cluster, name))
    object.__setattr__(part, "virtual_servers", virtual_servers)
    return part


def _look_at_parts(rule: Rule, clusters: list[Cluster]) -> list[Finding]:
    """What a rule finds before it asks for what did not decode; the first part that it can walk through is the last."""
    found: dict[Finding, None] = {}
    for place, cluster in enumerate(clusters):
        try:
            for finding in rule.look(cluster):
                found[finding] = None
        except AttributeError:  # a field that could not be decoded is not set
            continue
        if place == 0:
            break
    return list(found)


# Places


class _Placing:
    """Findings as problems with their lines. The text is walked over when the first one asks."""

    def __init__(self, source: str, text: str, read_text: str, raw: dict[str, Any]) -> None:
        self._source = source
        self._text = text
        self._read_text = read_text
        self._raw = raw
        self._found: tuple[Places, Lines, Lines] | None = None

    def mistake(self, mistake: Mistake) -> Problem:
        where = words_of(mistake.path, self._raw)
        return self._problem(where, mistake.path, mistake.aim, (mistake.what, mistake.remedy), mistake.rule)

    def finding(self, rule: str, finding: Finding) -> Problem:
        where, what, remedy = finding
        path = path_of(where, self._raw)
        if rule == "duplicate-name":
            path = (*path, "name")
        return self._problem(where, path, Aim.VALUE, (what, remedy), rule)

    def _problem(self, where: str, path: PathInFile, aim: Aim, said: tuple[str, str], rule: str) -> Problem:
        if self._found is None:
            self._found = find_places(self._read_text), Lines(self._read_text), Lines(self._text)
        places, lines, lines_as_given = self._found
        line, column = lines.place(places.of_key(path) if aim is Aim.KEY else places.of_value(path))
        return Problem(
            file=self._source,
            line=line,
            column=column,
            excerpt=visible(lines_as_given.line(line)),
            where=where,
            what=said[0],
            remedy=said[1],
            rule=rule,
        )
