"""A cluster -> the packet filter rules beside IPVS, as values: what is marked, what is translated, what is dropped.

They print as nft (`nft`) and as iptables (`iptables`). This module knows no syntax of either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ftpdirector.failover.conntrackd import peers
from ftpdirector.model import (
    Cluster,
    ForwardingMethod,
    IPAddress,
    Placement,
    PortRange,
    VirtualServer,
)
from ftpdirector.slices import assign, groups_of, slice_marks

FTP_DATA_PORT_OFFSET = 1
"""A server's active data connections leave from its control port less one (RFC 959 section 3.2)."""


Pair = tuple[IPAddress, IPAddress]
"""The addresses of a real server and of the virtual server that it stands behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """TCP packets to these ports of a virtual address get this firewall mark."""

    address: IPAddress
    ports: PortRange
    mark: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """TCP connections that a real server opens leave with the virtual address as their source.

    From whatever port: 20 (RFC 959 section 3.2) is not enough. vsftpd uses it where connect_from_port_20 is set,
    ProFTPD with a privilege, Pure-FTPd falls back to others, pyftpdlib need not.
    """

    server: IPAddress
    to: IPAddress
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All of it. `real_servers` are those whose packets pass the director on their way back."""

    marks: tuple[Mark, ...]
    translations: tuple[Translation, ...]
    outside: str | None
    """The interface through which they leave; any, where it is not named."""
    real_servers: tuple[IPAddress, ...]
    peers: tuple[IPAddress, ...] = ()
    """The directors, where they tell each other of connections."""


def rules_of(cluster: Cluster) -> Rules:
    """The rules beside IPVS for every virtual server, in the order of the file."""
    by_nat = [virtual for virtual in cluster.virtual_servers if virtual.forwarding is ForwardingMethod.NAT]
    return Rules(
        marks=tuple(_marks(cluster)),
        translations=tuple(_translations(by_nat)),
        outside=cluster.host.external_interface,
        real_servers=tuple(dict.fromkeys(server.address for virtual in by_nat for server in virtual.real_servers)),
        peers=peers(cluster) if by_nat else (),
    )


def _marks(cluster: Cluster) -> Iterator[Mark]:
    for virtual in cluster.virtual_servers:
        for address in virtual.addresses:
            yield from _own_marks(virtual, address)
    marks = slice_marks(cluster)
    for group, virtuals in groups_of(cluster).items():
        if virtuals[0].placement is not Placement.SLICES:
            continue
        for assigned in assign(virtuals):
            for address in virtuals[0].addresses:
                if address.version == assigned.server.address.version:
                    yield Mark(
                        address=address,
                        ports=assigned.ports,
                        mark=marks[group][assigned.slot],
                        reason=f"slice {assigned.slot}: what {assigned.server.name} announces",
                    )


def _own_marks(virtual: VirtualServer, address: IPAddress) -> Iterator[Mark]:
    def mark(ports: PortRange, reason: str) -> Mark:
        return Mark(address=address, ports=ports, mark=virtual.firewall_mark, reason=f"{virtual.name}: {reason}")

    control = PortRange(virtual.port, virtual.port)
    yield mark(control, "control connections")
    if not _one_mark_for_all(virtual):
        return
    yield mark(virtual.passive_ports, "passive data connections follow their control connection by persistence")
    if virtual.forwarding is not ForwardingMethod.NAT:
        data_port = virtual.port - FTP_DATA_PORT_OFFSET
        yield mark(PortRange(data_port, data_port), "answers to active data connections, which bypass the director")


def _one_mark_for_all(virtual: VirtualServer) -> bool:
    match virtual.placement:
        case Placement.PERSISTENCE:
            return True
        case Placement.HELPER:
            return virtual.persistence_timeout_s > 0
        case Placement.SLICES:
            return False


def _translations(virtuals: Sequence[VirtualServer]) -> Iterator[Translation]:
    names: dict[Pair, str] = {}
    for virtual in virtuals:
        for server in virtual.real_servers:
            for address in virtual.addresses:
                if address.version == server.address.version:
                    names.setdefault((server.address, address), server.name)
    for (behind, address), name in names.items():
        yield Translation(
            server=behind,
            to=address,
            reason=f"{name}: active data connections come from the virtual address",
        )
