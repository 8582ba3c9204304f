"""Rules of others that get in the way are named; ours and harmless ones are not."""

from __future__ import annotations

import pytest

from ftpdirector.change.foreign import obstacles

PORTS = [(21, 21), (10_000, 19_999)]


def ruleset(table: str, chain: str, rule: str) -> str:
    return f"table {table} {{\n\tchain {chain} {{\n\t\t{rule}\n\t}}\n}}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ruleset("inet firewalld", "filter_INPUT", "ct state established accept"), "firewalld is at work"),
        (ruleset("ip filter", "ufw-user-input", "accept"), "ufw is at work"),
        (
            ruleset("ip filter", "FORWARD", "type filter hook forward priority filter; policy drop;"),
            "ip filter, chain FORWARD drops by default on forward",
        ),
        (ruleset("ip mangle", "PREROUTING", "tcp dport 80 counter meta mark set 0x15"), "sets mark 21"),
        (ruleset("ip nat", "PREROUTING", "tcp dport 21 counter dnat to 10.0.0.5"), "translates a port of ours"),
        (ruleset("ip nat", "PREROUTING", "tcp dport { 80, 12000 } redirect to :80"), "translates a port of ours"),
    ],
)
def test_it_is_named(text: str, words: str) -> None:
    [found] = obstacles(text, marks=[21, 22], ports=PORTS)
    assert words in found


@pytest.mark.parametrize(
    "text",
    [
        ruleset("inet ftpdirector", "forward", "type filter hook forward priority filter; policy drop;"),
        ruleset("ip mangle", "FTPDIRECTOR-MARK", "tcp dport 21 counter meta mark set 0x15"),
        ruleset("ip mangle", "PREROUTING", "tcp dport 80 counter meta mark set 0x50"),
        ruleset("ip nat", "PREROUTING", "tcp dport 8080 counter dnat to 10.0.0.5:21"),
        ruleset("ip filter", "FORWARD", "type filter hook forward priority filter; policy accept;"),
        "",
    ],
)
def test_what_is_ours_or_harmless_is_not(text: str) -> None:
    assert list(obstacles(text, marks=[21, 22], ports=PORTS)) == []


def test_a_firewall_is_named_once() -> None:
    text = ruleset("inet firewalld", "a", "accept") + ruleset("inet firewalld", "b", "accept")
    assert len(list(obstacles(text, marks=[], ports=[]))) == 1
