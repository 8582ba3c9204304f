"""A cluster -> the part of keepalived.conf that moves the floating addresses between directors (VRRP).

Pure; keepalived.conf(5) is its source. This module knows no engine and no virtual server of keepalived's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ftpdirector.model import Cluster, Director, IPAddress


def inside_interface(cluster: Cluster) -> str:
    """The interface towards the real servers."""
    return cluster.host.internal_interface or cluster.host.external_interface or "eth0"


def vrrp_lines(cluster: Cluster, me: Director) -> Iterator[str]:
    """The instances of this director, one a side; both sides move together."""
    outside = _floating(address for virtual in cluster.virtual_servers for address in virtual.addresses)
    inside = _floating(address for virtual in cluster.virtual_servers for address in virtual.gateway_addresses)
    identifier = cluster.vrrp.virtual_router_id
    if inside:
        yield "# Both floating addresses move together: a real server's way out is where its clients come in."
        yield "vrrp_sync_group ftpdirector {"
        yield "    group {"
        yield "        outside"
        yield "        inside"
        yield "    }"
        yield "}"
    yield from _instance("outside", cluster.host.external_interface or "eth0", identifier, me.priority, outside)
    if inside:
        yield from _instance("inside", inside_interface(cluster), identifier + 1, me.priority, inside)


def _floating(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    return tuple(dict.fromkeys(addresses))


def _instance(
    name: str, interface: str, identifier: int, priority: int, addresses: tuple[IPAddress, ...]
) -> Iterator[str]:
    lead = addresses[0].version
    yield f"vrrp_instance {name} {{"
    yield "    # No preemption: a director that comes back takes nothing from one that serves."
    yield "    state BACKUP"
    yield "    nopreempt"
    yield f"    interface {interface}"
    yield f"    virtual_router_id {identifier}"
    yield f"    priority {priority}"
    yield "    advert_int 1"
    yield "    virtual_ipaddress {"
    yield from (f"        {address}/{address.max_prefixlen}" for address in addresses if address.version == lead)
    yield "    }"
    others = [address for address in addresses if address.version != lead]
    if others:
        yield "    # One instance speaks one family; the other family's addresses move along."
        yield "    virtual_ipaddress_excluded {"
        yield from (f"        {address}/{address.max_prefixlen}" for address in others)
        yield "    }"
    yield "}"
