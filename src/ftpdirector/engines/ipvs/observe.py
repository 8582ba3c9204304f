"""The kernel's own table of virtual servers (/proc/net/ip_vs) -> values.

Pure: the text is an argument. Addresses and numbers are hexadecimal there (net/netfilter/ipvs/ip_vs_ctl.c,
ip_vs_info_seq_show). This module knows no cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ftpdirector.model import IPAddress

TABLE: Final = "/proc/net/ip_vs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A real server in a service: `active` are connections that stand, `inactive` those that open or close."""

    weight: int
    active: int
    inactive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvsService:
    """A virtual server by firewall mark, of one family."""

    mark: int
    scheduler: str
    destinations: Mapping[tuple[IPAddress, int], Destination]


def parse_ip_vs(text: str) -> tuple[IpvsService, ...]:
    """Every service by firewall mark; others, which are not ours, are passed over."""
    services: list[IpvsService] = []
    found: dict[tuple[IPAddress, int], Destination] | None = None
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "FWM":
            found = {}
            scheduler = words[3] if words[2] == "IPv6" else words[2]
            services.append(IpvsService(mark=int(words[1], 16), scheduler=scheduler, destinations=found))
        elif words[0] in ("TCP", "UDP", "SCTP"):
            found = None
        elif words[0] == "->" and found is not None and len(words) == _DESTINATION_WORDS:
            address, _, port = words[1].rpartition(":")
            found[_address(address), int(port, 16)] = Destination(
                weight=int(words[3]), active=int(words[4]), inactive=int(words[5])
            )
    return tuple(services)


_DESTINATION_WORDS: Final = 6
"""`->`, endpoint, forwarding method, weight, active, inactive."""


def _address(text: str) -> IPAddress:
    if text.startswith("["):
        return IPv6Address(text[1:-1])
    return IPv4Address(int(text, 16))
