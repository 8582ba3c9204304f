"""The path of the control connection under a kernel engine: which real server, by what, and how the answer comes back.

This module knows no data connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from ftpdirector.explain.data_path import Lookup
from ftpdirector.explain.example import Example, candidates, packet, picked
from ftpdirector.explain.path import Failure, Phase, Reason, Step, Trace
from ftpdirector.model import Engine, ForwardingMethod

_PHASE = Phase.CONTROL


def trace_control(example: Example) -> Trace:
    """From the client's SYN to the answer."""
    yield _step("client", "opens the control connection", packet("SYN", example.client, example.front))
    yield from _find(example)
    match example.data_path.forwarding:
        case ForwardingMethod.NAT:
            return (yield from _by_nat(example))
        case ForwardingMethod.FULLNAT:
            return (yield from _by_fullnat(example))
        case ForwardingMethod.DR:
            return (yield from _by_dr(example))
        case ForwardingMethod.TUN:
            return (yield from _by_tun(example))


def format_duration(seconds: float) -> str:
    """`15m`, as in the cluster file."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _step(at: str, text: str, sent: str = "") -> Step:
    return Step(at=at, text=text, packet=sent, phase=_PHASE)


def _find(example: Example) -> Iterator[Step]:
    virtual = example.virtual
    data_path = example.data_path
    if data_path.lookup is Lookup.MARK:
        also = f" and ports {virtual.passive_ports}" if data_path.takes_range else ""
        if data_path.takes_data_port:
            also = f", port {example.data_port}{also}"
        yield _step(
            "director",
            f"before routing, the packet gets firewall mark {virtual.firewall_mark}: so does all that goes to "
            f"{example.address} port {virtual.port}{also} ({example.mark_place})",
        )
    who = "IPVS" if data_path.engine is Engine.IPVS else "a map of the nftables table"
    yield _step(
        "director", f"{who} finds {_found(example)}, and scheduler {virtual.scheduler} picks {_choice(example)}"
    )
    if data_path.persistent:
        yield _step("director", _persistence(example))
    if data_path.helper:
        yield _step("director", _helper(example))


def _found(example: Example) -> str:
    match example.data_path.lookup:
        case Lookup.MARK:
            return f"the virtual server of mark {example.virtual.firewall_mark}"
        case Lookup.PORT:
            return f"the virtual server {example.front}"
        case Lookup.ANY_PORT:
            return f"the virtual server {example.address} for every port"
        case Lookup.MAP:
            return f'that {example.front} is virtual server "{example.virtual.name}"'


def _choice(example: Example) -> str:
    names = [server.name for server in picked(candidates(example.virtual, example.address, example.cluster.engine))]
    others = [name for name in names if name != example.server.name]
    return f"{example.server.name} (it could be {' or '.join(others)} as well)" if others else example.server.name


def _persistence(example: Example) -> str:
    virtual = example.virtual
    v4 = example.address.version == 4
    length = virtual.persistence_granularity_v4 if v4 else virtual.persistence_granularity_v6
    whole = length == (32 if v4 else 128)
    who = f"client {example.client_address}" if whole else f"the /{length} network of client {example.client_address}"
    kind = "a persistence template" if example.data_path.engine is Engine.IPVS else "an element of a dynamic map"
    return (
        f"remembers {example.server.name} for {who} ({kind}) until "
        f"{format_duration(virtual.persistence_timeout_s)} after the last connection"
    )


def _helper(example: Example) -> str:
    if example.data_path.engine is Engine.NFTABLES:
        return "nf_conntrack_ftp is given this connection (a ct helper object; the kernel assigns none by itself)"
    port = example.virtual.port
    listed = "" if port == 21 else f" (options ip_vs_ftp ports={port}, read only when the module is loaded)"
    return f"ip_vs_ftp takes this connection, because the client came to port {port}{listed}"


def _by_nat(example: Example) -> Trace:
    data_path = example.data_path
    name = example.server.name
    yield _step(
        "director",
        f"writes {example.server.endpoint} as the destination; the client's address stays, so {name} sees who it is",
        packet("SYN", example.client, example.server.endpoint),
    )
    yield _step(
        name,
        f"answers by its default gateway, {example.gateway}" if data_path.routes_back else "answers by another gateway",
        packet("SYN+ACK", example.server.endpoint, example.client),
    )
    if not data_path.routes_back:
        return Failure(
            reason=Reason.PAST_THE_DIRECTOR,
            text=f"the answer reaches the client from {example.server.endpoint}, but the client asked {example.front}: "
            "it answers with a reset, and no session begins",
            remedy=f"make {example.gateway} the default gateway of {name}",
        )
    if not data_path.let_pass:
        return Failure(
            reason=Reason.DROPPED_AS_INVALID,
            text="the FORWARD chain takes the answer for invalid and drops it: connection tracking does not know what "
            "IPVS translates",
            remedy="set net.ipv4.vs.conntrack = 1",
        )
    yield _step("director", f"{_who(example)} writes the virtual address back", _answer(example))
    return None


def _who(example: Example) -> str:
    return "IPVS" if example.data_path.engine is Engine.IPVS else "connection tracking"


def _answer(example: Example) -> str:
    return packet("SYN+ACK", example.front, example.client)


def _by_fullnat(example: Example) -> Trace:
    name = example.server.name
    yield _step(
        "director",
        f"writes {example.server.endpoint} as the destination and, on the way out, its own address as the source: "
        f"{name} "
        "sees the director, not the client, and needs no route to clients",
        f"SYN director -> {example.server.endpoint}",
    )
    yield _step(name, "answers the director", f"SYN+ACK {example.server.endpoint} -> director")
    yield _step("director", "connection tracking writes both addresses back", _answer(example))
    return None


def _by_dr(example: Example) -> Trace:
    data_path = example.data_path
    name = example.server.name
    if not data_path.silent:
        return Failure(
            reason=Reason.ARP_ANSWERED,
            text=f"{name} answers ARP requests for {example.address} too: packets of clients reach it, or another real "
            "server, past the director, and a session loses its data connections to the wrong one",
            remedy=f"set net.ipv4.conf.all.arp_ignore = 1 and arp_announce = 2 on {name}",
        )
    yield _step(
        "director",
        f"changes nothing in the packet and sends it to the hardware address of {name} ({example.server.address})",
        packet("SYN", example.client, example.front),
    )
    if not data_path.holds_virtual:
        return _not_its_address(example)
    yield _step(
        name,
        f"takes it, because it has {example.address} too, on an interface for which it answers no ARP; it answers the "
        "client itself, past the director",
        _answer(example),
    )
    return None


def _by_tun(example: Example) -> Trace:
    data_path = example.data_path
    name = example.server.name
    yield _step(
        "director",
        f"puts the packet, unchanged, into an IP-in-IP packet to {example.server.address}",
        packet("SYN", example.client, example.front),
    )
    if not data_path.unpacks:
        return Failure(
            reason=Reason.TUNNEL_DROPPED,
            text=f"{name} has no tunnel device that is up, or rp_filter drops what comes out of it: the client's SYN "
            "is never answered",
            remedy=f"bring the tunnel device up on {name} and set its rp_filter to 0",
        )
    if not data_path.holds_virtual:
        return _not_its_address(example)
    yield _step(
        name,
        f"takes it out of the tunnel; it has {example.address} on its tunnel device, and answers the client itself, "
        "past "
        "the director",
        _answer(example),
    )
    return None


def _not_its_address(example: Example) -> Failure:
    name = example.server.name
    return Failure(
        reason=Reason.NOT_ITS_ADDRESS,
        text=f"{name} has no address {example.address}: it drops the packet",
        remedy=f"add {example.address} to a dummy or tunnel interface of {name}",
    )
