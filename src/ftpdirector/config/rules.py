"""The rules of a cluster file across fields, as one table: `check` walks it, and the reference page is printed from it.

A problem keeps a file from being used; a warning names what works but bites. This module knows no file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ftpdirector.errors import Problem
from ftpdirector.model import (
    IPVS_SCHEDULERS,
    PROXY_SCHEDULERS,
    Cluster,
    DataToServer,
    Engine,
    ForwardingMethod,
    IPAddress,
    Placement,
    ProbeKind,
    ProxyProtocol,
    RealServer,
    ServerSoftware,
    VirtualServer,
)

Finding = tuple[str, str, str]
"""Place in the file, what is wrong, what would be right."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, whether breaking it is a problem (or a warning), a sentence, and the look at a cluster."""

    name: str
    is_problem: bool
    sentence: str
    look: Callable[[Cluster], Iterator[Finding]]


def problems_of(cluster: Cluster, *, source: str) -> tuple[Problem, ...]:
    """Every rule that is broken so that the file cannot be used."""
    return _walk(cluster, source, is_problem=True)


def warnings_of(cluster: Cluster, *, source: str) -> tuple[Problem, ...]:
    """Every rule that is broken so that it works, but bites."""
    return _walk(cluster, source, is_problem=False)


def _walk(cluster: Cluster, source: str, *, is_problem: bool) -> tuple[Problem, ...]:
    return tuple(
        Problem(where=f"{source}: {where}", what=what, remedy=remedy, rule=rule.name)
        for rule in RULES
        if rule.is_problem is is_problem
        for where, what, remedy in rule.look(cluster)
    )


def _at(virtual: VirtualServer, server: RealServer | None = None) -> str:
    place = f'virtual_server "{virtual.name}"'
    return f'{place}: real_server "{server.name}"' if server else place


def _is_kernel(cluster: Cluster) -> bool:
    return cluster.engine is not Engine.PROXY


def _repeated(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _duplicate_names(cluster: Cluster) -> Iterator[Finding]:
    for name in _repeated([virtual.name for virtual in cluster.virtual_servers]):
        yield f'virtual_server "{name}"', "the name is taken twice", "give each virtual server a name of its own"
    for virtual in cluster.virtual_servers:
        for name in _repeated([server.name for server in virtual.real_servers]):
            yield (
                f'{_at(virtual)}: real_server "{name}"',
                "the name is taken twice",
                "give each real server a name of its own",
            )
    for name in _repeated([director.name for director in cluster.directors]):
        yield f'director "{name}"', "the name is taken twice", "give each director a name of its own"


def _duplicate_endpoints(cluster: Cluster) -> Iterator[Finding]:
    seen: dict[tuple[IPAddress, int], VirtualServer] = {}
    for virtual in cluster.virtual_servers:
        for address in virtual.addresses:
            other = seen.setdefault((address, virtual.port), virtual)
            if other is not virtual:
                yield (
                    f"{_at(virtual)}: address",
                    f'{address} port {virtual.port} belongs to virtual_server "{other.name}" already',
                    "use another address or port",
                )
        behind: dict[tuple[IPAddress, int], RealServer] = {}
        for server in virtual.real_servers:
            twin = behind.setdefault((server.address, server.port), server)
            if twin is not server:
                yield (
                    f"{_at(virtual, server)}: address",
                    f'{server.endpoint} is real_server "{twin.name}" already',
                    "name each real server once; use weight for its share",
                )
    for repeated in _repeated([str(director.address) for director in cluster.directors]):
        yield "director: address", f"{repeated} is taken twice", "each director has an address of its own"


def _two_of_a_family(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        for key, addresses in (("address", virtual.addresses), ("gateway_address", virtual.gateway_addresses)):
            for version, count in Counter(address.version for address in addresses).items():
                if count > 1:
                    yield (
                        f"{_at(virtual)}: {key}",
                        f"lists {count} IPv{version} addresses",
                        "at most one IPv4 and one IPv6; write another virtual_server for the next",
                    )


def _unusable_addresses(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        named = [(f"{_at(virtual)}: address", address) for address in virtual.addresses]
        named += [(f"{_at(virtual, server)}: address", server.address) for server in virtual.real_servers]
        for where, address in named:
            if address.is_multicast or address.is_unspecified:
                yield where, f"{address} is not the address of a host", "write a unicast address"


def _loop(cluster: Cluster) -> Iterator[Finding]:
    virtual_endpoints = {(address, one.port): one for one in cluster.virtual_servers for address in one.addresses}
    for virtual in cluster.virtual_servers:
        for server in virtual.real_servers:
            own = virtual_endpoints.get((server.address, server.port))
            if own:
                yield (
                    f"{_at(virtual, server)}: address",
                    f'{server.endpoint} is virtual_server "{own.name}" itself: a loop',
                    "write the real server's own address",
                )


def _control_port_in_range(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.port in virtual.passive_ports:
            yield (
                f"{_at(virtual)}: passive_ports",
                f"{virtual.passive_ports} contains the control port {virtual.port}",
                "move one of them",
            )


def _overlapping_ranges(cluster: Cluster) -> Iterator[Finding]:
    by_address: dict[IPAddress, list[VirtualServer]] = {}
    for virtual in cluster.virtual_servers:
        for address in virtual.addresses:
            by_address.setdefault(address, []).append(virtual)
    for address, virtuals in by_address.items():
        if len(virtuals) == 1:
            continue
        for virtual in virtuals:
            for other in virtuals:
                if other is not virtual and other.port in virtual.passive_ports:
                    yield (
                        f"{_at(virtual)}: passive_ports",
                        f'{virtual.passive_ports} contains port {other.port}, the control port of "{other.name}"',
                        f"leave port {other.port} of {address} out of the range",
                    )
        # Ranges that are equal share their ports; ranges that overlap in part would fight for them.
        ordered = sorted(virtuals, key=lambda one: (one.passive_ports.first, one.passive_ports.last))
        for lower, upper in pairwise(ordered):
            if lower.passive_ports != upper.passive_ports and upper.passive_ports.first <= lower.passive_ports.last:
                yield (
                    f"{_at(upper)}: passive_ports",
                    f'{upper.passive_ports} overlaps {lower.passive_ports} of "{lower.name}" on {address}',
                    "use equal ranges or ranges apart",
                )


def _too_small_range(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if _has_slices(cluster, virtual) and len(virtual.passive_ports) < virtual.slices:
            yield (
                f"{_at(virtual)}: passive_ports",
                f"{virtual.passive_ports} has {len(virtual.passive_ports)} ports for {virtual.slices} slices",
                "widen the range or cut it into fewer slices",
            )
        if cluster.engine is Engine.PROXY and len(virtual.passive_ports) < cluster.workers:
            yield (
                f"{_at(virtual)}: passive_ports",
                f"{virtual.passive_ports} has fewer ports than there are workers ({cluster.workers})",
                "widen the range: each worker has a part of its own",
            )


def _has_slices(cluster: Cluster, virtual: VirtualServer) -> bool:
    return _is_kernel(cluster) and virtual.placement is Placement.SLICES


def _more_servers_than_slices(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if _has_slices(cluster, virtual) and len(virtual.real_servers) > virtual.slices:
            yield (
                f"{_at(virtual)}: slices",
                f"{len(virtual.real_servers)} real servers for {virtual.slices} slices",
                f"write slices = {len(virtual.real_servers)} or more",
            )


def _slots(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        taken: dict[int, RealServer] = {}
        for server in virtual.real_servers:
            if server.slice is None:
                continue
            if server.slice >= virtual.slices:
                yield (
                    f"{_at(virtual, server)}: slice",
                    f"slot {server.slice} does not exist",
                    f"slots are 0 to {virtual.slices - 1}",
                )
            other = taken.setdefault(server.slice, server)
            if other is not server:
                yield (
                    f"{_at(virtual, server)}: slice",
                    f'slot {server.slice} is pinned by real_server "{other.name}" already',
                    "pin each slot once",
                )


def _families(cluster: Cluster) -> Iterator[Finding]:
    if not _is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        families = {address.version for address in virtual.addresses}
        for server in virtual.real_servers:
            if server.address.version not in families:
                yield (
                    f"{_at(virtual, server)}: address",
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
                f"{_at(virtual)}: firewall_mark",
                f'{virtual.firewall_mark} belongs to virtual_server "{other.name}" already',
                "give each virtual server a mark of its own",
            )


def _two_virtual_addresses(cluster: Cluster) -> Iterator[Finding]:
    if not _is_kernel(cluster):
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
                _at(virtual),
                f"real server {server_address} stands behind {' and '.join(map(str, by_address))}: "
                "it can announce one pasv_address only",
                'use one virtual address with several ports, or engine "proxy"',
            )


def _scheduler(cluster: Cluster) -> Iterator[Finding]:
    known = IPVS_SCHEDULERS if cluster.engine is Engine.IPVS else PROXY_SCHEDULERS
    for virtual in cluster.virtual_servers:
        if virtual.scheduler not in known:
            yield (
                f"{_at(virtual)}: scheduler",
                f'engine "{cluster.engine}" has no scheduler "{virtual.scheduler}"',
                f"use one of {', '.join(known)}",
            )


_FORWARDING: Final = {
    Engine.PROXY: (ForwardingMethod.NAT,),
    Engine.NFTABLES: (ForwardingMethod.NAT, ForwardingMethod.FULLNAT),
    Engine.IPVS: (ForwardingMethod.NAT, ForwardingMethod.DR, ForwardingMethod.TUN),
}


def _forwarding(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        known = _FORWARDING[cluster.engine]
        if virtual.forwarding not in known:
            yield (
                f"{_at(virtual)}: forwarding",
                f'engine "{cluster.engine}" cannot forward by "{virtual.forwarding}"',
                f"use {' or '.join(known)}",
            )


def _helper_needs_nat(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.HELPER and virtual.forwarding in (ForwardingMethod.DR, ForwardingMethod.TUN):
            yield (
                f"{_at(virtual)}: placement",
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
                        f"{_at(virtual, server)}: server",
                        f'"{server.server}" cannot choose its active data port, and forwarding "{virtual.forwarding}" '
                        "loses active mode from port 20",
                        'use vsftpd (ftp_data_port inside its slice), or forwarding "nat"',
                    )


def _real_port(cluster: Cluster) -> Iterator[Finding]:
    if not _is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        maps_ports = virtual.placement is Placement.SLICES and virtual.forwarding in (
            ForwardingMethod.NAT,
            ForwardingMethod.FULLNAT,
        )
        for server in virtual.real_servers:
            if server.port != virtual.port and not maps_ports:
                yield (
                    f"{_at(virtual, server)}: port",
                    f"{server.port} differs from the virtual port {virtual.port}, which works with nat and slices only",
                    f"let the real server listen on port {virtual.port}",
                )


def _gateway(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.gateway_addresses and virtual.forwarding is not ForwardingMethod.NAT:
            yield (
                f"{_at(virtual)}: gateway_address",
                f'has no meaning under forwarding "{virtual.forwarding}"',
                "remove it: replies do not come back through the director",
            )


def _only_proxy(cluster: Cluster) -> Iterator[Finding]:
    if not _is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.proxy_protocol is not ProxyProtocol.OFF:
            yield (
                f"{_at(virtual)}: proxy_protocol",
                f'engine "{cluster.engine}" sends no header',
                'remove it, or use engine "proxy"; under nat real servers see the client\'s address anyway',
            )
        if virtual.data_to_server is not DataToServer.PASSIVE:
            yield (
                f"{_at(virtual)}: data_to_server",
                f'engine "{cluster.engine}" does not choose who opens the data connection',
                'remove it, or use engine "proxy"',
            )


def _persistence_with_time(cluster: Cluster) -> Iterator[Finding]:
    if not _is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.PERSISTENCE and not virtual.persistence_timeout_s:
            yield (
                f"{_at(virtual)}: persistence_timeout",
                'is 0, but placement "persistence" finds data connections by it alone',
                'write "15m"',
            )


def _probe_path(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.health_check.probe is ProbeKind.TRANSFER and not virtual.health_check.path:
            yield (
                f"{_at(virtual)}: health_check: path",
                'is missing, and probe "transfer" reads a file',
                'write path = "/probe.txt"',
            )
        if any(ord(char) < ord(" ") for char in f"{virtual.health_check.path or ''}{virtual.health_check.user}"):
            yield f"{_at(virtual)}: health_check", "user or path holds a control character", "remove it"


def _no_server_offered(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if not any(server.weight for server in virtual.real_servers):
            yield _at(virtual), "every real server has weight 0: no client is served", "give one a weight"


def _long_timeout(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        check = virtual.health_check
        if check.timeout_s > check.interval_s:
            yield (
                f"{_at(virtual)}: health_check: timeout",
                f"{check.timeout_s:g}s is longer than the interval {check.interval_s:g}s",
                "make it shorter than the interval",
            )


def _password_without_login(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        check = virtual.health_check
        logs_in = check.probe in (ProbeKind.LOGIN, ProbeKind.LIST, ProbeKind.TRANSFER)
        if logs_in and check.user != "anonymous" and not check.password_file:
            yield (
                f"{_at(virtual)}: health_check: user",
                f'"{check.user}" logs in without a password',
                "write password_file",
            )
        if check.password_file and not logs_in:
            yield f"{_at(virtual)}: health_check: password_file", "is not used by this probe", 'write probe = "login"'


def _active_source_port(cluster: Cluster) -> Iterator[Finding]:
    if _is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.port <= 1024:
            yield (
                f"{_at(virtual)}: port",
                f"ports {virtual.port} and {virtual.port - 1} need a privilege: without it the director cannot listen, "
                "and active data connections leave from an ephemeral port instead",
                "run it with CAP_NET_BIND_SERVICE (the systemd unit does), or use a port above 1024",
            )


def _problem(name: str, sentence: str, look: Callable[[Cluster], Iterator[Finding]]) -> Rule:
    return Rule(name, is_problem=True, sentence=sentence, look=look)


def _warning(name: str, sentence: str, look: Callable[[Cluster], Iterator[Finding]]) -> Rule:
    return Rule(name, is_problem=False, sentence=sentence, look=look)


RULES: Final[tuple[Rule, ...]] = (
    _problem(
        "duplicate-name",
        "Names are unique: virtual servers, directors, real servers of a virtual server.",
        _duplicate_names,
    ),
    _problem("duplicate-address", "Addresses with their ports are unique.", _duplicate_endpoints),
    _problem("one-address-a-family", "A virtual server has at most one IPv4 and one IPv6 address.", _two_of_a_family),
    _problem("host-address", "Addresses are those of hosts.", _unusable_addresses),
    _problem("loop", "A real server is not the director's own virtual server.", _loop),
    _problem("control-port-in-range", "The passive range does not contain the control port.", _control_port_in_range),
    _problem(
        "overlapping-ranges",
        "Passive ranges on one address are equal or apart, and free of control ports.",
        _overlapping_ranges,
    ),
    _problem("range-too-small", "The passive range has a port for each slice and each worker.", _too_small_range),
    _problem("more-servers-than-slices", "Each real server has a slice.", _more_servers_than_slices),
    _problem("slot-pinned-twice", "Each slot exists and is pinned once.", _slots),
    _problem("families-do-not-meet", "Kernel engines join no IPv4 to IPv6.", _families),
    _problem("duplicate-mark", "Firewall marks are unique.", _marks),
    _problem(
        "two-virtual-addresses",
        "Under kernel engines a real server stands behind one virtual address of a family.",
        _two_virtual_addresses,
    ),
    _problem("unknown-scheduler", "The engine knows the scheduler.", _scheduler),
    _problem("unknown-forwarding", "The engine knows the forwarding method.", _forwarding),
    _problem("helper-needs-nat", "The kernel's FTP helper rewrites under nat only.", _helper_needs_nat),
    _problem(
        "active-lost-from-port-20",
        "Under dr and tun with slices, active mode needs a server that chooses its data port.",
        _direct_active,
    ),
    _problem("real-port-differs", "A real port that differs from the virtual one needs nat and slices.", _real_port),
    _problem("gateway-without-nat", "A gateway address belongs to forwarding nat.", _gateway),
    _problem("proxy-only", "proxy_protocol and data_to_server belong to the proxy engine.", _only_proxy),
    _problem("persistence-without-time", "Placement persistence has a time-out.", _persistence_with_time),
    _problem("probe-path", "Probe transfer names the file that it reads.", _probe_path),
    _warning("no-server-offered", "Some real server has a weight.", _no_server_offered),
    _warning("timeout-above-interval", "A look ends before the next one is due.", _long_timeout),
    _warning(
        "password-without-login", "A password is given where one is needed, and only there.", _password_without_login
    ),
    _warning("privileged-port", "Ports below 1024 need a privilege.", _active_source_port),
)
