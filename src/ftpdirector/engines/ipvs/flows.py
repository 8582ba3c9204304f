"""A cluster -> what a packet filter beside IPVS must let pass. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ftpdirector.firewalls.flow import RequiredFlow, Stage, active_data, between, into_virtual, of_family
from ftpdirector.model import Cluster, ForwardingMethod, PortRange, VirtualServer

_TO_THIS_HOST: Final = frozenset({Stage.ARRIVED, Stage.TRANSLATED, Stage.INPUT})


def flows_of(cluster: Cluster) -> tuple[RequiredFlow, ...]:
    """Each once, in the order of the file. IPVS takes packets over after the input chains have seen them."""
    every = (flow for virtual in cluster.virtual_servers for version in (4, 6) for flow in _flows(virtual, version))
    return tuple(dict.fromkeys(between(flow, cluster.host) for flow in every))


def _flows(virtual: VirtualServer, version: int) -> Iterator[RequiredFlow]:
    own = of_family(virtual.addresses, version)
    if not own:
        return
    yield from into_virtual(own, PortRange(virtual.port, virtual.port), "control connections", stages=_TO_THIS_HOST)
    yield from into_virtual(own, virtual.passive_ports, "passive data connections", stages=_TO_THIS_HOST)
    servers = of_family([server.address for server in virtual.real_servers], version)
    if servers and virtual.forwarding is ForwardingMethod.NAT:  # real servers answer others past the director
        yield from active_data(servers)
