"""Packet filter rules of others that get in the way: said before anything changes.

Reads what nft prints, in which rules of iptables-nft appear as well. A look, not a proof: what a chain drops depends on
packets. This module knows no host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ftpdirector.change.setup import CHAIN_PREFIX, TABLE

_POLICY: Final = re.compile(r"type filter hook (input|forward) .*policy drop")
_SETS_MARK: Final = re.compile(r"(?:meta mark set|--set-x?mark|MARK (?:x?set)) (0x[0-9a-fA-F]+|\d+)")
_TRANSLATES: Final = re.compile(r"dport (?:\{[^}]*\}|\S+).*\b(dnat|redirect|DNAT|REDIRECT)\b")
_NUMBERS: Final = re.compile(r"\d+")


def obstacles(ruleset: str, *, marks: Iterable[int], ports: Iterable[tuple[int, int]]) -> Iterator[str]:
    """One sentence for each table or rule of others that may defeat ours; `ports` are ours, first and last."""
    ours = set(marks)
    ranges = tuple(ports)
    table = chain = ""
    named: set[str] = set()
    for line in ruleset.splitlines():
        text = line.strip()
        if line.startswith("table "):
            table = text.removeprefix("table ").removesuffix("{").strip()
        elif text.startswith("chain "):
            chain = text.removeprefix("chain ").removesuffix("{").strip()
        if table == TABLE or chain.startswith(f"{CHAIN_PREFIX}-"):
            continue
        for who, sentence in _owners(table, chain):
            if who not in named:
                named.add(who)
                yield sentence
        yield from _rule(text, f"{table}, chain {chain}", ours, ranges)


def _owners(table: str, chain: str) -> Iterator[tuple[str, str]]:
    if table.endswith(" firewalld"):
        yield (
            "firewalld",
            "firewalld is at work: let it pass tcp to the virtual addresses (control port and passive range), and "
            "between clients and real servers; it drops what its zones do not name",
        )
    if chain.startswith("ufw-"):
        yield (
            "ufw",
            'ufw is at work: allow the control port and the passive range, and "ufw route allow" between clients and '
            "real servers",
        )


def _rule(text: str, where: str, marks: set[int], ports: tuple[tuple[int, int], ...]) -> Iterator[str]:
    policy = _POLICY.search(text)
    if policy:
        yield (
            f"{where} drops by default on {policy[1]}: let tcp to the virtual addresses pass, and established "
            "connections back"
        )
    for found in _SETS_MARK.finditer(text):
        if int(found[1], 0) in marks:
            yield f"{where} sets mark {int(found[1], 0)}, which is ours: choose another firewall_mark"
    if _TRANSLATES.search(text) and _names_one_of(text, ports):
        yield f"{where} translates a port of ours: {text}"


def _names_one_of(text: str, ports: tuple[tuple[int, int], ...]) -> bool:
    after = text.partition("dport ")[2].split("dnat")[0].split("redirect")[0]
    return any(
        first <= int(number) <= last for number in _NUMBERS.findall(after) if len(number) < 6 for first, last in ports
    )
