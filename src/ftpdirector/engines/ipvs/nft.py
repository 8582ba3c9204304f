"""Packet filter rules -> an nftables table: a constant number of rules a packet, whatever the number of servers.

This module knows no cluster and no IPVS; what the rules are for stands in `rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftpdirector.change.setup import TABLE
from ftpdirector.engines.ipvs.rules import Mark, Rules
from ftpdirector.failover.conntrackd import PORT
from ftpdirector.model import IPAddress, PortRange

_FAMILIES = ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr"))


def format_nft(rules: Rules) -> str:
    """The file that makes the whole table, in one transaction, whether it is there or not (nft(8))."""
    lines = [
        f"add table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
        *_marks(rules.marks),
        *_translations(rules),
        *_strays(rules),
        *_peers(rules.peers),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _marks(marks: Sequence[Mark]) -> Iterator[str]:
    present = [family for family in _FAMILIES if any(mark.address.version == family[0] for mark in marks)]
    for version, _, kind in present:
        yield "\t# The firewall mark of a packet to a virtual address, by its port."
        yield f"\tmap marks_v{version} {{"
        yield f"\t\ttype {kind} . inet_service : mark"
        yield "\t\tflags interval"
        yield from _elements(
            f"{mark.address} . {_ports(mark.ports)} : {mark.mark}  # {mark.reason}"
            for mark in marks
            if mark.address.version == version
        )
        yield "\t}"
    if present:
        yield "\t# Before routing: IPVS sees the packet on its way to the virtual address."
        yield "\tchain prerouting {"
        yield "\t\ttype filter hook prerouting priority mangle; policy accept;"
        for version, family, _ in present:
            yield f"\t\tmeta mark set {family} daddr . tcp dport map @marks_v{version}"
        yield "\t}"


def _translations(rules: Rules) -> Iterator[str]:
    translations = rules.translations
    leaving = f'oifname "{rules.outside}" ' if rules.outside else ""
    present = [
        family for family in _FAMILIES if any(translation.server.version == family[0] for translation in translations)
    ]
    for version, _, kind in present:
        yield "\t# The virtual address that a real server stands behind."
        yield f"\tmap sources_v{version} {{"
        yield f"\t\ttype {kind} : {kind}"
        yield from _elements(
            f"{translation.server} : {translation.to}  # {translation.reason}"
            for translation in translations
            if translation.server.version == version
        )
        yield "\t}"
    if present:
        yield "\t# Active data connections come from the address that the client knows; the rest are answers, and"
        yield "\t# IPVS's. This chain also has the kernel track connections, without which ip_vs_ftp rewrites nothing."
        yield "\tchain postrouting {"
        yield "\t\ttype nat hook postrouting priority srcnat; policy accept;"
        for version, family, _ in present:
            yield f"\t\t{leaving}tcp flags & (syn | ack) == syn snat {family} to {family} saddr map @sources_v{version}"
        yield "\t}"


def _strays(rules: Rules) -> Iterator[str]:
    marks = sorted({mark.mark for mark in rules.marks})
    if marks:
        yield "\t# What IPVS did not take (its hooks come before priority 110) and opens no connection belongs to one"
        yield "\t# that another director knows: answered from here, it would be reset."
        yield "\tchain input {"
        yield "\t\ttype filter hook input priority 110; policy accept;"
        yield f"\t\tmeta mark {{ {', '.join(map(str, marks))} }} tcp flags & (syn | rst) == 0 drop"
        yield "\t}"
    for version, _, kind in _FAMILIES:
        servers = [server for server in rules.real_servers if server.version == version]
        if servers:
            yield f"\tset real_servers_v{version} {{"
            yield f"\t\ttype {kind}"
            yield from _elements(map(str, servers))
            yield "\t}"
    families = {server.version for server in rules.real_servers}
    if families:
        yield "\t# The same on the way back: an answer that IPVS did not translate must not reach a client."
        yield "\tchain forward {"
        yield "\t\ttype filter hook forward priority 110; policy accept;"
        for version, family, _ in _FAMILIES:
            if version in families:
                yield (
                    f"\t\t{family} saddr @real_servers_v{version} tcp flags & (syn | rst) == 0 "
                    "ct state { new, invalid, untracked } drop"
                )
        yield "\t}"


def _peers(peers: Sequence[IPAddress]) -> Iterator[str]:
    if peers:
        family = "ip" if peers[0].version == 4 else "ip6"
        yield "\t# What comes to this port goes into the kernel as connections: from directors alone."
        yield "\tchain peers {"
        yield "\t\ttype filter hook input priority filter; policy accept;"
        yield f"\t\tudp dport {PORT} {family} saddr != {{ {', '.join(map(str, peers))} }} drop"
        yield f"\t\tudp dport {PORT} meta nfproto != ipv{peers[0].version} drop"
        yield "\t}"


def _elements(elements: Iterator[str] | Sequence[str]) -> Iterator[str]:
    yield "\t\telements = {"
    for element in elements:
        value, _, reason = element.partition("  # ")
        yield f"\t\t\t{value}," + (f"  # {reason}" if reason else "")
    yield "\t\t}"


def _ports(ports: PortRange) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"
