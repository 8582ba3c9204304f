"""PORT and EPRT under a kernel engine: the real server connects, and the client must see the virtual address.

This module knows no passive mode.
"""

from __future__ import annotations

from ftpdirector.explain.data_path import DataPath
from ftpdirector.explain.example import Example, announcement_of, packet
from ftpdirector.explain.path import Failure, Mode, Phase, Reason, Step, Trace
from ftpdirector.model import Endpoint, Engine, ForwardingMethod, ServerSoftware


def trace_active(example: Example, mode: Mode, *, tls: bool) -> Trace:
    """From the client's command to an open data connection."""
    said = announcement_of(mode, example.client_listens)
    yield _said("client", f'listens on port {example.client_listens.port} and says "{said}"')
    if example.data_path.direct:
        return (yield from _direct(example))
    if example.data_path.forwarding is ForwardingMethod.FULLNAT:
        return (yield from _fullnat(example, mode, tls=tls))
    failure = yield from _heard(example, mode, tls=tls)
    if failure is not None:
        return failure
    return (yield from _nat(example, tls=tls))


def _said(at: str, text: str) -> Step:
    return Step(at=at, text=text, phase=Phase.ANNOUNCEMENT)


def _notes(data_path: DataPath, *, tls: bool) -> bool:
    # Unlike a reply, PORT and EPRT need no rewriting under nat, so that ip_vs_ftp can do without connection tracking.
    return data_path.helper and not tls


def _heard(example: Example, mode: Mode, *, tls: bool) -> Trace:
    data_path = example.data_path
    if _notes(data_path, tls=tls):
        if data_path.engine is Engine.IPVS:
            text = (
                f"ip_vs_ftp reads it and notes: what comes from port {example.data_port} of {example.server.name} to "
                f"{example.client_listens} leaves as {Endpoint(example.address, example.virtual.port - 1)}"
            )
        else:
            text = (
                f"nf_conntrack_ftp reads it and expects a connection of {example.server.name} to "
                f"{example.client_listens}; "
                f"nf_nat_ftp will give it the source {example.address}"
            )
        yield _said("director", text)
        if _compares_text(example, mode):
            return Failure(
                reason=Reason.PORT_REFUSED,
                text=f"the helper writes the address in full (2001:0db8:...), and {example.server.name}, pyftpdlib, "
                'compares it as text with the one that it sees: "501"',
                remedy='use EPSV, or placement "slices", which leaves EPRT as it is',
            )
    else:
        yield _said("director", "cannot read it" if tls else "passes it on as it is")
    yield _said(example.server.name, 'answers "200": the address is the one that the control connection comes from')
    return None


def _compares_text(example: Example, mode: Mode) -> bool:
    return (
        example.data_path.engine is Engine.NFTABLES
        and mode is Mode.EPRT
        and example.address.version == 6
        and example.server.server is ServerSoftware.PYFTPDLIB
    )


def _nat(example: Example, *, tls: bool) -> Trace:
    data_path = example.data_path
    source = Endpoint(example.server.address, example.source_port)
    yield Step(
        at=example.server.name,
        text="opens the data connection, by its default gateway, the director",
        packet=packet("SYN", source, example.client_listens),
    )
    noted = _notes(data_path, tls=tls)
    by_note = noted and (data_path.from_data_port or data_path.engine is Engine.NFTABLES)
    by_rule = data_path.translates_source if data_path.from_data_port else data_path.translates_any_port
    if not (by_note or by_rule):
        return _untranslated(example, source, noted=noted, tls=tls)
    port = example.virtual.port - 1 if by_note and data_path.from_data_port else source.port
    outside = Endpoint(example.address, port)
    yield Step(
        at="director",
        text=_translated(example, by_note=by_note),
        packet=packet("SYN", outside, example.client_listens),
    )
    yield Step(
        at="client",
        text=f"sees a data connection from {example.address}, where its control connection is, and takes it",
        packet=packet("SYN+ACK", example.client_listens, outside),
    )
    who = "IPVS" if by_note and data_path.engine is Engine.IPVS else "connection tracking"
    yield Step(
        at="director",
        text=f"{who} writes the real address back",
        packet=packet("SYN+ACK", example.client_listens, source),
    )
    return None


def _translated(example: Example, *, by_note: bool) -> str:
    if by_note:
        return f"finds what the helper noted, and writes {example.address} as the source"
    ports = "any port" if example.data_path.translates_any_port else f"port {example.data_port}"
    place = f" ({example.translation_place})" if example.data_path.engine is Engine.IPVS else ""
    return f"a rule writes {example.address} as the source of what {example.server.name} opens from {ports}{place}"


def _untranslated(example: Example, source: Endpoint, *, noted: bool, tls: bool) -> Failure:
    data_path = example.data_path
    seen = (
        f"the client sees a connection from {source}, an address that it does not know; its firewall or the client "
        f"itself refuses it, and its answer would not find the way to {example.server.name}"
    )
    if not data_path.from_data_port and (noted or data_path.translates_source):
        who = "ip_vs_ftp noted" if noted else "the rule translates"
        return Failure(
            reason=Reason.SOURCE_PORT_DIFFERS,
            text=f"{who} port {example.data_port}, but {example.server.name} connects from port {source.port}: {seen}",
            remedy=f"have {example.server.name} connect from port {example.data_port}: "
            f"{example.setting_names.data_port}; or "
            "translate every source port",
        )
    rule = (
        f"add a rule that gives what {example.server.name} opens the source {example.address} (SNAT, by the "
        "source port)"
    )
    if data_path.helper and tls:
        return Failure(
            reason=Reason.TLS_HIDES_PORT,
            text=f"over TLS the helper cannot read {example.client_listens.port} in the command, and no rule "
            "translates: "
            f"{seen}",
            remedy=f'{rule}, or use placement "slices"',
        )
    return Failure(
        reason=Reason.SOURCE_NOT_TRANSLATED, text=f"nothing translates the real server's address: {seen}", remedy=rule
    )


def _fullnat(example: Example, mode: Mode, *, tls: bool) -> Trace:
    name = example.server.name
    if not _notes(example.data_path, tls=tls):
        yield _said("director", "cannot read it" if tls else "passes it on as it is")
        return Failure(
            reason=Reason.PORT_REFUSED,
            text=f"{name} sees a control connection from the director, and {mode.upper()} names another address, "
            f'{example.client_address}: a third party, which it refuses ("500 Illegal PORT command" in vsftpd)',
            remedy='use passive mode, forwarding "nat", or engine "proxy"',
        )
    yield _said(
        "director", f"nf_nat_ftp writes its own address and a free port into it, and expects {name} to connect there"
    )
    if _compares_text(example, mode):
        return Failure(
            reason=Reason.PORT_REFUSED,
            text=f'the helper writes the address in full, and {name}, pyftpdlib, compares it as text: "501"',
            remedy="use EPSV",
        )
    source = Endpoint(example.server.address, example.source_port)
    outside = Endpoint(example.address, example.source_port)
    yield Step(at=name, text="opens the data connection", packet=f"SYN {source} -> director")
    yield Step(
        at="director",
        text="finds what the helper noted, and writes both addresses",
        packet=packet("SYN", outside, example.client_listens),
    )
    yield Step(
        at="client",
        text="takes it: it comes from the virtual address",
        packet=packet("SYN+ACK", example.client_listens, outside),
    )
    return None


def _direct(example: Example) -> Trace:
    data_path = example.data_path
    name = example.server.name
    yield _said("director", f"passes it on to {name} as it is")
    source = Endpoint(example.address, example.source_port if data_path.from_data_port else example.server.port - 1)
    setting = " (ftp_data_port, the first of its slice)" if data_path.slices and data_path.from_data_port else ""
    yield Step(
        at=name,
        text=f"opens the data connection from the virtual address, which it has itself, and port {source.port}{setting}"
        "; the packet goes past the director",
        packet=packet("SYN", source, example.client_listens),
    )
    yield Step(
        at="client",
        text="takes it; the answer goes to the virtual address, and so to the director",
        packet=packet("SYN+ACK", example.client_listens, source),
    )
    by_slice = data_path.slices and data_path.from_data_port
    if not (by_slice or data_path.takes_data_port):
        return Failure(
            reason=Reason.ANSWER_FINDS_NO_ENTRY,
            text=f"the director has no connection and no virtual server for {source}: the answer ends there, and "
            f"{name} waits until the time is up",
            remedy=f"have {name} connect from a port of its slice: ftp_data_port={example.ports.first} (vsftpd)"
            if data_path.slices
            else f"give port {source.port} of {example.address} the mark of the control connection",
        )
    if not by_slice and not data_path.persistent and example.other is not None:
        return Failure(
            reason=Reason.WRONG_SERVER,
            text=f"the answer is scheduled like a new client: it may reach {example.other.name}, which resets it",
            remedy="make the virtual server persistent: persistence_timeout",
        )
    which = (
        f"firewall mark {example.mark}, that of the slice of {name}"
        if by_slice
        else f"firewall mark {example.virtual.firewall_mark}, and the client's persistence template leads to {name}"
    )
    how = "to its hardware address" if data_path.forwarding is ForwardingMethod.DR else "into its tunnel"
    yield Step(
        at="director",
        text=f"the answer gets {which}: IPVS opens a connection for a SYN+ACK too, and sends it there {how}",
        packet=packet("SYN+ACK", example.client_listens, source),
    )
    return None
