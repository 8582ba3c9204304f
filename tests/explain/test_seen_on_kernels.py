"""What was seen on real kernels is what the model says, row by row: works, or fails for this reason.

Real IPVS (kernel 6.1, IPv4, forwarding nat), vsftpd with connect_from_port_20=YES, two real servers, and a strict
client that obeys the address in a 227 and has no way to the real servers. nftables: kernel 6.18.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftpdirector.explain.data_path import DataPath, Lookup
from ftpdirector.explain.example import Example
from ftpdirector.explain.explanation import verdict_of
from ftpdirector.explain.path import Mode, Reason
from ftpdirector.model import Engine, ForwardingMethod, Placement, ServerSoftware
from tests.explain.examples import made

Seen = tuple[str, str, str, str]
YES = ""
SNAT = Reason.SOURCE_NOT_TRANSLATED

PERSISTENT = DataPath(
    engine=Engine.IPVS,
    forwarding=ForwardingMethod.NAT,
    lookup=Lookup.MARK,
    takes_range=True,
    persistent=True,
    tracked=False,
)
"""Mark 21, persistent, over port 21 and the range; nothing else."""
ANNOUNCED = replace(PERSISTENT, announces_virtual=True)
UNTRACKED_HELPER = replace(PERSISTENT, helper=True)
HELPER = replace(UNTRACKED_HELPER, tracked=True)
BY_PORT = DataPath(engine=Engine.IPVS, forwarding=ForwardingMethod.NAT, lookup=Lookup.PORT, tracked=False)

TABLE: dict[str, tuple[DataPath, Seen]] = {
    "nothing but the mark": (PERSISTENT, (Reason.REAL_ADDRESS_ANNOUNCED, YES, SNAT, SNAT)),
    "pasv_address": (ANNOUNCED, (YES, YES, SNAT, SNAT)),
    "pasv_address and SNAT": (replace(ANNOUNCED, translates_source=True, tracked=True), (YES, YES, YES, YES)),
    "ip_vs_ftp without a conntrack rule": (UNTRACKED_HELPER, (Reason.NOT_TRACKED, YES, YES, YES)),
    "... port 21 alone marked, not persistent": (
        replace(UNTRACKED_HELPER, takes_range=False, persistent=False),
        (Reason.NOT_TRACKED, YES, YES, YES),
    ),
    "ip_vs_ftp with a conntrack rule": (HELPER, (YES, YES, YES, YES)),
    "... port 21 alone marked": (replace(HELPER, takes_range=False), (YES, YES, YES, YES)),
    "... not persistent": (replace(HELPER, persistent=False), (YES, YES, YES, YES)),
    "... neither": (replace(HELPER, takes_range=False, persistent=False), (YES, YES, YES, YES)),
    "... not from port 20": (
        replace(HELPER, from_data_port=False),
        (YES, YES, Reason.SOURCE_PORT_DIFFERS, Reason.SOURCE_PORT_DIFFERS),
    ),
    "... and pasv_address": (replace(HELPER, announces_virtual=True), (Reason.HELPER_LED_ASTRAY, YES, YES, YES)),
    "nf_conntrack_ftp and SNAT": (
        replace(PERSISTENT, conntrack_helper=True, translates_source=True, tracked=True),
        (Reason.OTHER_TRANSLATION, YES, YES, YES),
    ),
    "not persistent": (
        replace(ANNOUNCED, persistent=False),
        (Reason.WRONG_SERVER, Reason.WRONG_SERVER, SNAT, SNAT),
    ),
    "-t VIP:21": (BY_PORT, (Reason.REAL_ADDRESS_ANNOUNCED, Reason.NO_VIRTUAL_SERVER, SNAT, SNAT)),
    "-t VIP:21 and ip_vs_ftp": (replace(BY_PORT, helper=True), (YES, YES, YES, YES)),
    "-t VIP:0, persistent, pasv_address": (
        replace(BY_PORT, lookup=Lookup.ANY_PORT, persistent=True, announces_virtual=True),
        (YES, YES, SNAT, SNAT),
    ),
    "slices": (
        replace(BY_PORT, lookup=Lookup.MARK, slices=True, announces_virtual=True, translates_source=True),
        (YES, YES, YES, YES),
    ),
}


def verdicts(example: Example, *, tls: bool = False) -> Seen:
    pasv, epsv, port, eprt = (verdict_of(example, mode, tls=tls).reason for mode in Mode)
    return pasv, epsv, port, eprt


@pytest.mark.parametrize("row", TABLE)
def test_ipvs(row: str) -> None:
    data_path, seen = TABLE[row]
    placement = Placement.SLICES if data_path.slices else Placement.PERSISTENCE
    assert verdicts(replace(made(Engine.IPVS, placement), data_path=data_path)) == seen


def test_the_row_of_slices_is_what_a_cluster_file_stands_for() -> None:
    data_path, _ = TABLE["slices"]
    assert made(Engine.IPVS).data_path == replace(data_path, tracked=True, translates_any_port=True)


@pytest.mark.parametrize("placement", [Placement.PERSISTENCE, Placement.HELPER])
def test_the_classic_placements_work_as_a_cluster_file_has_them(placement: Placement) -> None:
    assert verdicts(made(Engine.IPVS, placement)) == (YES, YES, YES, YES)


def test_helper_under_nftables_serves_plain_ftp_only() -> None:
    example = made(Engine.NFTABLES, Placement.HELPER)
    assert verdicts(example) == (YES, YES, YES, YES)
    assert set(verdicts(example, tls=True)) == {Reason.TLS_HIDES_PORT}


def test_helper_under_nftables_does_not_rewrite_the_virtual_address() -> None:
    example = made(Engine.NFTABLES, Placement.HELPER)
    announced = replace(example, data_path=replace(example.data_path, announces_virtual=True))
    assert verdicts(announced) == (Reason.HELPER_LED_ASTRAY, YES, YES, YES)


@pytest.mark.parametrize("engine", [Engine.NFTABLES, Engine.IPVS])
def test_slices_carry_tls_in_every_mode(engine: Engine) -> None:
    assert verdicts(made(engine), tls=True) == (YES, YES, YES, YES)


def test_pyftpdlib_compares_the_address_that_the_helper_wrote_as_text() -> None:
    """IPv6 EPRT: answered with 501. EPSV works, and so does EPRT without the helper."""

    def eprt(placement: Placement, software: ServerSoftware) -> str:
        example = made(Engine.NFTABLES, placement, version=6, software=software)
        assert verdict_of(example, Mode.EPSV).works
        return verdict_of(example, Mode.EPRT).reason

    assert eprt(Placement.HELPER, ServerSoftware.PYFTPDLIB) == Reason.PORT_REFUSED
    assert eprt(Placement.HELPER, ServerSoftware.VSFTPD) == YES
    assert eprt(Placement.SLICES, ServerSoftware.PYFTPDLIB) == YES


def test_fullnat_without_the_helper_has_port_refused() -> None:
    """vsftpd: 500 Illegal PORT command."""
    refused = Reason.PORT_REFUSED
    slices = made(Engine.NFTABLES, forwarding=ForwardingMethod.FULLNAT)
    helper = made(Engine.NFTABLES, Placement.HELPER, ForwardingMethod.FULLNAT)
    assert verdicts(slices) == (YES, YES, refused, refused)
    assert verdicts(helper) == (YES, YES, YES, YES)


def test_dr_with_slices_needs_a_data_port_inside_the_slice() -> None:
    example = made(Engine.IPVS, forwarding=ForwardingMethod.DR)
    assert verdicts(example) == (YES, YES, YES, YES)
    from_20 = replace(example, data_path=replace(example.data_path, from_data_port=False))
    lost = Reason.ANSWER_FINDS_NO_ENTRY
    assert verdicts(from_20) == (YES, YES, lost, lost)


def test_a_stateful_filter_without_vs_conntrack_kills_the_control_connection() -> None:
    example = made(Engine.IPVS)
    filtered = replace(example, data_path=replace(example.data_path, let_pass=False))
    assert set(verdicts(filtered)) == {Reason.DROPPED_AS_INVALID}


def test_a_port_in_the_service_of_a_slice_breaks_passive_mode() -> None:
    example = made(Engine.IPVS)
    with_port = replace(example, data_path=replace(example.data_path, slice_port_kept=False))
    assert verdicts(with_port) == (Reason.WRONG_PORT, Reason.WRONG_PORT, YES, YES)
