"""The rules of kernel engines: each trap of FTP through IPVS and nftables, with the way out of it.

What was tried stands behind each of them; `rules` holds the table that names them. This module knows no file format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from ftpdirector.config.finding import Finding, Rule, is_kernel, place_of, problem, warning
from ftpdirector.model import (
    CLIENT_PREFIX_IPV6,
    Cluster,
    DataToServer,
    Engine,
    ForwardingMethod,
    IPAddress,
    PacketFilter,
    Placement,
    ProxyProtocol,
    ServerSoftware,
    VirtualServer,
)
from ftpdirector.slices import groups_of


def _families(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        families = {address.version for address in virtual.addresses}
        for server in virtual.real_servers:
            if server.address.version not in families:
                yield (
                    f"{place_of(virtual, server)}: address",
                    f"IPv{server.address.version} meets no address of the virtual server",
                    f'add an IPv{server.address.version} virtual address, or use engine "proxy"',
                )


def _marks(cluster: Cluster) -> Iterator[Finding]:
    if cluster.engine is not Engine.IPVS:
        return
    taken: dict[int, VirtualServer] = {}
    for virtual in sorted(cluster.virtual_servers, key=lambda one: one.firewall_mark):
        other = taken.setdefault(virtual.firewall_mark, virtual)
        if other is not virtual:
            yield (
                f"{place_of(virtual)}: firewall_mark",
                f'{virtual.firewall_mark} belongs to virtual_server "{other.name}" already',
                "give each virtual server a mark of its own",
            )


def _two_virtual_addresses(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    fronts: dict[IPAddress, dict[IPAddress, VirtualServer]] = {}
    for virtual in cluster.virtual_servers:
        for server in virtual.real_servers:
            for address in virtual.addresses:
                if address.version == server.address.version:
                    fronts.setdefault(server.address, {}).setdefault(address, virtual)
    for server_address, by_address in fronts.items():
        if len(by_address) > 1:
            virtual = list(by_address.values())[-1]
            yield (
                place_of(virtual),
                f"real server {server_address} stands behind {' and '.join(map(str, by_address))}: "
                "it can announce one pasv_address only",
                'use one virtual address with several ports, or engine "proxy"',
            )


def _helper_needs_nat(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.HELPER and virtual.forwarding in (ForwardingMethod.DR, ForwardingMethod.TUN):
            yield (
                f"{place_of(virtual)}: placement",
                f'forwarding "{virtual.forwarding}" cannot rewrite 227 replies: ip_vs_ftp works with nat only',
                'use placement "slices"',
            )


def _direct_active(cluster: Cluster) -> Iterator[Finding]:
    if cluster.engine is not Engine.IPVS:
        return
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.SLICES and virtual.forwarding in (ForwardingMethod.DR, ForwardingMethod.TUN):
            for server in virtual.real_servers:
                if server.server is not ServerSoftware.VSFTPD:
                    yield (
                        f"{place_of(virtual, server)}: server",
                        f'"{server.server}" cannot choose its active data port, and forwarding "{virtual.forwarding}" '
                        "loses active mode from port 20",
                        'use vsftpd (ftp_data_port inside its slice), or forwarding "nat"',
                    )


def _real_port(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        maps_ports = virtual.placement is Placement.SLICES and virtual.forwarding in (
            ForwardingMethod.NAT,
            ForwardingMethod.FULLNAT,
        )
        for server in virtual.real_servers:
            if server.port != virtual.port and not maps_ports:
                yield (
                    f"{place_of(virtual, server)}: port",
                    f"{server.port} differs from the virtual port {virtual.port}, which works with nat and slices only",
                    f"let the real server listen on port {virtual.port}",
                )


def _gateway(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.gateway_addresses and virtual.forwarding is not ForwardingMethod.NAT:
            yield (
                f"{place_of(virtual)}: gateway_address",
                f'has no meaning under forwarding "{virtual.forwarding}"',
                "remove it: replies do not come back through the director",
            )


def _only_proxy(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.proxy_protocol is not ProxyProtocol.OFF:
            yield (
                f"{place_of(virtual)}: proxy_protocol",
                f'engine "{cluster.engine}" sends no header',
                'remove it, or use engine "proxy"; under nat real servers see the client\'s address anyway',
            )
        if virtual.data_to_server is not DataToServer.PASSIVE:
            yield (
                f"{place_of(virtual)}: data_to_server",
                f'engine "{cluster.engine}" does not choose who opens the data connection',
                'remove it, or use engine "proxy"',
            )
        if virtual.client_prefix_ipv6 != CLIENT_PREFIX_IPV6:
            yield (
                f"{place_of(virtual)}: client_prefix_ipv6",
                f'engine "{cluster.engine}" counts each address as a client of its own',
                'remove it, or use engine "proxy"',
            )


def _persistence_with_time(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.PERSISTENCE and not virtual.persistence_timeout_s:
            yield (
                f"{place_of(virtual)}: persistence_timeout",
                'is 0, but placement "persistence" finds data connections by it alone',
                'write "15m"',
            )


def _shared_range(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    for virtuals in groups_of(cluster).values():
        first = virtuals[0]
        for other in virtuals[1:]:
            for key in ("slices", "placement", "forwarding"):
                if getattr(other, key) != getattr(first, key):
                    yield (
                        f"{place_of(other)}: {key}",
                        f'differs from that of "{first.name}", whose address and passive range it shares',
                        f"write {key} = {json.dumps(getattr(first, key))}, or use a range of its own",
                    )


def _interfaces(cluster: Cluster) -> Iterator[Finding]:
    if not cluster.directors or not is_kernel(cluster):
        return
    if cluster.host.external_interface is None:
        yield "host: external_interface", "is missing", "name the interface that holds the virtual addresses"
    inside = any(one.gateway_addresses for one in cluster.virtual_servers)
    if inside and cluster.host.internal_interface is None:
        yield "host: internal_interface", "is missing", "name the interface that holds the gateway addresses"
    if inside and cluster.vrrp.virtual_router_id >= _HIGHEST_ROUTER_ID:
        yield (
            "vrrp: virtual_router_id",
            f"{cluster.vrrp.virtual_router_id} leaves none for the inside: two are used, this one and the next",
            f"write at most {_HIGHEST_ROUTER_ID - 1}",
        )


_HIGHEST_ROUTER_ID: Final = 255
"""RFC 5798 section 5.2.3."""


def _gateway_of_a_pair(cluster: Cluster) -> Iterator[Finding]:
    if len(cluster.directors) < 2 or not is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.forwarding is ForwardingMethod.NAT:
            for version in sorted({server.address.version for server in virtual.real_servers}):
                if not any(address.version == version for address in virtual.gateway_addresses):
                    yield (
                        f"{place_of(virtual)}: gateway_address",
                        f"is missing for IPv{version}: real servers answer through the director that is active, "
                        "so that their gateway must move with it",
                        "name a floating address of the real servers' network",
                    )


_USE_SLICES: Final = """use placement "slices" if the real servers' passive ports can be set"""


def _helper_sees_no_tls(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.HELPER:
            yield (
                f"{place_of(virtual)}: placement",
                "the kernel's helper reads replies: over TLS passive mode does not work; a 227 that is split, or not "
                "first in its packet is lost",
                _USE_SLICES,
            )


def _weights(cluster: Cluster) -> Iterator[Finding]:
    if cluster.engine is not Engine.IPVS:
        return
    for virtual in cluster.virtual_servers:
        for version in sorted({server.address.version for server in virtual.real_servers}):
            servers = [one for one in virtual.real_servers if one.address.version == version]
            if not any(one.weight for one in servers if not one.sorry):
                yield (
                    f"{place_of(virtual)}: weight",
                    f"is 0 for every IPv{version} real server: keepalived refuses a virtual server without a quorum",
                    f"leave one above 0, and say ftpdirector drain {servers[0].name}",
                )


def _bare_sorry_server(cluster: Cluster) -> Iterator[Finding]:
    if cluster.engine is not Engine.IPVS:
        return
    for virtual in cluster.virtual_servers:
        for server in virtual.real_servers:
            for key, is_set in (("weight", server.weight != 1), ("max_sessions", server.max_sessions)):
                if server.sorry and is_set:
                    yield (
                        f"{place_of(virtual, server)}: {key}",
                        "does not count for a sorry server: keepalived has no such setting",
                        "remove it",
                    )


def _helper_beside_others(cluster: Cluster) -> Iterator[Finding]:
    if cluster.engine is not Engine.IPVS:
        return
    helped = {one.port: one for one in cluster.virtual_servers if one.placement is Placement.HELPER}
    for virtual in cluster.virtual_servers:
        other = helped.get(virtual.port)
        if other and virtual.placement is not Placement.HELPER and virtual.forwarding is ForwardingMethod.NAT:
            yield (
                f"{place_of(virtual)}: placement",
                f'ip_vs_ftp serves port {virtual.port} of every address, for virtual_server "{other.name}": here '
                "it would send passive data connections astray",
                "give the two different control ports, or the same placement",
            )


def _persistence_cannot_drain(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.PERSISTENCE:
            yield (
                f"{place_of(virtual)}: placement",
                "one mark for control and data cannot drain: sessions of a drained or failed server lose their next "
                "data connection; and clients behind one address share one real server",
                _USE_SLICES,
            )


def _active_under_fullnat(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.forwarding is ForwardingMethod.FULLNAT and virtual.placement is not Placement.HELPER:
            yield (
                f"{place_of(virtual)}: forwarding",
                "real servers refuse PORT and EPRT: the client's address in them is not the one that they see",
                'use forwarding "nat", placement "helper", or engine "proxy" for clients in active mode',
            )


def _iptables_pair(cluster: Cluster) -> Iterator[Finding]:
    if cluster.engine is not Engine.IPVS or len(cluster.directors) < 2:
        return
    if cluster.host.packet_filter is PacketFilter.IPTABLES:
        yield (
            "host: packet_filter",
            "iptables has no place behind IPVS: after a failover packets of connections that this director does not "
            "know are answered with a reset",
            'write "nftables"',
        )


def _many_directors(cluster: Cluster) -> Iterator[Finding]:
    if not is_kernel(cluster) or len(cluster.directors) < 3:
        return
    if any(one.forwarding is not ForwardingMethod.DR for one in cluster.virtual_servers):
        yield (
            "director",
            f"{len(cluster.directors)} of them: only two tell each other of connections that the packet filter "
            "translates; those (active transfers under ipvs, all under nftables) end with their director",
            "name two, or live with it",
        )


KERNEL_RULES: Final[tuple[Rule, ...]] = (
    problem("families-do-not-meet", "Kernel engines join no IPv4 to IPv6.", _families),
    problem("duplicate-mark", "Firewall marks are unique.", _marks),
    problem(
        "two-virtual-addresses",
        "Under kernel engines a real server stands behind one virtual address of a family.",
        _two_virtual_addresses,
    ),
    problem("helper-needs-nat", "The kernel's FTP helper rewrites under nat only.", _helper_needs_nat),
    problem(
        "active-lost-from-port-20",
        "Under dr and tun with slices, active mode needs a server that chooses its data port.",
        _direct_active,
    ),
    problem(
        "real-port-differs",
        "A real port that differs from the virtual one needs nat and slices.",
        _real_port,
    ),
    problem(
        "shared-range",
        "Virtual servers that share a range are cut, placed and forwarded alike.",
        _shared_range,
    ),
    problem(
        "interface-missing",
        "A director pair names its interfaces and has a router id for each.",
        _interfaces,
    ),
    problem("gateway-must-move", "Behind a pair by nat, the real servers' gateway floats.", _gateway_of_a_pair),
    problem(
        "helper-beside-others",
        "The helper of IPVS goes by control port, not by virtual server.",
        _helper_beside_others,
    ),
    problem("no-quorum", "keepalived wants a real server with a weight in each family.", _weights),
    problem("gateway-without-nat", "A gateway address belongs to forwarding nat.", _gateway),
    problem(
        "proxy-only", "proxy_protocol, data_to_server and client_prefix_ipv6 belong to the proxy engine.", _only_proxy
    ),
    problem("persistence-without-time", "Placement persistence has a time-out.", _persistence_with_time),
    warning(
        "helper-sees-no-tls",
        "The kernel's helper serves plain FTP, and not every reply.",
        _helper_sees_no_tls,
    ),
    warning(
        "persistence-cannot-drain",
        "Persistence ties control and data, also when it should not.",
        _persistence_cannot_drain,
    ),
    warning("active-under-fullnat", "Active mode needs the client's address.", _active_under_fullnat),
    warning("bare-sorry-server", "keepalived gives a sorry server neither weight nor limit.", _bare_sorry_server),
    warning("many-directors", "Translated connections are told to one other director.", _many_directors),
    warning("iptables-pair", "Only nftables drops strays behind IPVS.", _iptables_pair),
)
