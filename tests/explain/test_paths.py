"""What holds of every way, whatever the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from ftpdirector.explain.control import trace_control
from ftpdirector.explain.example import Example
from ftpdirector.explain.explanation import explain, path_of, verdict_of
from ftpdirector.explain.misconfigurations import misconfiguration_effects
from ftpdirector.explain.path import IPV4_ONLY, PASSIVE, Mode, Path, follow
from ftpdirector.explain.text import lines_of
from ftpdirector.model import Engine, ForwardingMethod, Placement, ServerSoftware
from tests.explain.examples import alone, made, modes_of

NAT, DR, TUN, FULLNAT = ForwardingMethod
KERNEL = [
    *product([Engine.NFTABLES], Placement, [NAT, FULLNAT]),
    *product([Engine.IPVS], Placement, [NAT]),
    *product([Engine.IPVS], [Placement.SLICES, Placement.PERSISTENCE], [DR, TUN]),
]
EVERYTHING = [*KERNEL, (Engine.PROXY, Placement.SLICES, NAT)]


def examples(which: list[tuple[Engine, Placement, ForwardingMethod]]) -> Iterator[Example]:
    for (engine, placement, forwarding), version, software, port in product(which, (4, 6), ServerSoftware, (21, 2121)):
        for timeout_s in (None, 60.0):
            yield made(
                engine, placement, forwarding, version=version, software=software, port=port, timeout_s=timeout_s
            )


def paths_of(example: Example) -> Iterator[Path]:
    for mode, tls in product(modes_of(example), (False, True)):
        yield path_of(example, mode, tls=tls)


def test_a_way_that_fails_says_why_and_what_mends_it() -> None:
    for example in examples(EVERYTHING):
        for path in paths_of(example):
            verdict = path.verdict
            said = (bool(verdict.reason), bool(verdict.text), bool(verdict.remedy))
            assert said == ((False,) * 3 if verdict.works else (True,) * 3)


def test_the_client_speaks_to_the_virtual_address_only() -> None:
    """Of a way that works, each packet that the client sends or takes has the virtual address at its other end."""
    for example in examples(KERNEL):
        steps, _ = follow(trace_control(example))
        for path in (Path(steps=steps), *paths_of(example)):
            if path.verdict.works:
                seen = [step.packet for step in path.steps if step.at == "client" and step.packet]
                assert seen
                assert all(str(example.address) in one for one in seen), seen


def test_what_the_client_opens_is_answered_from_where_it_was_opened_to() -> None:
    for example in examples(KERNEL):
        control, _ = follow(trace_control(example))
        for path in (Path(steps=control), *paths_of(example)):
            if path.verdict.works and path.mode in ("", *PASSIVE):
                packets = [step.packet for step in path.steps if step.packet]
                source, _, target = packets[0].removeprefix("SYN ").partition(" -> ")
                assert packets[-1] == f"SYN+ACK {target} -> {source}"


def test_nat_shows_real_servers_nothing_but_their_own_address_and_the_client() -> None:
    for example in examples([one for one in KERNEL if one[2] is NAT]):
        for path in paths_of(example):
            sent = [step.packet for step in path.steps if step.at == example.server.name and step.packet]
            assert all(str(example.server.address) in one and str(example.client_address) in one for one in sent)


def test_every_configuration_works_plain_unless_fullnat_forbids_active_mode() -> None:
    for example in examples(EVERYTHING):
        data_path = example.data_path
        for mode in modes_of(example):
            refused = data_path.forwarding is FULLNAT and not data_path.helper and mode not in PASSIVE
            if data_path.helper and data_path.engine is Engine.NFTABLES and example.address.version == 6:
                refused = refused or (example.server.server is ServerSoftware.PYFTPDLIB and mode is Mode.EPRT)
            assert verdict_of(example, mode).works is not refused, (example, mode)


def test_a_mistake_breaks_what_works_without_it() -> None:
    for example in examples(KERNEL):
        for tls in (False, True):
            working = {mode for mode in modes_of(example) if verdict_of(example, mode, tls=tls).works}
            found = list(misconfiguration_effects(example, modes_of(example), tls=tls))
            assert bool(found) == bool(working)
            for effect in found:
                broken = [mode for one in effect.breaks for mode in one.modes]
                assert set(broken) <= working
                assert len(broken) == len(set(broken))


def test_one_real_server_cannot_be_the_wrong_one() -> None:
    for example in examples(KERNEL):
        one = alone(example)
        told = [
            each.verdict.reason
            for effect in misconfiguration_effects(one, modes_of(one), tls=False)
            for each in effect.breaks
        ]
        assert "wrong-real-server" not in told


@pytest.mark.parametrize("mode", IPV4_ONLY)
def test_pasv_and_port_have_no_room_for_ipv6(mode: Mode) -> None:
    assert verdict_of(made(Engine.IPVS, version=6), mode).reason == "ipv4-only"


def test_ip_vs_ftp_must_be_told_of_another_port() -> None:
    steps, _ = follow(trace_control(made(Engine.IPVS, Placement.HELPER, port=2121)))
    assert any("ports=2121" in step.text for step in steps)
    plain, _ = follow(trace_control(made(Engine.IPVS, Placement.HELPER)))
    assert not any("ports=" in step.text for step in plain)


def test_a_server_without_weight_is_not_the_one_that_is_told_of() -> None:
    virtual = made(Engine.IPVS).virtual
    alpha, bravo = virtual.real_servers
    quiet = replace(virtual, real_servers=(replace(alpha, weight=0), bravo))
    [front] = explain(replace(made(Engine.IPVS).cluster, virtual_servers=(quiet,))).fronts
    assert {step.at for step in front.control.steps} == {"client", "director", "bravo"}
    assert [row.mark for row in front.real_servers] == ["22", "23"]


def test_lines_keep_to_the_width_where_words_allow() -> None:
    explanation = explain(made(Engine.IPVS, Placement.HELPER).cluster)
    for width in (80, 110):
        assert max(len(line.text) for line in lines_of(explanation, width=width)) <= width


def test_what_was_told_is_referred_to() -> None:
    text = [line.text for line in lines_of(explain(made(Engine.IPVS).cluster))]
    assert "      then steps 3 to 8 of PASV" in text
    [path] = [one for one in explain(made(Engine.IPVS).cluster).fronts[0].ways if one.mode == "pasv" and not one.tls]
    assert len(path.steps) == 8
