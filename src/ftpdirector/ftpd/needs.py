"""A cluster -> what each real server must announce, listen on and connect from, as values.

This module knows no software and writes no text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ftpdirector.model import (
    Cluster,
    Engine,
    ForwardingMethod,
    IPAddress,
    Placement,
    PortRange,
    RealServer,
    VirtualServer,
)
from ftpdirector.slices import Slice, slice_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one real server needs behind one virtual server under a kernel engine."""

    virtual: VirtualServer
    server: RealServer
    slice: Slice | None
    passive_ports: PortRange
    announced: IPAddress | None
    """The address that its 227 must name; None where it names the right one by itself, or a helper writes it."""
    data_port: int
    """Where its active data connections must leave from; 0: any port will do."""

    @property
    def is_direct(self) -> bool:
        """Whether its answers go to the client past the director."""
        return is_direct(self.virtual)


def is_direct(virtual: VirtualServer) -> bool:
    """Forwarding dr and tun: the real server has the virtual address itself."""
    return virtual.forwarding in (ForwardingMethod.DR, ForwardingMethod.TUN)


def announces_virtual(virtual: VirtualServer) -> bool:
    """Whether the real server has to be told to name the virtual address in its 227: nothing rewrites it."""
    return not is_direct(virtual) and virtual.placement is not Placement.HELPER


def needs_of(cluster: Cluster, virtual: VirtualServer, server: RealServer) -> Needs:
    """What this real server needs behind this virtual server."""
    own = slice_of(cluster, virtual, server) if virtual.placement is Placement.SLICES else None
    ports = own.ports if own else virtual.passive_ports
    data_port = 0
    if is_direct(virtual):
        # Answers to port 20 reach the director, which knows no connection from there. A port of the slice leads to the
        # real server like any other of it; with one mark for all, port 20 has that mark.
        data_port = ports.first if own else virtual.port - 1
        ports = PortRange(ports.first + 1, ports.last) if own else ports
    four = next((address for address in virtual.addresses if address.version == 4), None)
    return Needs(
        virtual=virtual,
        server=server,
        slice=own,
        passive_ports=ports,
        announced=four if server.address.version == 4 and announces_virtual(virtual) else None,
        data_port=data_port,
    )


def found(cluster: Cluster, name: str) -> Iterator[Needs]:
    """Behind each virtual server, the real server of this name (`alpha`, or `ftp/alpha` behind one alone)."""
    before, slash, after = name.partition("/")
    for virtual in cluster.virtual_servers:
        for server in virtual.real_servers:
            if server.name == name or (slash and (virtual.name, server.name) == (before, after)):
                yield needs_of(cluster, virtual, server)


def names(cluster: Cluster) -> tuple[str, ...]:
    """Every real server's name, once."""
    return tuple(dict.fromkeys(server.name for virtual in cluster.virtual_servers for server in virtual.real_servers))


def is_needless(cluster: Cluster) -> bool:
    """Whether any FTP server will do as it is: the proxy engine answers for it."""
    return cluster.engine is Engine.PROXY
