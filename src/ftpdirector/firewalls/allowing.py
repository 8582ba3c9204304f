"""Commands that have a packet filter let our packets pass, for the program that made its rules. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ftpdirector.firewalls.ruleset import Drop, FilterChain
from ftpdirector.model import IPAddress, PortRange

Owner = Literal["firewalld", "ufw", "docker", "iptables", "nft"]
_HOOKS: Final = ("PREROUTING", "INPUT", "FORWARD", "POSTROUTING")
_EVERY_PORT: Final = "protocol value=tcp"
_AT_ONCE: Final = 8
_MOST: Final = 6
"""Lines of one kind, before it is said that there are more."""


def owner_of(drop: Drop, chains: Iterable[FilterChain]) -> Owner:
    """Who can be told to let it pass."""
    base = drop.base
    if base.table.endswith(" firewalld"):
        return "firewalld"
    if base.family not in ("ip", "ip6") or base.name not in _HOOKS:
        return "nft"
    theirs = {chain.name for chain in chains if chain.table == base.table}
    # A rule of another program comes before theirs, or is not theirs to change.
    if drop.chain.name.startswith("ufw") or (drop.chain == base and not drop.rule):
        has_ufw = any(name.startswith("ufw") for name in theirs)
        if has_ufw and drop.flow.state == "new" and base.name in ("INPUT", "FORWARD"):
            return "ufw"
    if "DOCKER-USER" in theirs and base.name == "FORWARD" and (not drop.rule or drop.chain.name.startswith("DOCKER")):
        return "docker"
    return "iptables"


@dataclass(frozen=True)
class _Allowance:
    """Packets of the same ends."""

    to: tuple[IPAddress, ...] = ()
    ports: tuple[PortRange, ...] = ()
    """None of them is every port."""
    since: tuple[IPAddress, ...] = ()

    @property
    def is_of_open_connections(self) -> bool:
        return not self.to and not self.since


def commands(owner: Owner, base: FilterChain, dropped: Sequence[Drop], chains: Iterable[FilterChain]) -> list[str]:
    """One command a line."""
    wanted = list(_allowances(dropped))
    family = dropped[0].flow.version
    if owner == "firewalld":
        return list(_firewalld(wanted, base, {chain.name for chain in chains}))
    return [line for allowance in wanted for line in _first_of(_lines(owner, allowance, base, family))]


def _first_of(lines: Iterable[str]) -> Iterator[str]:
    every = list(lines)
    yield from every[:_MOST]
    if len(every) > _MOST:
        yield f"# and so on: {len(every) - _MOST} more"


def _lines(owner: Owner, allowance: _Allowance, base: FilterChain, family: int) -> Iterator[str]:
    match owner:
        case "ufw":
            yield from _ufw(allowance, base)
        case "docker":
            yield from _iptables(allowance, base, family, "DOCKER-USER")
        case "iptables":
            yield from _iptables(allowance, base, family, base.name)
        case "nft":
            yield from _nft(allowance, base, family)
        case "firewalld":
            pass


def _allowances(dropped: Sequence[Drop]) -> Iterator[_Allowance]:
    if any(drop.flow.state != "new" for drop in dropped):
        yield _Allowance()
    to: dict[frozenset[IPAddress], dict[PortRange, None]] = {}
    since: set[IPAddress] = set()
    for drop in dropped:
        if drop.flow.state != "new":
            continue
        if drop.flow.sources:
            since |= drop.addresses
        else:
            ports = to.setdefault(drop.addresses, {})
            if drop.flow.to_ports:
                ports[drop.flow.to_ports] = None
    for addresses, found in to.items():
        yield _Allowance(to=_in_order(addresses), ports=tuple(sorted(found, key=lambda port_range: port_range.first)))
    if since:
        yield _Allowance(since=_in_order(since))


def _in_order(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    return tuple(sorted(addresses, key=int))


def _networks(addresses: Sequence[IPAddress]) -> list[str]:
    """The same addresses, in as few words as they go into."""
    four = [ipaddress.IPv4Network(address) for address in addresses if isinstance(address, ipaddress.IPv4Address)]
    six = [ipaddress.IPv6Network(address) for address in addresses if isinstance(address, ipaddress.IPv6Address)]
    found: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = [*ipaddress.collapse_addresses(four)]
    found += ipaddress.collapse_addresses(six)
    return [
        str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
        for network in found
    ]


def _some(addresses: Sequence[IPAddress], sign: str) -> Iterator[str]:
    networks = _networks(addresses)
    for first in range(0, len(networks), _AT_ONCE):
        yield sign.join(networks[first : first + _AT_ONCE])


def _listed(ports: Sequence[PortRange], sign: str) -> str:
    return ",".join(
        str(port_range.first) if port_range.first == port_range.last else f"{port_range.first}{sign}{port_range.last}"
        for port_range in ports
    )


def _ufw(allowance: _Allowance, base: FilterChain) -> Iterator[str]:
    verb = "ufw route prepend allow" if base.name == "FORWARD" else "ufw prepend allow"
    for address in _networks(allowance.to):
        yield f"{verb} proto tcp to {address}" + (f" port {_listed(allowance.ports, ':')}" if allowance.ports else "")
    for address in _networks(allowance.since):
        yield f"{verb} proto tcp from {address}"


def _iptables(allowance: _Allowance, base: FilterChain, family: int, chain: str) -> Iterator[str]:
    program = "iptables" if family == 4 else "ip6tables"
    table = base.table.partition(" ")[2]
    start = f"{program}{'' if table == 'filter' else f' -t {table}'} -I {chain}"
    if allowance.is_of_open_connections:
        yield f"{start} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    ports = f" -m multiport --dports {_listed(allowance.ports, ':')}" if allowance.ports else ""
    for addresses in _some(allowance.to, ","):
        yield f"{start} -p tcp -d {addresses}{ports} -j ACCEPT"
    for addresses in _some(allowance.since, ","):
        yield f"{start} -p tcp -s {addresses} -j ACCEPT"


def _nft(allowance: _Allowance, base: FilterChain, family: int) -> Iterator[str]:
    start = f"nft insert rule {base.table} {base.name}"
    word = "ip" if family == 4 else "ip6"
    if allowance.is_of_open_connections:
        yield f"{start} ct state established,related accept"
    ports = (
        f"tcp dport {{ {_listed(allowance.ports, '-').replace(',', ', ')} }}" if allowance.ports else "meta l4proto tcp"
    )
    for addresses in _some(allowance.to, ", "):
        yield f"{start} {word} daddr {{ {addresses} }} {ports} accept"
    for addresses in _some(allowance.since, ", "):
        yield f"{start} {word} saddr {{ {addresses} }} meta l4proto tcp accept"


def _firewalld(wanted: Sequence[_Allowance], base: FilterChain, theirs: set[str]) -> Iterator[str]:
    """A policy of our own, for both families, which comes before those of zones."""
    name, to, chain = ("ftpdirector", "ANY", "FWD") if base.hook != "input" else ("ftpdirector-host", "HOST", "IN")
    rules = [line for allowance in wanted for line in _first_of(_rich_rules(allowance, name))]
    if not rules:
        return
    if f"filter_{chain}_policy_{name}" not in theirs:
        yield f"firewall-cmd --permanent --new-policy {name}"
        yield f"firewall-cmd --permanent --policy {name} --add-ingress-zone ANY"
        yield f"firewall-cmd --permanent --policy {name} --add-egress-zone {to}"
    yield from rules
    yield "firewall-cmd --reload"


def _rich_rules(allowance: _Allowance, name: str) -> Iterator[str]:
    start = f"firewall-cmd --permanent --policy {name} --add-rich-rule 'rule"
    for address in _networks(allowance.to):
        for port in [f"port port={_listed([port_range], '-')} protocol=tcp" for port_range in allowance.ports] or [
            _EVERY_PORT
        ]:
            yield f"{start} {_family(address)} destination address={address} {port} accept'"
    for address in _networks(allowance.since):
        yield f"{start} {_family(address)} source address={address} {_EVERY_PORT} accept'"


def _family(address: str) -> str:
    return f"family=ipv{6 if ':' in address else 4}"
