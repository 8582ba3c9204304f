"""The sets and maps that the base chains use: endpoints, slices, real servers, what is known of clients.

This module knows no chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ftpdirector.engines.nftables.marks import DATA_BIT, Marks, format_mark
from ftpdirector.engines.nftables.names import (
    ACCEPTED,
    BYTES_TO_CLIENTS,
    BYTES_TO_SERVERS,
    FAMILIES,
    REFUSED,
    SESSIONS,
    Family,
    family_of,
    format_ports,
    united,
)
from ftpdirector.engines.nftables.virtual import FamilyPool
from ftpdirector.model import Cluster, ForwardingMethod, IPAddress, Placement, PortRange, RealServer, VirtualServer
from ftpdirector.nft.objects import Set
from ftpdirector.slices import Slice, assign, group_of, groups_of

_MOST_ADMITTED: Final = 262_144
"""Pairs of client and real server. The kernel sets 8 bytes each aside at once, and some 150 more when one is used."""
_MOST_COUNTED: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A slice at a virtual address, and the mark of data connections to it."""

    address: IPAddress
    slice: Slice
    mark: int


def lookups_of(cluster: Cluster, pools: Sequence[FamilyPool], marks: Marks) -> Iterator[Set]:
    """Every set and map that base chains use; they exist even when they are empty."""
    slices = [
        _Slot(address=address, slice=assigned, mark=marks[group_of(virtuals[0]), assigned.server.address] | DATA_BIT)
        for virtuals in groups_of(cluster).values()
        if virtuals[0].placement is Placement.SLICES
        for assigned in assign(virtuals)
        for address in virtuals[0].addresses
        if address.version == assigned.server.address.version
    ]
    for family in FAMILIES:
        here = [pool for pool in pools if pool.family is family]
        yield from _endpoints(family, here)
        slots = [slot for slot in slices if family_of(slot.address) is family]
        yield from _passive(family, here, slots)
        yield from _known_of_clients(family)
        yield from _own(family, here)
        yield from _counted(family, here)
    yield _real_ports(pools)
    yield Set(
        name=SESSIONS,
        type="mark . inet_service",
        counts=True,
        elements={session_key(mark, pool.virtual): "" for pool in pools for mark in pool.marks},
        purpose="Control connections made, by real server and virtual port.",
    )
    yield Set(
        name="gated",
        type="mark",
        elements={format_mark(slot.mark): "" for slot in slices},
        purpose="Data connections that pass the gate: those to a slice.",
    )
    yield Set(
        name="fullnat",
        type="mark",
        elements={
            format_mark(mark | bit): ""
            for pool in pools
            if pool.virtual.forwarding is ForwardingMethod.FULLNAT
            for mark in pool.marks
            for bit in (0, DATA_BIT)
        },
        purpose="Connections that reach their real server from the director's own address.",
    )


def _endpoints(family: Family, pools: Sequence[FamilyPool]) -> Iterator[Set]:
    yield Set(
        name=f"control_{family.suffix}",
        type=f"{family.type} . inet_service : verdict",
        elements={endpoint_key(pool): f"goto {pool.named('control')}" for pool in pools},
        purpose="Where clients connect to, and the chain that chooses a real server.",
    )
    yield Set(
        name=f"session_{family.suffix}",
        type=f"{family.type} . inet_service : verdict",
        elements={endpoint_key(pool): f"goto {pool.named('session')}" for pool in pools},
        purpose="Where a control connection was made to, and the chain that its packets pass.",
    )


def _passive(family: Family, pools: Sequence[FamilyPool], slices: Sequence[_Slot]) -> Iterator[Set]:
    yield Set(
        name=f"slice_{family.suffix}",
        type=f"{family.type} . inet_service : mark",
        flags=("interval",),
        elements={f"{slot.address} . {format_ports(slot.slice.ports)}": format_mark(slot.mark) for slot in slices},
        purpose="Each slice of a passive range, and the mark of the real server that announces it.",
    )
    yield Set(
        name=f"passive_{family.suffix}",
        type=f"{family.type} . inet_service : verdict",
        flags=("interval",),
        elements={
            f"{pool.address} . {format_ports(pool.virtual.passive_ports)}": f"goto {pool.named('passive')}"
            for pool in pools
            if pool.is_found_by_persistence
        },
        purpose="Passive ranges whose data connections follow the client's control connection.",
    )
    yield Set(
        name=f"server_{family.suffix}",
        type=f"mark : {family.type}",
        elements={
            format_mark(mark | DATA_BIT): str(server.address)
            for pool in pools
            for mark, server in zip(pool.marks, pool.servers, strict=True)
        },
        purpose="Where data connections go, by their mark.",
    )
    yield Set(
        name=f"active_{family.suffix}",
        type=f"{family.type} : {family.type}",
        elements={
            str(server.address): str(pool.address)
            for pool in pools
            if pool.virtual.forwarding is ForwardingMethod.NAT
            for server in pool.servers
        },
        purpose="The virtual address that a real server's active data connections come from.",
    )


def _known_of_clients(family: Family) -> Iterator[Set]:
    yield Set(
        name=f"admitted_{family.suffix}",
        type=f"{family.type} . {family.type}",
        size=_MOST_ADMITTED,
        flags=("dynamic", "timeout"),
        purpose="Client and real server that have a session with each other.",
    )
    yield Set(
        name=f"clients_{family.suffix}",
        type=f"{family.type} . {family.type} . inet_service",
        size=_MOST_COUNTED,
        flags=("dynamic",),
        purpose="Open control connections by client and virtual server.",
    )


def _own(family: Family, pools: Sequence[FamilyPool]) -> Iterator[Set]:
    ports: dict[IPAddress, list[PortRange]] = {}
    for pool in pools:
        ports.setdefault(pool.address, []).extend((_control(pool.virtual.port), pool.virtual.passive_ports))
    yield Set(
        name=f"virtual_ports_{family.suffix}",
        type=f"{family.type} . inet_service",
        flags=("interval",),
        elements={
            f"{address} . {format_ports(port_range)}": ""
            for address, ranges in ports.items()
            for port_range in united(ranges)
        },
        purpose="Ports of virtual addresses that FTP uses, the one for active data among them.",
    )
    yield Set(
        name=f"real_{family.suffix}",
        type=family.type,
        elements={str(server.address): "" for pool in pools for server in pool.servers},
        purpose="Real servers.",
    )


def _counted(family: Family, pools: Sequence[FamilyPool]) -> Iterator[Set]:
    for name, purpose in (
        (ACCEPTED, "Control connections made, by virtual address and port."),
        (REFUSED, "Control connections above a limit: reset."),
    ):
        yield Set(
            name=f"{name}_{family.suffix}",
            type=f"{family.type} . inet_service",
            counts=True,
            elements={endpoint_key(pool): "" for pool in pools},
            purpose=purpose,
        )
    servers = dict.fromkeys(str(server.address) for pool in pools for server in pool.servers)
    for name, purpose in (
        (BYTES_TO_CLIENTS, "Data that real servers have sent to clients."),
        (BYTES_TO_SERVERS, "Data that clients have sent to real servers."),
    ):
        yield Set(
            name=f"{name}_{family.suffix}",
            type=family.type,
            counts=True,
            elements=dict.fromkeys(servers, ""),
            purpose=purpose,
        )


def _real_ports(pools: Sequence[FamilyPool]) -> Set:
    ranges = [_control(server.port) for pool in pools for server in pool.servers]
    ranges += [pool.virtual.passive_ports for pool in pools]
    return Set(
        name="real_ports",
        type="inet_service",
        flags=("interval",),
        elements={format_ports(port_range): "" for port_range in united(ranges)},
        purpose="Ports that real servers answer clients from.",
    )


def verdicts_of(pools: Sequence[FamilyPool]) -> Iterator[Set]:
    """Who gets no new sessions, and why: what the next director that starts goes on with."""
    for family in FAMILIES:
        here = [
            (pool, server, offer)
            for pool in pools
            if pool.family is family
            for server, offer in zip(pool.servers, pool.offers, strict=True)
            if offer.drained or not offer.weight
        ]
        yield Set(
            name=f"withheld_{family.suffix}",
            type=f"{family.type} . inet_service . {family.type}",
            elements={
                verdict_key(pool, server): "" for pool, server, offer in here if server.weight and not offer.weight
            },
            purpose="Virtual server and real server that gets no new sessions from it: no rule looks here.",
        )
        yield Set(
            name=f"drained_{family.suffix}",
            type=f"{family.type} . inet_service . {family.type}",
            elements={verdict_key(pool, server): "" for pool, server, offer in here if offer.drained},
            purpose="Those that the operator drains: no rule looks here.",
        )


def verdict_key(pool: FamilyPool, server: RealServer) -> str:
    """A real server behind one virtual server."""
    return f"{endpoint_key(pool)} . {server.address}"


def endpoint_key(pool: FamilyPool) -> str:
    """Where clients connect to."""
    return f"{pool.address} . {pool.virtual.port}"


def session_key(mark: int, virtual: VirtualServer) -> str:
    """A real server, by its mark, behind one virtual server."""
    return f"{format_mark(mark)} . {virtual.port}"


def _control(port: int) -> PortRange:
    """The control port and the one below it, which active data connections come from (RFC 959 section 5.2)."""
    return PortRange(max(1, port - 1), port)


def helped_of(pools: Sequence[FamilyPool]) -> Iterator[Set]:
    """The control connections that the kernel's helper reads."""
    for family in FAMILIES:
        yield Set(
            name=f"helped_{family.suffix}",
            type=f"{family.type} . inet_service",
            elements={endpoint_key(pool): "" for pool in pools if pool.family is family},
            purpose="Where control connections are made to that the kernel's helper reads.",
        )
