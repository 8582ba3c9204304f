"""The names of objects in the table, and how they are written for each address family.

Whatever belongs to one virtual server ends with its name and the family. This module knows no rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ftpdirector.model import IPAddress, PortRange, VirtualServer


@dataclass(frozen=True, slots=True)
class Family:
    """An address family in nft's words: `ip saddr`, `ipv4_addr`; `suffix` for names."""

    version: int
    word: str
    type: str
    suffix: str


SESSIONS: Final = "sessions"
ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
BYTES_TO_CLIENTS: Final = "bytes_to_clients"
BYTES_TO_SERVERS: Final = "bytes_to_servers"
"""The sets that count: all but the first have one a family."""

IPV4: Final = Family(4, "ip", "ipv4_addr", "v4")
IPV6: Final = Family(6, "ip6", "ipv6_addr", "v6")
FAMILIES: Final = (IPV4, IPV6)


def family_of(address: IPAddress) -> Family:
    """The family of an address."""
    return IPV4 if address.version == 4 else IPV6


def network_of_client(virtual: VirtualServer, family: Family) -> str:
    """The expression for the client's network, as wide as persistence is to see it."""
    if family is IPV4:
        length, whole, form = virtual.persistence_granularity_v4, 32, _dotted
    else:
        length, whole, form = virtual.persistence_granularity_v6, 128, _colons
    client = f"{family.word} saddr"
    return client if length == whole else f"{client} & {form((1 << whole) - (1 << (whole - length)))}"


def _dotted(mask: int) -> str:
    return ".".join(str(mask >> shift & 0xFF) for shift in (24, 16, 8, 0))


def _colons(mask: int) -> str:
    return ":".join(f"{mask >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


def format_ports(ports: PortRange) -> str:
    """`21`, `10000-10624`."""
    return str(ports.first) if ports.first == ports.last else str(ports)


def united(ranges: Iterable[PortRange]) -> Iterator[PortRange]:
    """The same ports in ranges that neither overlap nor touch, in order: the kernel refuses others in one set."""
    pending: PortRange | None = None
    for port_range in sorted(ranges, key=lambda port_range: (port_range.first, port_range.last)):
        if pending is None:
            pending = port_range
        elif port_range.first <= pending.last + 1:
            pending = PortRange(pending.first, max(pending.last, port_range.last))
        else:
            yield pending
            pending = port_range
    if pending is not None:
        yield pending
