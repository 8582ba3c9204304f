"""iptables chains of our own <-> text: for iptables-restore, and within a file that someone else keeps (rules.v4).

A saved file is never a dump of what happens to be loaded: our chains are put into it and taken out again, and every
other line stays as it is. This module knows no host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ftpdirector.change.setup import CHAIN_PREFIX, IptablesChain

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
        own = [line for line in content if _is_ours(line)]
        if own:
            lines += [f"*{table}", *sorted(own, key=_rank), "COMMIT"]
    return "".join(f"{_without_counters(line)}\n" for line in lines)


def with_ours(saved: str, block: str) -> str:
    """A saved file with our part replaced by the block (empty: taken out); all other lines as they are."""
    wanted = dict(_tables(block))
    lines: list[str] = []
    table, start, had_ours = "", 0, False
    for line in saved.splitlines():
        if line.startswith("*"):
            table, start, had_ours = line[1:].strip(), len(lines), False
        if _is_ours(line):
            had_ours = True
            continue
        if line == "COMMIT" and table:
            # Chains are declared before the first rule, and our rules stand before those of others: first match wins.
            _insert(lines, start, wanted.pop(table, []))
            table = ""
            if had_ours and len(lines) == start + 1:  # the table was made for us
                del lines[start]
                continue
        lines.append(line)
    for name, own in wanted.items():
        lines += [f"*{name}", *own, "COMMIT"]
    return "".join(f"{line}\n" for line in lines)


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
    for line in text.splitlines():
        if line.startswith("*"):
            table, content = line[1:].strip(), []
        elif line == "COMMIT" and table:
            yield table, content
            table = ""
        elif table and line and not line.startswith("#"):
            content.append(line)


def _is_ours(line: str) -> bool:
    words = line.split()
    if line.startswith(":"):
        return words[0][1:].startswith(f"{CHAIN_PREFIX}-")
    if line.startswith("-A ") and len(words) > 1:
        return words[1].startswith(f"{CHAIN_PREFIX}-") or (
            len(words) > 3 and words[-2] == "-j" and words[-1].startswith(f"{CHAIN_PREFIX}-")
        )
    return False


def _rank(line: str) -> int:
    """Declarations, then calls, then rules: the order of `block_of`; sorting keeps the order within each."""
    if line.startswith(":"):
        return _DECLARATION
    return _RULE if line.split()[1].startswith(f"{CHAIN_PREFIX}-") else _CALL


def _without_counters(line: str) -> str:
    return f"{line.split()[0]} - [0:0]" if line.startswith(":") else line
