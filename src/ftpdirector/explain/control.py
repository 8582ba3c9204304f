"""The way of the control connection under a kernel engine: which real server, by what, and how the answer comes back.

This module knows no data connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from ftpdirector.explain.arrangement import Lookup
from ftpdirector.explain.scene import Scene, behind, packet, picked
from ftpdirector.explain.way import Failure, Phase, Reason, Step, Walk
from ftpdirector.model import Engine, ForwardingMethod

_PHASE = Phase.CONTROL


def walk_control(scene: Scene) -> Walk:
    """From the client's SYN to the answer."""
    yield _step("client", "opens the control connection", packet("SYN", scene.client, scene.front))
    yield from _find(scene)
    match scene.stands.forwarding:
        case ForwardingMethod.NAT:
            return (yield from _by_nat(scene))
        case ForwardingMethod.FULLNAT:
            return (yield from _by_fullnat(scene))
        case ForwardingMethod.DR:
            return (yield from _by_dr(scene))
        case ForwardingMethod.TUN:
            return (yield from _by_tun(scene))


def format_duration(seconds: float) -> str:
    """`15m`, as in the cluster file."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _step(at: str, text: str, sent: str = "") -> Step:
    return Step(at=at, text=text, packet=sent, phase=_PHASE)


def _find(scene: Scene) -> Iterator[Step]:
    virtual = scene.virtual
    stands = scene.stands
    if stands.lookup is Lookup.MARK:
        also = f" and ports {virtual.passive_ports}" if stands.takes_range else ""
        if stands.takes_data_port:
            also = f", port {scene.data_port}{also}"
        yield _step(
            "director",
            f"before routing, the packet gets firewall mark {virtual.firewall_mark}: so does all that goes to "
            f"{scene.address} port {virtual.port}{also} ({scene.mark_place})",
        )
    who = "IPVS" if stands.engine is Engine.IPVS else "a map of the nftables table"
    yield _step("director", f"{who} finds {_found(scene)}, and scheduler {virtual.scheduler} picks {_choice(scene)}")
    if stands.persistent:
        yield _step("director", _persistence(scene))
    if stands.helper:
        yield _step("director", _helper(scene))


def _found(scene: Scene) -> str:
    match scene.stands.lookup:
        case Lookup.MARK:
            return f"the virtual server of mark {scene.virtual.firewall_mark}"
        case Lookup.PORT:
            return f"the virtual server {scene.front}"
        case Lookup.ANY_PORT:
            return f"the virtual server {scene.address} for every port"
        case Lookup.MAP:
            return f'that {scene.front} is virtual server "{scene.virtual.name}"'


def _choice(scene: Scene) -> str:
    names = [server.name for server in picked(behind(scene.virtual, scene.address, scene.cluster.engine))]
    others = [name for name in names if name != scene.server.name]
    return f"{scene.server.name} (it could be {' or '.join(others)} as well)" if others else scene.server.name


def _persistence(scene: Scene) -> str:
    virtual = scene.virtual
    v4 = scene.address.version == 4
    length = virtual.persistence_granularity_v4 if v4 else virtual.persistence_granularity_v6
    whole = length == (32 if v4 else 128)
    who = f"client {scene.client_address}" if whole else f"the /{length} network of client {scene.client_address}"
    kind = "a persistence template" if scene.stands.engine is Engine.IPVS else "an element of a dynamic map"
    return (
        f"remembers {scene.server.name} for {who} ({kind}) until "
        f"{format_duration(virtual.persistence_timeout_s)} after the last connection"
    )


def _helper(scene: Scene) -> str:
    if scene.stands.engine is Engine.NFTABLES:
        return "nf_conntrack_ftp is given this connection (a ct helper object; the kernel assigns none by itself)"
    port = scene.virtual.port
    listed = "" if port == 21 else f" (options ip_vs_ftp ports={port}, read only when the module is loaded)"
    return f"ip_vs_ftp takes this connection, because the client came to port {port}{listed}"


def _by_nat(scene: Scene) -> Walk:
    stands = scene.stands
    name = scene.server.name
    yield _step(
        "director",
        f"writes {scene.server.endpoint} as the destination; the client's address stays, so {name} sees who it is",
        packet("SYN", scene.client, scene.server.endpoint),
    )
    yield _step(
        name,
        f"answers by its default gateway, {scene.gateway}" if stands.routes_back else "answers by another gateway",
        packet("SYN+ACK", scene.server.endpoint, scene.client),
    )
    if not stands.routes_back:
        return Failure(
            reason=Reason.PAST_THE_DIRECTOR,
            text=f"the answer reaches the client from {scene.server.endpoint}, but the client asked {scene.front}: "
            "it answers with a reset, and no session begins",
            remedy=f"make {scene.gateway} the default gateway of {name}",
        )
    if not stands.let_pass:
        return Failure(
            reason=Reason.DROPPED_AS_INVALID,
            text="the FORWARD chain takes the answer for invalid and drops it: connection tracking does not know what "
            "IPVS translates",
            remedy="set net.ipv4.vs.conntrack = 1",
        )
    yield _step("director", f"{_who(scene)} writes the virtual address back", _answer(scene))
    return None


def _who(scene: Scene) -> str:
    return "IPVS" if scene.stands.engine is Engine.IPVS else "connection tracking"


def _answer(scene: Scene) -> str:
    return packet("SYN+ACK", scene.front, scene.client)


def _by_fullnat(scene: Scene) -> Walk:
    name = scene.server.name
    yield _step(
        "director",
        f"writes {scene.server.endpoint} as the destination and, on the way out, its own address as the source: {name} "
        "sees the director, not the client, and needs no route to clients",
        f"SYN director -> {scene.server.endpoint}",
    )
    yield _step(name, "answers the director", f"SYN+ACK {scene.server.endpoint} -> director")
    yield _step("director", "connection tracking writes both addresses back", _answer(scene))
    return None


def _by_dr(scene: Scene) -> Walk:
    stands = scene.stands
    name = scene.server.name
    if not stands.silent:
        return Failure(
            reason=Reason.ARP_ANSWERED,
            text=f"{name} answers ARP requests for {scene.address} too: packets of clients reach it, or another real "
            "server, past the director, and a session loses its data connections to the wrong one",
            remedy=f"set net.ipv4.conf.all.arp_ignore = 1 and arp_announce = 2 on {name}",
        )
    yield _step(
        "director",
        f"changes nothing in the packet and sends it to the hardware address of {name} ({scene.server.address})",
        packet("SYN", scene.client, scene.front),
    )
    if not stands.holds_virtual:
        return _not_its_address(scene)
    yield _step(
        name,
        f"takes it, because it has {scene.address} too, on an interface for which it answers no ARP; it answers the "
        "client itself, past the director",
        _answer(scene),
    )
    return None


def _by_tun(scene: Scene) -> Walk:
    stands = scene.stands
    name = scene.server.name
    yield _step(
        "director",
        f"puts the packet, unchanged, into an IP-in-IP packet to {scene.server.address}",
        packet("SYN", scene.client, scene.front),
    )
    if not stands.unpacks:
        return Failure(
            reason=Reason.TUNNEL_DROPPED,
            text=f"{name} has no tunnel device that is up, or rp_filter drops what comes out of it: the client's SYN "
            "is never answered",
            remedy=f"bring the tunnel device up on {name} and set its rp_filter to 0",
        )
    if not stands.holds_virtual:
        return _not_its_address(scene)
    yield _step(
        name,
        f"takes it out of the tunnel; it has {scene.address} on its tunnel device, and answers the client itself, past "
        "the director",
        _answer(scene),
    )
    return None


def _not_its_address(scene: Scene) -> Failure:
    name = scene.server.name
    return Failure(
        reason=Reason.NOT_ITS_ADDRESS,
        text=f"{name} has no address {scene.address}: it drops the packet",
        remedy=f"add {scene.address} to a dummy or tunnel interface of {name}",
    )
