"""The data path: rules of the director and settings of the real servers, as yes and no, that decide what arrives.

`data_path_of` says what a cluster file comes to when it is applied in full. Change one value, and it is misconfigured;
connections are traced with either. This module knows no packet and no number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ftpdirector.ftpd.needs import announces_virtual
from ftpdirector.model import (
    Cluster,
    Engine,
    ForwardingMethod,
    Placement,
    VirtualServer,
)


class Lookup(StrEnum):
    """By what the kernel finds the virtual server."""

    MARK = "mark"
    PORT = "port"
    ANY_PORT = "any port"
    MAP = "map"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPath:
    """The director's rules first, then the real server's settings."""

    engine: Engine
    forwarding: ForwardingMethod
    lookup: Lookup
    slices: bool = False
    """Each part of the passive range leads to one real server."""
    slice_port_kept: bool = True
    """A slice's real server is written with port 0: the port that the client asked for."""
    takes_range: bool = False
    """The virtual server takes the whole passive range as well."""
    takes_data_port: bool = False
    """... and the port that active data connections come from."""
    persistent: bool = False
    """A client keeps its real server."""
    helper: bool = False
    """ip_vs_ftp under IPVS, nf_nat_ftp under nftables."""
    conntrack_helper: bool = False
    """nf_conntrack_ftp beside IPVS."""
    tracked: bool = True
    """Some rule has the kernel track connections."""
    let_pass: bool = True
    """No filter takes the packets of the control connection for invalid."""
    translates_source: bool = False
    """What the real servers open from the data port leaves with the virtual address."""
    translates_any_port: bool = False
    """... and so does what they open from other ports."""
    announces_virtual: bool = False
    """The real server's 227 names the virtual address."""
    in_slice: bool = True
    """The real server announces ports of its slice only."""
    from_data_port: bool = True
    """Active data connections leave from the port that the director counts on."""
    routes_back: bool = True
    """The real server's default gateway is the director."""
    holds_virtual: bool = True
    """dr, tun: the real server has the virtual address as well."""
    silent: bool = True
    """dr: ... and answers no ARP for it."""
    unpacks: bool = True
    """tun: the real server's kernel takes packets out of the tunnel."""

    @property
    def direct(self) -> bool:
        """Whether answers go to the client past the director."""
        return self.forwarding in (ForwardingMethod.DR, ForwardingMethod.TUN)

    @property
    def helper_notes(self) -> bool:
        """Whether the helper reads announcements, and knows then whose a data connection is."""
        return self.helper and not self.direct

    @property
    def helper_rewrites(self) -> bool:
        """Whether it changes a 227, too. IPVS has connections tracked by itself for a service by port 21 only."""
        return self.helper_notes and (self.tracked or self.lookup is Lookup.PORT)


def data_path_of(cluster: Cluster, virtual: VirtualServer) -> DataPath:
    """What the cluster file comes to under a kernel engine."""
    by_nat = virtual.forwarding is ForwardingMethod.NAT
    direct = virtual.forwarding in (ForwardingMethod.DR, ForwardingMethod.TUN)
    helped = virtual.placement is Placement.HELPER
    ipvs = cluster.engine is Engine.IPVS
    range_too = _takes_range(virtual, ipvs=ipvs)
    return DataPath(
        engine=cluster.engine,
        forwarding=virtual.forwarding,
        lookup=Lookup.MARK if ipvs else Lookup.MAP,
        slices=virtual.placement is Placement.SLICES,
        takes_range=range_too,
        takes_data_port=range_too and direct,
        persistent=virtual.persistence_timeout_s > 0,
        helper=helped,
        tracked=not direct,
        # nf_nat_ftp translates the source of what it expects; ip_vs_ftp does so for one source port only.
        translates_source=by_nat and (ipvs or not helped),
        translates_any_port=by_nat,
        announces_virtual=announces_virtual(virtual),
    )


def _takes_range(virtual: VirtualServer, *, ipvs: bool) -> bool:
    match virtual.placement:
        case Placement.PERSISTENCE:
            return True
        case Placement.HELPER:
            return ipvs and virtual.persistence_timeout_s > 0
        case Placement.SLICES:
            return False
