"""Packet filter rules -> iptables chains of our own, one rule a mark: for hosts whose rules are kept by iptables.

This module knows no cluster and no IPVS; what the rules are for stands in `rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftpdirector.change.setup import CHAIN_PREFIX, IptablesChain
from ftpdirector.engines.ipvs.rules import Mark, Rules, Translation
from ftpdirector.failover.conntrackd import PORT
from ftpdirector.model import IPAddress, PortRange


def chains_of(rules: Rules, *, version: int) -> tuple[IptablesChain, ...]:
    """The chains for iptables (version 4) or ip6tables (6); empty where the family is not used."""
    marks = [mark for mark in rules.marks if mark.address.version == version]
    translations = [translation for translation in rules.translations if translation.server.version == version]
    servers = [server for server in rules.real_servers if server.version == version]
    chains = (
        IptablesChain(
            table="mangle", name=f"{CHAIN_PREFIX}-MARK", called_from="PREROUTING", rules=tuple(_marks(marks))
        ),
        IptablesChain(table="mangle", name=f"{CHAIN_PREFIX}-BACK", called_from="FORWARD", rules=tuple(_back(servers))),
        IptablesChain(
            table="nat",
            name=f"{CHAIN_PREFIX}-ACTIVE",
            called_from="POSTROUTING",
            rules=tuple(_translations(translations, rules.outside)),
        ),
        IptablesChain(
            table="filter", name=f"{CHAIN_PREFIX}-PEERS", called_from="INPUT", rules=tuple(_peers(rules, version))
        ),
    )
    return tuple(chain for chain in chains if chain.rules)


def _marks(marks: Sequence[Mark]) -> Iterator[str]:
    for mark in marks:
        yield (
            f"-d {mark.address}/{mark.address.max_prefixlen} -p tcp -m tcp --dport {_ports(mark.ports)} "
            f"-m comment --comment {_quoted(mark.reason)} -j MARK --set-xmark {mark.mark:#x}/0xffffffff"
        )


def _back(servers: Sequence[IPAddress]) -> Iterator[str]:
    if servers:
        yield '-p tcp -m tcp ! --tcp-flags SYN,RST NONE -m comment --comment "opens or ends a connection" -j RETURN'
    for server in servers:
        yield (
            f"-s {server}/{server.max_prefixlen} -p tcp -m conntrack --ctstate INVALID,NEW,UNTRACKED "
            f'-m comment --comment "belongs to a connection that another director knows" -j DROP'
        )


def _translations(translations: Sequence[Translation], outside: str | None) -> Iterator[str]:
    leaving = f"-o {outside} " if outside else ""
    for translation in translations:
        server = translation.server
        yield (
            f"-s {server}/{server.max_prefixlen} {leaving}-p tcp -m tcp --tcp-flags SYN,ACK SYN "
            f"-m comment --comment {_quoted(translation.reason)} -j SNAT --to-source {translation.to}"
        )


def _peers(rules: Rules, version: int) -> Iterator[str]:
    if not rules.peers:
        return
    for peer in rules.peers:
        if peer.version == version:
            yield (
                f"-s {peer}/{peer.max_prefixlen} -p udp -m udp --dport {PORT} "
                '-m comment --comment "directors tell each other of connections" -j RETURN'
            )
    yield f'-p udp -m udp --dport {PORT} -m comment --comment "nobody else tells any" -j DROP'


def _quoted(text: str) -> str:
    """A comment as iptables-save writes it: at most 255 characters, in quotation marks."""
    return '"' + text[:250].replace("\\", "").replace('"', "") + '"'


def _ports(ports: PortRange) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}:{ports.last}"
