"""Packet filter rules of others that get in the way: said before anything changes, with the commands that let us pass.

Reads what nft prints, in which rules of iptables-nft appear as well. A look, not a proof: what a chain drops depends on
packets. This module knows no host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ftpdirector.firewalls.allowing import Owner, commands, owner_of
from ftpdirector.firewalls.flow import RequiredFlow
from ftpdirector.firewalls.ruleset import Drop, FilterChain, drops, parse

_SETS_MARK: Final = re.compile(r"(?:meta mark set|--set-x?mark|MARK (?:x?set)) (0x[0-9a-fA-F]+|\d+)")
_TRANSLATES: Final = re.compile(r"dport (?:\{[^}]*\}|\S+).*\b(dnat|redirect|DNAT|REDIRECT)\b")
_NUMBERS: Final = re.compile(r"\d+")
_MADE_BY: Final[dict[Owner, str]] = {
    "firewalld": "firewalld is at work: ",
    "ufw": "ufw is at work: ",
    "docker": "docker is at work: ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What is ours in a ruleset, and what others must leave to us or let pass."""

    table: str
    chain_prefix: str
    """Of chains in tables that belong to everybody."""
    marks: tuple[int, ...]
    ports: tuple[tuple[int, int], ...]
    """First and last; no other rule may translate them."""
    flows: tuple[RequiredFlow, ...]


def obstacles(ruleset: str, ours: Ours) -> Iterator[str]:
    """What of others may defeat ours, one thing a sentence.

    Commands stand below their sentence, indented by four spaces.
    """
    chains = [
        chain
        for chain in parse(ruleset)
        if chain.table != ours.table and not chain.name.startswith(f"{ours.chain_prefix}-")
    ]
    yield from _drops(chains, ours.flows)
    for chain in chains:
        for rule in chain.rules:
            yield from _rule(rule, f"{chain.table}, chain {chain.name}", ours)


def _drops(chains: Sequence[FilterChain], flows: Sequence[RequiredFlow]) -> Iterator[str]:
    """One sentence for each place that drops, and family."""
    found: dict[tuple[FilterChain, FilterChain, str, Owner, int], list[Drop]] = {}
    for drop in drops(chains, flows):
        owner = owner_of(drop, chains)
        version = drop.flow.version if owner != "firewalld" else 0  # it is told of both at once
        is_default = _is_default(drop.rule) and (drop.chain == drop.base or owner in _MADE_BY)
        key = (
            (drop.base, drop.base, "", owner, version)
            if is_default
            else (drop.base, drop.chain, drop.rule, owner, version)
        )
        found.setdefault(key, []).append(drop)
    # Its reload takes away rules of iptables: those come after it.
    in_order = sorted(found.items(), key=lambda item: item[0][3] != "firewalld")
    for (base, chain, rule, owner, _), alike in in_order:
        what = ", ".join(dict.fromkeys(drop.flow.purpose for drop in alike))
        is_uncertain = all(drop.possibly_accepted for drop in alike)
        remedy = commands(owner, base, alike, chains)
        if rule:
            does = f"{'may drop' if is_uncertain else 'drops'}, in {base.name}, {what}: {rule}; take that out"
            how = ", or let ours pass before it"
        else:
            doubt = " (unless a rule that cannot be judged lets it pass)" if is_uncertain else ""
            does, how = f"drops by default on {base.hook} {what}{doubt}", "; let it pass"
        lines = [f"{how}:", *remedy] if remedy else [""]
        yield f"{_MADE_BY.get(owner, '')}{base.table}, chain {chain.name} {does}" + "\n    ".join(lines)


def _is_default(rule: str) -> bool:
    """Whether it drops whatever comes so far, as a policy does."""
    return rule.removeprefix("counter").strip().split(" ")[0] in ("", "drop", "reject")


def _rule(text: str, where: str, ours: Ours) -> Iterator[str]:
    for found in _SETS_MARK.finditer(text):
        if int(found[1], 0) in ours.marks:
            yield f"{where} sets mark {int(found[1], 0)}, which is ours: choose another firewall_mark"
    if _TRANSLATES.search(text) and _names_one_of(text, ours.ports):
        yield f"{where} translates a port of ours: {text}"


def _names_one_of(text: str, ports: tuple[tuple[int, int], ...]) -> bool:
    after = text.partition("dport ")[2].split("dnat")[0].split("redirect")[0]
    return any(
        first <= int(number) <= last for number in _NUMBERS.findall(after) if len(number) < 6 for first, last in ports
    )
