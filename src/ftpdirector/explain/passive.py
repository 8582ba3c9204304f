"""PASV and EPSV under a kernel engine: what is announced, who rewrites it, and how the client's SYN finds the server.

This module knows no active mode.
"""

from __future__ import annotations

from ftpdirector.explain.data_path import Lookup
from ftpdirector.explain.example import Example, announcement_of, packet
from ftpdirector.explain.path import Failure, Mode, Phase, Reason, Step, Trace
from ftpdirector.model import Endpoint, Engine, ForwardingMethod


def trace_passive(example: Example, mode: Mode, *, tls: bool) -> Trace:
    """From the client's command to an open data connection."""
    failure = yield from _announce(example, mode, tls=tls)
    if failure is not None:
        return failure
    yield Step(
        at="client", text="opens the data connection", packet=packet("SYN", example.client_data, example.passive)
    )
    data_path = example.data_path
    if data_path.helper_notes and not tls:
        return (yield from _by_entry(example, mode))
    if data_path.slices:
        return (yield from _by_slice(example))
    if data_path.takes_range or data_path.lookup is Lookup.ANY_PORT:
        return (yield from _by_persistence(example))
    return _no_service(example, tls=tls)


def _announce(example: Example, mode: Mode, *, tls: bool) -> Trace:
    data_path = example.data_path
    yield _said("client", f'says "{mode.upper()}"')
    virtual = data_path.announces_virtual or data_path.direct or mode is Mode.EPSV
    said = Endpoint(example.address if virtual else example.server.address, example.announced_port)
    yield _said(
        example.server.name,
        f'opens port {example.announced_port} of {_range(example)} and answers "{announcement_of(mode, said)}": '
        f"{_because(example, mode)}",
    )
    if data_path.direct:
        return None
    if data_path.helper_notes and not tls:
        yield _said("director", _read(example, mode, said))
        virtual = virtual or data_path.helper_rewrites
    else:
        yield _said("director", "cannot read the reply" if tls else "passes the reply on as it is")
    return None if virtual else _real_address(example, tls=tls)


def _said(at: str, text: str) -> Step:
    return Step(at=at, text=text, phase=Phase.ANNOUNCEMENT)


def _range(example: Example) -> str:
    if not example.data_path.slices:
        return f"the passive range {example.ports} ({example.setting_names.ports})"
    if not example.data_path.in_slice:
        return f"the passive range {example.virtual.passive_ports}, not of its slice alone"
    return f"its slice {example.ports} ({example.setting_names.ports})"


def _because(example: Example, mode: Mode) -> str:
    data_path = example.data_path
    if mode is Mode.EPSV:
        return "no address in it, so the client goes where it is connected already"
    number = "port {} x 256 + {}".format(*divmod(example.announced_port, 256))
    if data_path.direct:
        return f"{number}; the client came to this very address of it, so it needs no setting"
    if data_path.announces_virtual:
        return f"{number}; {example.setting_names.address} is the virtual address"
    return f"{number}; its own address, as {example.setting_names.address} is not set"


def _read(example: Example, mode: Mode, said: Endpoint) -> str:
    helper = "ip_vs_ftp" if example.data_path.engine is Engine.IPVS else "nf_nat_ftp"
    if said.address == example.address and mode is Mode.PASV:
        return f"{helper} reads the reply and takes {said.address} for the real server's own address"
    change = (
        f", writes {example.address} for {said.address}" if example.data_path.helper_rewrites else ", cannot change it"
    )
    changed = "" if mode is Mode.EPSV else change
    return (
        f"{helper} reads the reply{changed} and notes that a connection from {example.client_address} to "
        f"{example.passive} belongs to {example.server.name}"
    )


def _real_address(example: Example, *, tls: bool) -> Failure:
    data_path = example.data_path
    name = example.server.name
    goes = (
        f"the 227 names {example.server.address}, the address of {name}: the client connects there, to which it has no "
        "way, instead of to the virtual address"
    )
    set_it = f"set {example.setting_names.address} of {name} to {example.address}"
    if data_path.helper and tls:
        return Failure(
            reason=Reason.TLS_HIDES_PORT,
            text=f"over TLS the helper cannot read the reply, so that {goes}",
            remedy='use placement "slices", which needs no helper',
        )
    if data_path.helper and not data_path.tracked:
        return Failure(
            reason=Reason.NOT_TRACKED,
            text="for a virtual server by firewall mark IPVS does not ask for connection tracking, and without it "
            f"ip_vs_ftp cannot change the 227 (vs.conntrack = 1 does not ask for it either): {goes}",
            remedy="add any rule that needs connection tracking: one in a nat table, -m conntrack, or nft ct state",
        )
    if data_path.conntrack_helper:
        return Failure(
            reason=Reason.OTHER_TRANSLATION,
            text="nf_conntrack_ftp reads the reply, but rewrites only what connection tracking translated; IPVS did "
            f"that here, past it, so that {goes}",
            remedy=f"load ip_vs_ftp, or {set_it}",
        )
    return Failure(reason=Reason.REAL_ADDRESS_ANNOUNCED, text=goes, remedy=set_it)


def _by_entry(example: Example, mode: Mode) -> Trace:
    if mode is Mode.PASV and example.data_path.announces_virtual:
        return _astray(example)
    yield Step(at="director", text="finds what the helper noted: no mark and no scheduler is asked")
    return (yield from _deliver(example, example.announced_port))


def _astray(example: Example) -> Failure:
    name = example.server.name
    by = (
        f"what ip_vs_ftp noted leads to {example.passive}, that is to the director itself, and not to {name}: time-out"
        if example.data_path.engine is Engine.IPVS
        else f"nf_conntrack_ftp notes nothing for a reply that names another address than the real server's own, so "
        f"that nothing leads from {example.passive} to {name}"
    )
    return Failure(
        reason=Reason.HELPER_LED_ASTRAY,
        text=by,
        remedy=f"leave {example.setting_names.address} of {name} unset: the helper writes the virtual address",
    )


def _by_slice(example: Example) -> Trace:
    data_path = example.data_path
    if not data_path.in_slice and example.other is not None:
        return Failure(
            reason=Reason.WRONG_SERVER,
            text=f"a port of the range may lie in the slice of {example.other.name}: the SYN goes there, where nobody "
            "waits for it, and is reset",
            remedy=f"set {example.setting_names.ports} of {example.server.name} to "
            f"{example.announced_port}-{example.ports.last}",
        )
    if data_path.lookup is Lookup.MAP:
        yield Step(
            at="director",
            text=f"a map leads from {example.address} ports {example.ports} to {example.server.name}",
        )
    else:
        yield Step(
            at="director",
            text=f"the packet gets firewall mark {example.mark}, as all to {example.address} ports {example.ports} "
            f"({example.mark_place}); IPVS has one real server for it: {example.server.name}, port 0, that is the port "
            "asked for",
        )
    port = example.announced_port if data_path.slice_port_kept else example.server.port
    return (yield from _deliver(example, port))


def _by_persistence(example: Example) -> Trace:
    data_path = example.data_path
    if data_path.lookup is Lookup.MARK:
        yield Step(
            at="director",
            text=f"the packet gets firewall mark {example.virtual.firewall_mark}, as the control connection did",
        )
    if not data_path.persistent and example.other is not None:
        return Failure(
            reason=Reason.WRONG_SERVER,
            text=f"the data connection is scheduled by itself, like a new client: {example.virtual.scheduler} may pick "
            f"{example.other.name}, which waits for nobody on port {example.announced_port} and resets it",
            remedy="make the virtual server persistent: persistence_timeout",
        )
    if data_path.persistent:
        kind = "template" if data_path.engine is Engine.IPVS else "map element"
        yield Step(
            at="director",
            text=f"the {kind} of client {example.client_address} leads to {example.server.name}, where its control "
            "connection went",
        )
    return (yield from _deliver(example, example.announced_port))


def _no_service(example: Example, *, tls: bool) -> Failure:
    hidden = "over TLS the helper cannot read the announced port, and " if tls and example.data_path.helper else ""
    return Failure(
        reason=Reason.TLS_HIDES_PORT if hidden else Reason.NO_VIRTUAL_SERVER,
        text=f"{hidden}no virtual server takes {example.passive}: the SYN ends at the director, which resets it",
        remedy='use placement "slices", which needs no helper'
        if hidden
        else f"have the virtual server take the passive range {example.virtual.passive_ports} too, or give it a helper",
    )


def _deliver(example: Example, port: int) -> Trace:
    data_path = example.data_path
    name = example.server.name
    answer = packet("SYN+ACK", example.passive, example.client_data)
    match data_path.forwarding:
        case ForwardingMethod.DR | ForwardingMethod.TUN:
            how = "the hardware address" if data_path.forwarding is ForwardingMethod.DR else "the tunnel"
            yield Step(
                at="director",
                text=f"sends it, unchanged, to {how} of {name}",
                packet=packet("SYN", example.client_data, example.passive),
            )
            yield Step(at=name, text="answers the client itself", packet=answer)
            return None
        case ForwardingMethod.NAT:
            return (
                yield from _translate(example, port, str(example.client_data), "by its default gateway, the director")
            )
        case ForwardingMethod.FULLNAT:
            back = "to the director: control and data come from one address, as it demands"
            return (yield from _translate(example, port, "director", back))


def _translate(example: Example, port: int, source: str, back: str) -> Trace:
    name = example.server.name
    inside = Endpoint(example.server.address, port)
    yield Step(at="director", text=f"writes {inside} as the destination", packet=f"SYN {source} -> {inside}")
    if port != example.announced_port:
        return Failure(
            reason=Reason.WRONG_PORT,
            text=f"{name} waits on port {example.announced_port}, not on {port}",
            remedy="write the real server of a slice with port 0: the port that the client asked for",
        )
    yield Step(at=name, text=f"answers {back}", packet=f"SYN+ACK {inside} -> {source}")
    who = "IPVS" if example.data_path.engine is Engine.IPVS else "connection tracking"
    answer = packet("SYN+ACK", example.passive, example.client_data)
    yield Step(at="director", text=f"{who} writes the virtual address back", packet=answer)
    return None
