"""iptables chains of our own <-> text: for iptables-restore, and within a file that someone else keeps (rules.v4).

A saved file is never a dump of what happens to be loaded: our chains are put into it and taken out again, and every
other byte stays as it is. This module knows no host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ftpdirector.change.setup import CHAIN_PREFIX, IptablesChain

_MADE: Final = f"# {CHAIN_PREFIX}: this table is here for our chains alone"
_KEPT: Final = f"# {CHAIN_PREFIX}: this table was empty before our chains"
"""Whether a table that our chains leave goes with them. A file that iptables-save has written since has lost both."""
_COUNTERS: Final = re.compile(r"\[\d+:\d+\]\s*")
_WORD: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_CALLS: Final = frozenset({"-j", "--jump", "-g", "--goto"})
_DECLARATION: Final = 0
_CALL: Final = 1
_RULE: Final = 2


def block_of(chains: Sequence[IptablesChain]) -> str:
    """Our chains as iptables-restore takes them (with --noflush): made or emptied, filled, and called first."""
    lines: list[str] = []
    for table in dict.fromkeys(chain.table for chain in chains):
        within = [chain for chain in chains if chain.table == table]
        lines.append(f"*{table}")
        lines += [f":{chain.name} - [0:0]" for chain in within]
        lines += [f"-A {chain.called_from} -j {chain.name}" for chain in within]
        lines += [f"-A {chain.name} {rule}" for chain in within for rule in chain.rules]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def ours_in(saved: str) -> str:
    """The part of an iptables-save text that is ours, in the form of `block_of`; empty when nothing is."""
    lines: list[str] = []
    for table, content in _tables(saved):
        own = [_without_counters(line) for line in content if _is_ours(line)]
        if own:
            lines += [f"*{table}", *sorted(own, key=_rank), "COMMIT"]
    return "".join(f"{line}\n" for line in lines)


def with_ours(saved: str, block: str) -> str:
    """A saved file with our part replaced by the block (empty: taken out); every other byte as it is.

    A line ends with a line feed and with nothing else: form feeds, carriage returns and a last line without an end are
    part of what others wrote. Our own tables stand first, so that nothing has to be added to such a last line.
    """
    desired = dict(_tables(block))
    lines: list[str] = []
    section = _Section()
    for line in saved.split("\n"):
        if line.startswith("*"):
            section = _Section(table=line[1:].strip(), start=len(lines))
        if line.rstrip("\r") in (_MADE, _KEPT):
            section.had_ours, section.is_kept = True, line.rstrip("\r") == _KEPT
            continue
        if section.table and _is_ours(line):
            section.had_ours = True
            continue
        if line.strip() == "COMMIT" and section.table:
            is_bare = len(lines) == section.start + 1
            own = desired.pop(section.table, [])
            if is_bare and not own and section.had_ours and not section.is_kept:  # the table was made for us
                del lines[section.start]
                section = _Section()
                continue
            if is_bare and own:
                lines.append(_MADE if section.had_ours and not section.is_kept else _KEPT)
            # Chains are declared before the first rule, and our rules stand before those of others: first match wins.
            _insert(lines, section.start, own)
            section = _Section()
        lines.append(line)
    ours = [line for name, own in desired.items() for line in (f"*{name}", _MADE, *own, "COMMIT")]
    return "\n".join([*ours, *lines])


@dataclass(slots=True)
class _Section:
    """The table whose lines are being read: where it begins, and whether it holds something of ours."""

    table: str = ""
    start: int = 0
    had_ours: bool = False
    is_kept: bool = False


def restoring(block: str, *, present: str) -> str:
    """What iptables-restore (with --noflush) takes to put the block in the place of our present part, a table at once.

    Both as `ours_in` tells them; an empty block removes our part. Our chains are called first: first match wins.
    """
    wanted, there = dict(_tables(block)), dict(_tables(present))
    lines: list[str] = []
    for table in dict.fromkeys((*there, *wanted)):
        new, old = wanted.get(table, []), there.get(table, [])
        lines.append(f"*{table}")
        lines += [f":{name} - [0:0]" for name in dict.fromkeys((*_names(old), *_names(new)))]  # made, or emptied
        lines += [f"-D {line.removeprefix('-A ')}" for line in old if _rank(line) == _CALL]
        lines += [f"-I {line.removeprefix('-A ')}" for line in new if _rank(line) == _CALL]
        lines += [line for line in new if _rank(line) == _RULE]
        lines += [f"-X {name}" for name in _names(old) if name not in _names(new)]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def _names(lines: Iterable[str]) -> list[str]:
    return [line[1:].split()[0] for line in lines if line.startswith(":")]


def _insert(lines: list[str], start: int, own: Iterable[str]) -> None:
    first_rule = next(
        (number for number in range(start + 1, len(lines)) if not lines[number].startswith((":", "#"))), len(lines)
    )
    lines[first_rule:first_rule] = own


def _tables(text: str) -> Iterator[tuple[str, list[str]]]:
    table, content = "", list[str]()
    for line in text.split("\n"):
        if line.startswith("*"):
            table, content = line[1:].strip(), []
        elif line.strip() == "COMMIT" and table:
            yield table, content
            table = ""
        elif table and line and not line.startswith("#"):
            content.append(line)


def _is_ours(line: str) -> bool:
    """A declaration of a chain of ours, a rule in one, or a rule that calls one; iptables-save -c counts before it."""
    name = f"{CHAIN_PREFIX}-"
    if line.startswith(":"):
        return line[1:].startswith(name)
    words = _WORD.findall(_COUNTERS.sub("", line.lstrip(), count=1))
    if len(words) < 2 or words[0] not in ("-A", "--append", "-I", "--insert"):
        return False
    called = (after for word, after in pairwise(words) if word in _CALLS)
    return words[1].startswith(name) or any(after.startswith(name) for after in called)


def _rank(line: str) -> int:
    """Declarations, then calls, then rules: the order of `block_of`; sorting keeps the order within each."""
    if line.startswith(":"):
        return _DECLARATION
    return _RULE if line.split()[1].startswith(f"{CHAIN_PREFIX}-") else _CALL


def _without_counters(line: str) -> str:
    line = line.rstrip("\r")
    return f"{line.split()[0]} - [0:0]" if line.startswith(":") else _COUNTERS.sub("", line.lstrip(), count=1)
