"""The rules of a cluster file across fields, as one table: `check` walks it, and the reference page is printed from it.

A problem keeps a file from being used; a warning names what is valid but risky. This module knows no file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from ftpdirector.config.finding import Finding, Rule, is_kernel, place_of, problem, warning
from ftpdirector.config.kernel_rules import KERNEL_RULES
from ftpdirector.errors import Problem
from ftpdirector.model import (
    IPVS_SCHEDULERS,
    PROXY_SCHEDULERS,
    Cluster,
    Engine,
    ForwardingMethod,
    IPAddress,
    Placement,
    ProbeKind,
    RealServer,
    VirtualServer,
)


def problems_of(cluster: Cluster, *, source: str) -> tuple[Problem, ...]:
    """Every rule that is broken so that the file cannot be used."""
    return _walk(cluster, source, is_problem=True)


def warnings_of(cluster: Cluster, *, source: str) -> tuple[Problem, ...]:
    """Every rule that is broken so that it is valid but risky."""
    return _walk(cluster, source, is_problem=False)


def _walk(cluster: Cluster, source: str, *, is_problem: bool) -> tuple[Problem, ...]:
    return tuple(
        Problem(file=source, where=where, what=what, remedy=remedy, rule=rule.name)
        for rule in RULES
        if rule.is_problem is is_problem
        for where, what, remedy in rule.look(cluster)
    )


def _repeated(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _duplicate_names(cluster: Cluster) -> Iterator[Finding]:
    for name in _repeated([virtual.name for virtual in cluster.virtual_servers]):
        yield f'virtual_server "{name}"', "the name is taken twice", "give each virtual server a name of its own"
    for virtual in cluster.virtual_servers:
        for name in _repeated([server.name for server in virtual.real_servers]):
            yield (
                f'{place_of(virtual)}: real_server "{name}"',
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
                    f"{place_of(virtual)}: address",
                    f'{address} port {virtual.port} belongs to virtual_server "{other.name}" already',
                    "use another address or port",
                )
        behind: dict[tuple[IPAddress, int], RealServer] = {}
        for server in virtual.real_servers:
            twin = behind.setdefault((server.address, server.port), server)
            if twin is not server:
                yield (
                    f"{place_of(virtual, server)}: address",
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
                        f"{place_of(virtual)}: {key}",
                        f"lists {count} IPv{version} addresses",
                        "at most one IPv4 and one IPv6; write another virtual_server for the next",
                    )


def _unusable_addresses(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        named = [(f"{place_of(virtual)}: address", address) for address in virtual.addresses]
        named += [(f"{place_of(virtual, server)}: address", server.address) for server in virtual.real_servers]
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
                    f"{place_of(virtual, server)}: address",
                    f'{server.endpoint} is virtual_server "{own.name}" itself: a loop',
                    "write the real server's own address",
                )


def _control_port_in_range(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.port in virtual.passive_ports:
            yield (
                f"{place_of(virtual)}: passive_ports",
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
                        f"{place_of(virtual)}: passive_ports",
                        f'{virtual.passive_ports} contains port {other.port}, the control port of "{other.name}"',
                        f"leave port {other.port} of {address} out of the range",
                    )
        # Ranges that are equal share their ports; ranges that overlap in part would fight for them.
        ordered = sorted(virtuals, key=lambda one: (one.passive_ports.first, one.passive_ports.last))
        for lower, upper in pairwise(ordered):
            if lower.passive_ports != upper.passive_ports and upper.passive_ports.first <= lower.passive_ports.last:
                yield (
                    f"{place_of(upper)}: passive_ports",
                    f'{upper.passive_ports} overlaps {lower.passive_ports} of "{lower.name}" on {address}',
                    "use equal ranges or ranges apart",
                )


def _too_small_range(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if _has_slices(cluster, virtual) and len(virtual.passive_ports) < virtual.slices:
            yield (
                f"{place_of(virtual)}: passive_ports",
                f"{virtual.passive_ports} has {len(virtual.passive_ports)} ports for {virtual.slices} slices",
                "widen the range or cut it into fewer slices",
            )
        if cluster.engine is Engine.PROXY and len(virtual.passive_ports) < cluster.workers:
            yield (
                f"{place_of(virtual)}: passive_ports",
                f"{virtual.passive_ports} has fewer ports than there are workers ({cluster.workers})",
                "widen the range: each worker has a part of its own",
            )


def _has_slices(cluster: Cluster, virtual: VirtualServer) -> bool:
    return is_kernel(cluster) and virtual.placement is Placement.SLICES


def _more_servers_than_slices(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if _has_slices(cluster, virtual) and len(virtual.real_servers) > virtual.slices:
            yield (
                f"{place_of(virtual)}: slices",
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
                    f"{place_of(virtual, server)}: slice",
                    f"slot {server.slice} does not exist",
                    f"slots are 0 to {virtual.slices - 1}",
                )
            other = taken.setdefault(server.slice, server)
            if other is not server:
                yield (
                    f"{place_of(virtual, server)}: slice",
                    f'slot {server.slice} is pinned by real_server "{other.name}" already',
                    "pin each slot once",
                )


def _sorry_servers(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        for sorry in [one for one in virtual.real_servers if one.sorry]:
            version = sorry.address.version
            alike = [one for one in virtual.real_servers if one.address.version == version]
            first = next(one for one in alike if one.sorry)
            if first is not sorry:
                yield (
                    f"{place_of(virtual, sorry)}: sorry",
                    f'real_server "{first.name}" is the IPv{version} sorry server already',
                    "name one of each family",
                )
            elif all(one.sorry for one in (alike if is_kernel(cluster) else virtual.real_servers)):
                yield (
                    f"{place_of(virtual, sorry)}: sorry",
                    f"there is no other IPv{version} real server that it could stand in for",
                    "remove sorry, or name the real servers",
                )


def _scheduler(cluster: Cluster) -> Iterator[Finding]:
    known = IPVS_SCHEDULERS if cluster.engine is Engine.IPVS else PROXY_SCHEDULERS
    for virtual in cluster.virtual_servers:
        if virtual.scheduler not in known:
            yield (
                f"{place_of(virtual)}: scheduler",
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
                f"{place_of(virtual)}: forwarding",
                f'engine "{cluster.engine}" cannot forward by "{virtual.forwarding}"',
                f"use {' or '.join(known)}",
            )


def _probe_path(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if virtual.health_check.probe is ProbeKind.TRANSFER and not virtual.health_check.path:
            yield (
                f"{place_of(virtual)}: health_check: path",
                'is missing, and probe "transfer" reads a file',
                'write path = "/probe.txt"',
            )
        if any(ord(char) < ord(" ") for char in f"{virtual.health_check.path or ''}{virtual.health_check.user}"):
            yield f"{place_of(virtual)}: health_check", "user or path holds a control character", "remove it"


def _no_server_offered(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        if not any(server.weight for server in virtual.real_servers if not server.sorry):
            yield place_of(virtual), "every real server has weight 0: no client is served", "give one a weight"


def _long_timeout(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        check = virtual.health_check
        if check.timeout_s > check.interval_s:
            yield (
                f"{place_of(virtual)}: health_check: timeout",
                f"{check.timeout_s:g}s is longer than the interval {check.interval_s:g}s",
                "make it shorter than the interval",
            )


def _password_without_login(cluster: Cluster) -> Iterator[Finding]:
    for virtual in cluster.virtual_servers:
        check = virtual.health_check
        logs_in = check.probe.logs_in
        if logs_in and check.user != "anonymous" and not check.password_file:
            yield (
                f"{place_of(virtual)}: health_check: user",
                f'"{check.user}" logs in without a password',
                "write password_file",
            )
        if check.password_file and not logs_in:
            yield (
                f"{place_of(virtual)}: health_check: password_file",
                "is not used by this probe",
                'write probe = "login"',
            )


def _status_open(cluster: Cluster) -> Iterator[Finding]:
    listen = cluster.status_listen
    if listen is not None and not listen.address.is_loopback:
        who = "everybody who reaches this host" if listen.address.is_unspecified else f"whoever reaches {listen}"
        yield (
            "status: listen",
            f"{listen} shows addresses, names and verdicts to {who}: the page asks for no password",
            f"listen on 127.0.0.1:{listen.port}, or let a packet filter allow only those who watch it",
        )


def _active_source_port(cluster: Cluster) -> Iterator[Finding]:
    if is_kernel(cluster):
        return
    for virtual in cluster.virtual_servers:
        if virtual.port <= 1024:
            yield (
                f"{place_of(virtual)}: port",
                f"ports {virtual.port} and {virtual.port - 1} need a privilege: without it the director cannot listen, "
                "and active data connections leave from an ephemeral port instead",
                "run it with CAP_NET_BIND_SERVICE (the systemd unit does), or use a port above 1024",
            )


RULES: Final[tuple[Rule, ...]] = (
    problem(
        "duplicate-name",
        "Names are unique: virtual servers, directors, real servers of a virtual server.",
        _duplicate_names,
    ),
    problem("duplicate-address", "Addresses with their ports are unique.", _duplicate_endpoints),
    problem("one-address-a-family", "A virtual server has at most one IPv4 and one IPv6 address.", _two_of_a_family),
    problem("host-address", "Addresses are those of hosts.", _unusable_addresses),
    problem("loop", "A real server is not the director's own virtual server.", _loop),
    problem("control-port-in-range", "The passive range does not contain the control port.", _control_port_in_range),
    problem(
        "overlapping-ranges",
        "Passive ranges on one address are equal or apart, and free of control ports.",
        _overlapping_ranges,
    ),
    problem("range-too-small", "The passive range has a port for each slice and each worker.", _too_small_range),
    problem("more-servers-than-slices", "Each real server has a slice.", _more_servers_than_slices),
    problem("slot-pinned-twice", "Each slot exists and is pinned once.", _slots),
    problem("sorry-server", "A sorry server stands in for others: one of each family.", _sorry_servers),
    problem("unknown-scheduler", "The engine knows the scheduler.", _scheduler),
    problem("unknown-forwarding", "The engine knows the forwarding method.", _forwarding),
    problem("probe-path", "Probe transfer names the file that it reads.", _probe_path),
    warning("no-server-offered", "Some real server has a weight.", _no_server_offered),
    warning("timeout-above-interval", "A probe ends before the next one is due.", _long_timeout),
    warning(
        "password-without-login", "A password is given where one is needed, and only there.", _password_without_login
    ),
    warning("status-open", "The status page listens on a loopback address.", _status_open),
    warning("privileged-port", "Ports below 1024 need a privilege.", _active_source_port),
    *KERNEL_RULES,
)
