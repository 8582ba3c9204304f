"""PORT and EPRT under a kernel engine: the real server connects, and the client must see the virtual address.

This module knows no passive mode.
"""

from __future__ import annotations

from ftpdirector.explain.arrangement import Arrangement
from ftpdirector.explain.scene import Scene, packet, words_of
from ftpdirector.explain.way import Failure, Mode, Phase, Reason, Step, Walk
from ftpdirector.model import Endpoint, Engine, ForwardingMethod, ServerSoftware


def walk_active(scene: Scene, mode: Mode, *, tls: bool) -> Walk:
    """From the client's command to an open data connection."""
    said = words_of(mode, scene.client_listens)
    yield _said("client", f'listens on port {scene.client_listens.port} and says "{said}"')
    if scene.stands.direct:
        return (yield from _direct(scene))
    if scene.stands.forwarding is ForwardingMethod.FULLNAT:
        return (yield from _fullnat(scene, mode, tls=tls))
    failure = yield from _heard(scene, mode, tls=tls)
    if failure is not None:
        return failure
    return (yield from _nat(scene, tls=tls))


def _said(at: str, text: str) -> Step:
    return Step(at=at, text=text, phase=Phase.ANNOUNCEMENT)


def _notes(stands: Arrangement, *, tls: bool) -> bool:
    # Unlike a reply, PORT and EPRT need no rewriting under nat, so that ip_vs_ftp can do without connection tracking.
    return stands.helper and not tls


def _heard(scene: Scene, mode: Mode, *, tls: bool) -> Walk:
    stands = scene.stands
    if _notes(stands, tls=tls):
        if stands.engine is Engine.IPVS:
            text = (
                f"ip_vs_ftp reads it and notes: what comes from port {scene.data_port} of {scene.server.name} to "
                f"{scene.client_listens} leaves as {Endpoint(scene.address, scene.virtual.port - 1)}"
            )
        else:
            text = (
                f"nf_conntrack_ftp reads it and expects a connection of {scene.server.name} to {scene.client_listens}; "
                f"nf_nat_ftp will give it the source {scene.address}"
            )
        yield _said("director", text)
        if _compares_text(scene, mode):
            return Failure(
                reason=Reason.PORT_REFUSED,
                text=f"the helper writes the address in full (2001:0db8:...), and {scene.server.name}, pyftpdlib, "
                'compares it as text with the one that it sees: "501"',
                remedy='use EPSV, or placement "slices", which leaves EPRT as it is',
            )
    else:
        yield _said("director", "cannot read it" if tls else "passes it on as it is")
    yield _said(scene.server.name, 'answers "200": the address is the one that the control connection comes from')
    return None


def _compares_text(scene: Scene, mode: Mode) -> bool:
    return (
        scene.stands.engine is Engine.NFTABLES
        and mode is Mode.EPRT
        and scene.address.version == 6
        and scene.server.server is ServerSoftware.PYFTPDLIB
    )


def _nat(scene: Scene, *, tls: bool) -> Walk:
    stands = scene.stands
    source = Endpoint(scene.server.address, scene.source_port)
    yield Step(
        at=scene.server.name,
        text="opens the data connection, by its default gateway, the director",
        packet=packet("SYN", source, scene.client_listens),
    )
    noted = _notes(stands, tls=tls)
    by_note = noted and (stands.from_data_port or stands.engine is Engine.NFTABLES)
    by_rule = stands.translates_source if stands.from_data_port else stands.translates_any_port
    if not (by_note or by_rule):
        return _untranslated(scene, source, noted=noted, tls=tls)
    port = scene.virtual.port - 1 if by_note and stands.from_data_port else source.port
    outside = Endpoint(scene.address, port)
    yield Step(
        at="director",
        text=_translated(scene, by_note=by_note),
        packet=packet("SYN", outside, scene.client_listens),
    )
    yield Step(
        at="client",
        text=f"sees a data connection from {scene.address}, where its control connection is, and takes it",
        packet=packet("SYN+ACK", scene.client_listens, outside),
    )
    who = "IPVS" if by_note and stands.engine is Engine.IPVS else "connection tracking"
    yield Step(
        at="director",
        text=f"{who} writes the real address back",
        packet=packet("SYN+ACK", scene.client_listens, source),
    )
    return None


def _translated(scene: Scene, *, by_note: bool) -> str:
    if by_note:
        return f"finds what the helper noted, and writes {scene.address} as the source"
    ports = "any port" if scene.stands.translates_any_port else f"port {scene.data_port}"
    place = f" ({scene.translation_place})" if scene.stands.engine is Engine.IPVS else ""
    return f"a rule writes {scene.address} as the source of what {scene.server.name} opens from {ports}{place}"


def _untranslated(scene: Scene, source: Endpoint, *, noted: bool, tls: bool) -> Failure:
    stands = scene.stands
    seen = (
        f"the client sees a connection from {source}, an address that it does not know; its firewall or the client "
        f"itself refuses it, and its answer would not find the way to {scene.server.name}"
    )
    if not stands.from_data_port and (noted or stands.translates_source):
        who = "ip_vs_ftp noted" if noted else "the rule translates"
        return Failure(
            reason=Reason.SOURCE_PORT_DIFFERS,
            text=f"{who} port {scene.data_port}, but {scene.server.name} connects from port {source.port}: {seen}",
            remedy=f"have {scene.server.name} connect from port {scene.data_port}: {scene.words.data_port}; or "
            "translate every source port",
        )
    rule = f"add a rule that gives what {scene.server.name} opens the source {scene.address} (SNAT, by the source port)"
    if stands.helper and tls:
        return Failure(
            reason=Reason.TLS_HIDES_PORT,
            text=f"over TLS the helper cannot read {scene.client_listens.port} in the command, and no rule translates: "
            f"{seen}",
            remedy=f'{rule}, or use placement "slices"',
        )
    return Failure(
        reason=Reason.SOURCE_NOT_TRANSLATED, text=f"nothing translates the real server's address: {seen}", remedy=rule
    )


def _fullnat(scene: Scene, mode: Mode, *, tls: bool) -> Walk:
    name = scene.server.name
    if not _notes(scene.stands, tls=tls):
        yield _said("director", "cannot read it" if tls else "passes it on as it is")
        return Failure(
            reason=Reason.PORT_REFUSED,
            text=f"{name} sees a control connection from the director, and {mode.upper()} names another address, "
            f'{scene.client_address}: a third party, which it refuses ("500 Illegal PORT command" in vsftpd)',
            remedy='use passive mode, forwarding "nat", or engine "proxy"',
        )
    yield _said(
        "director", f"nf_nat_ftp writes its own address and a free port into it, and expects {name} to connect there"
    )
    if _compares_text(scene, mode):
        return Failure(
            reason=Reason.PORT_REFUSED,
            text=f'the helper writes the address in full, and {name}, pyftpdlib, compares it as text: "501"',
            remedy="use EPSV",
        )
    source = Endpoint(scene.server.address, scene.source_port)
    outside = Endpoint(scene.address, scene.source_port)
    yield Step(at=name, text="opens the data connection", packet=f"SYN {source} -> director")
    yield Step(
        at="director",
        text="finds what the helper noted, and writes both addresses",
        packet=packet("SYN", outside, scene.client_listens),
    )
    yield Step(
        at="client",
        text="takes it: it comes from the virtual address",
        packet=packet("SYN+ACK", scene.client_listens, outside),
    )
    return None


def _direct(scene: Scene) -> Walk:
    stands = scene.stands
    name = scene.server.name
    yield _said("director", f"passes it on to {name} as it is")
    source = Endpoint(scene.address, scene.source_port if stands.from_data_port else scene.server.port - 1)
    setting = " (ftp_data_port, the first of its slice)" if stands.slices and stands.from_data_port else ""
    yield Step(
        at=name,
        text=f"opens the data connection from the virtual address, which it has itself, and port {source.port}{setting}"
        "; the packet goes past the director",
        packet=packet("SYN", source, scene.client_listens),
    )
    yield Step(
        at="client",
        text="takes it; the answer goes to the virtual address, and so to the director",
        packet=packet("SYN+ACK", scene.client_listens, source),
    )
    by_slice = stands.slices and stands.from_data_port
    if not (by_slice or stands.takes_data_port):
        return Failure(
            reason=Reason.ANSWER_FINDS_NO_ENTRY,
            text=f"the director has no connection and no virtual server for {source}: the answer ends there, and "
            f"{name} waits until the time is up",
            remedy=f"have {name} connect from a port of its slice: ftp_data_port={scene.ports.first} (vsftpd)"
            if stands.slices
            else f"give port {source.port} of {scene.address} the mark of the control connection",
        )
    if not by_slice and not stands.persistent and scene.other is not None:
        return Failure(
            reason=Reason.WRONG_SERVER,
            text=f"the answer is scheduled like a new client: it may reach {scene.other.name}, which resets it",
            remedy="make the virtual server persistent: persistence_timeout",
        )
    which = (
        f"firewall mark {scene.mark}, that of the slice of {name}"
        if by_slice
        else f"firewall mark {scene.virtual.firewall_mark}, and the client's persistence template leads to {name}"
    )
    how = "to its hardware address" if stands.forwarding is ForwardingMethod.DR else "into its tunnel"
    yield Step(
        at="director",
        text=f"the answer gets {which}: IPVS opens a connection for a SYN+ACK too, and sends it there {how}",
        packet=packet("SYN+ACK", scene.client_listens, source),
    )
    return None
