"""A cluster -> what a packet filter beside the table must let pass. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ftpdirector.firewalls.flow import (
    RequiredFlow,
    Stage,
    State,
    active_data,
    between,
    into_virtual,
    of_family,
    to_servers,
)
from ftpdirector.model import Cluster, ForwardingMethod, IPAddress, Placement, PortRange, VirtualServer

_ARRIVED: Final = frozenset({Stage.ARRIVED})


def flows_of(cluster: Cluster) -> tuple[RequiredFlow, ...]:
    """Each once, in the order of the file. Nothing of it is for the host itself."""
    every = (flow for virtual in cluster.virtual_servers for version in (4, 6) for flow in _flows(virtual, version))
    return tuple(dict.fromkeys(between(flow, cluster.host) for flow in every))


def _flows(virtual: VirtualServer, version: int) -> Iterator[RequiredFlow]:
    own = of_family(virtual.addresses, version)
    if not own:
        return
    yield from into_virtual(own, PortRange(virtual.port, virtual.port), "control connections", stages=_ARRIVED)
    yield from into_virtual(own, virtual.passive_ports, "passive data connections", stages=_ARRIVED)
    listening: dict[int, list[IPAddress]] = {}
    for server in virtual.real_servers:
        listening.setdefault(server.port, []).append(server.address)
    for port, addresses in listening.items():
        pools = of_family(addresses, version)
        if pools:
            yield from to_servers(pools, PortRange(port, port), "control connections")
    servers = of_family([server.address for server in virtual.real_servers], version)
    if not servers:
        return
    # The kernel's helper expects data connections, to whatever ports real servers announce.
    is_helped = virtual.placement is Placement.HELPER
    ports = None if is_helped else virtual.passive_ports
    state: State = "related" if is_helped else "new"
    yield from to_servers(servers, ports, "passive data connections", state=state)
    if is_helped or virtual.forwarding is ForwardingMethod.NAT:
        yield from active_data(servers, state=state)
