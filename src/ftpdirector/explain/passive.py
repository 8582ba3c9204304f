"""PASV and EPSV under a kernel engine: what is announced, who rewrites it, and how the client's SYN finds the server.

This module knows no active mode.
"""

from __future__ import annotations

from ftpdirector.explain.arrangement import Lookup
from ftpdirector.explain.scene import Scene, packet, words_of
from ftpdirector.explain.way import Failure, Mode, Phase, Reason, Step, Walk
from ftpdirector.model import Endpoint, Engine, ForwardingMethod


def walk_passive(scene: Scene, mode: Mode, *, tls: bool) -> Walk:
    """From the client's command to an open data connection."""
    failure = yield from _announce(scene, mode, tls=tls)
    if failure is not None:
        return failure
    yield Step(at="client", text="opens the data connection", packet=packet("SYN", scene.client_data, scene.passive))
    stands = scene.stands
    if stands.helper_notes and not tls:
        return (yield from _by_entry(scene, mode))
    if stands.slices:
        return (yield from _by_slice(scene))
    if stands.takes_range or stands.lookup is Lookup.ANY_PORT:
        return (yield from _by_persistence(scene))
    return _nobody(scene, tls=tls)


def _announce(scene: Scene, mode: Mode, *, tls: bool) -> Walk:
    stands = scene.stands
    yield _said("client", f'says "{mode.upper()}"')
    virtual = stands.announces_virtual or stands.direct or mode is Mode.EPSV
    said = Endpoint(scene.address if virtual else scene.server.address, scene.announced_port)
    yield _said(
        scene.server.name,
        f'opens port {scene.announced_port} of {_range(scene)} and answers "{words_of(mode, said)}": '
        f"{_because(scene, mode)}",
    )
    if stands.direct:
        return None
    if stands.helper_notes and not tls:
        yield _said("director", _read(scene, mode, said))
        virtual = virtual or stands.helper_rewrites
    else:
        yield _said("director", "cannot read the reply" if tls else "passes the reply on as it is")
    return None if virtual else _real_address(scene, tls=tls)


def _said(at: str, text: str) -> Step:
    return Step(at=at, text=text, phase=Phase.ANNOUNCEMENT)


def _range(scene: Scene) -> str:
    if not scene.stands.slices:
        return f"the passive range {scene.ports} ({scene.words.ports})"
    if not scene.stands.in_slice:
        return f"the passive range {scene.virtual.passive_ports}, not of its slice alone"
    return f"its slice {scene.ports} ({scene.words.ports})"


def _because(scene: Scene, mode: Mode) -> str:
    stands = scene.stands
    if mode is Mode.EPSV:
        return "no address in it, so the client goes where it is connected already"
    number = "port {} x 256 + {}".format(*divmod(scene.announced_port, 256))
    if stands.direct:
        return f"{number}; the client came to this very address of it, so it needs no setting"
    if stands.announces_virtual:
        return f"{number}; {scene.words.address} is the virtual address"
    return f"{number}; its own address, as {scene.words.address} is not set"


def _read(scene: Scene, mode: Mode, said: Endpoint) -> str:
    helper = "ip_vs_ftp" if scene.stands.engine is Engine.IPVS else "nf_nat_ftp"
    if said.address == scene.address and mode is Mode.PASV:
        return f"{helper} reads the reply and takes {said.address} for the real server's own address"
    change = f", writes {scene.address} for {said.address}" if scene.stands.helper_rewrites else ", cannot change it"
    changed = "" if mode is Mode.EPSV else change
    return (
        f"{helper} reads the reply{changed} and notes that a connection from {scene.client_address} to "
        f"{scene.passive} belongs to {scene.server.name}"
    )


def _real_address(scene: Scene, *, tls: bool) -> Failure:
    stands = scene.stands
    name = scene.server.name
    goes = (
        f"the 227 names {scene.server.address}, the address of {name}: the client connects there, to which it has no "
        "way, instead of to the virtual address"
    )
    set_it = f"set {scene.words.address} of {name} to {scene.address}"
    if stands.helper and tls:
        return Failure(
            reason=Reason.TLS_HIDES_PORT,
            text=f"over TLS the helper cannot read the reply, so that {goes}",
            remedy='use placement "slices", which needs no helper',
        )
    if stands.helper and not stands.tracked:
        return Failure(
            reason=Reason.NOT_TRACKED,
            text="for a virtual server by firewall mark IPVS does not ask for connection tracking, and without it "
            f"ip_vs_ftp cannot change the 227 (vs.conntrack = 1 does not ask for it either): {goes}",
            remedy="add any rule that needs connection tracking: one in a nat table, -m conntrack, or nft ct state",
        )
    if stands.conntrack_helper:
        return Failure(
            reason=Reason.OTHER_TRANSLATION,
            text="nf_conntrack_ftp reads the reply, but rewrites only what connection tracking translated; IPVS did "
            f"that here, past it, so that {goes}",
            remedy=f"load ip_vs_ftp, or {set_it}",
        )
    return Failure(reason=Reason.REAL_ADDRESS_ANNOUNCED, text=goes, remedy=set_it)


def _by_entry(scene: Scene, mode: Mode) -> Walk:
    if mode is Mode.PASV and scene.stands.announces_virtual:
        return _astray(scene)
    yield Step(at="director", text="finds what the helper noted: no mark and no scheduler is asked")
    return (yield from _deliver(scene, scene.announced_port))


def _astray(scene: Scene) -> Failure:
    name = scene.server.name
    by = (
        f"what ip_vs_ftp noted leads to {scene.passive}, that is to the director itself, and not to {name}: time-out"
        if scene.stands.engine is Engine.IPVS
        else f"nf_conntrack_ftp notes nothing for a reply that names another address than the real server's own, so "
        f"that nothing leads from {scene.passive} to {name}"
    )
    return Failure(
        reason=Reason.HELPER_LED_ASTRAY,
        text=by,
        remedy=f"leave {scene.words.address} of {name} unset: the helper writes the virtual address",
    )


def _by_slice(scene: Scene) -> Walk:
    stands = scene.stands
    if not stands.in_slice and scene.other is not None:
        return Failure(
            reason=Reason.WRONG_SERVER,
            text=f"a port of the range may lie in the slice of {scene.other.name}: the SYN goes there, where nobody "
            "waits for it, and is reset",
            remedy=f"set {scene.words.ports} of {scene.server.name} to {scene.announced_port}-{scene.ports.last}",
        )
    if stands.lookup is Lookup.MAP:
        yield Step(
            at="director",
            text=f"a map leads from {scene.address} ports {scene.ports} to {scene.server.name}",
        )
    else:
        yield Step(
            at="director",
            text=f"the packet gets firewall mark {scene.mark}, as all to {scene.address} ports {scene.ports} "
            f"({scene.mark_place}); IPVS has one real server for it: {scene.server.name}, port 0, that is the port "
            "asked for",
        )
    port = scene.announced_port if stands.slice_port_kept else scene.server.port
    return (yield from _deliver(scene, port))


def _by_persistence(scene: Scene) -> Walk:
    stands = scene.stands
    if stands.lookup is Lookup.MARK:
        yield Step(
            at="director",
            text=f"the packet gets firewall mark {scene.virtual.firewall_mark}, as the control connection did",
        )
    if not stands.persistent and scene.other is not None:
        return Failure(
            reason=Reason.WRONG_SERVER,
            text=f"the data connection is scheduled by itself, like a new client: {scene.virtual.scheduler} may pick "
            f"{scene.other.name}, which waits for nobody on port {scene.announced_port} and resets it",
            remedy="make the virtual server persistent: persistence_timeout",
        )
    if stands.persistent:
        kind = "template" if stands.engine is Engine.IPVS else "map element"
        yield Step(
            at="director",
            text=f"the {kind} of client {scene.client_address} leads to {scene.server.name}, where its control "
            "connection went",
        )
    return (yield from _deliver(scene, scene.announced_port))


def _nobody(scene: Scene, *, tls: bool) -> Failure:
    hidden = "over TLS the helper cannot read the announced port, and " if tls and scene.stands.helper else ""
    return Failure(
        reason=Reason.TLS_HIDES_PORT if hidden else Reason.NO_VIRTUAL_SERVER,
        text=f"{hidden}no virtual server takes {scene.passive}: the SYN ends at the director, which resets it",
        remedy='use placement "slices", which needs no helper'
        if hidden
        else f"have the virtual server take the passive range {scene.virtual.passive_ports} too, or give it a helper",
    )


def _deliver(scene: Scene, port: int) -> Walk:
    stands = scene.stands
    name = scene.server.name
    answer = packet("SYN+ACK", scene.passive, scene.client_data)
    match stands.forwarding:
        case ForwardingMethod.DR | ForwardingMethod.TUN:
            how = "the hardware address" if stands.forwarding is ForwardingMethod.DR else "the tunnel"
            yield Step(
                at="director",
                text=f"sends it, unchanged, to {how} of {name}",
                packet=packet("SYN", scene.client_data, scene.passive),
            )
            yield Step(at=name, text="answers the client itself", packet=answer)
            return None
        case ForwardingMethod.NAT:
            return (yield from _translate(scene, port, str(scene.client_data), "by its default gateway, the director"))
        case ForwardingMethod.FULLNAT:
            back = "to the director: control and data come from one address, as it demands"
            return (yield from _translate(scene, port, "director", back))


def _translate(scene: Scene, port: int, source: str, back: str) -> Walk:
    name = scene.server.name
    inside = Endpoint(scene.server.address, port)
    yield Step(at="director", text=f"writes {inside} as the destination", packet=f"SYN {source} -> {inside}")
    if port != scene.announced_port:
        return Failure(
            reason=Reason.WRONG_PORT,
            text=f"{name} waits on port {scene.announced_port}, not on {port}",
            remedy="write the real server of a slice with port 0: the port that the client asked for",
        )
    yield Step(at=name, text=f"answers {back}", packet=f"SYN+ACK {inside} -> {source}")
    who = "IPVS" if scene.stands.engine is Engine.IPVS else "connection tracking"
    answer = packet("SYN+ACK", scene.passive, scene.client_data)
    yield Step(at="director", text=f"{who} writes the virtual address back", packet=answer)
    return None
