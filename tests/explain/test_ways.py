"""What holds of every way, whatever the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from ftpdirector.explain.control import walk_control
from ftpdirector.explain.explanation import explain, verdict_of, way_of
from ftpdirector.explain.mistakes import mistakes_of
from ftpdirector.explain.scene import Scene
from ftpdirector.explain.text import lines_of
from ftpdirector.explain.way import IPV4_ONLY, PASSIVE, Mode, Way, follow
from ftpdirector.model import Engine, ForwardingMethod, Placement, ServerSoftware
from tests.explain.scenes import alone, made, modes_of

NAT, DR, TUN, FULLNAT = ForwardingMethod
KERNEL = [
    *product([Engine.NFTABLES], Placement, [NAT, FULLNAT]),
    *product([Engine.IPVS], Placement, [NAT]),
    *product([Engine.IPVS], [Placement.SLICES, Placement.PERSISTENCE], [DR, TUN]),
]
EVERYTHING = [*KERNEL, (Engine.PROXY, Placement.SLICES, NAT)]


def scenes(which: list[tuple[Engine, Placement, ForwardingMethod]]) -> Iterator[Scene]:
    for (engine, placement, forwarding), version, software, port in product(which, (4, 6), ServerSoftware, (21, 2121)):
        for timeout_s in (None, 60.0):
            yield made(
                engine, placement, forwarding, version=version, software=software, port=port, timeout_s=timeout_s
            )


def ways(scene: Scene) -> Iterator[Way]:
    for mode, tls in product(modes_of(scene), (False, True)):
        yield way_of(scene, mode, tls=tls)


def test_a_way_that_fails_says_why_and_what_mends_it() -> None:
    for scene in scenes(EVERYTHING):
        for way in ways(scene):
            verdict = way.verdict
            said = (bool(verdict.reason), bool(verdict.text), bool(verdict.remedy))
            assert said == ((False,) * 3 if verdict.works else (True,) * 3)


def test_the_client_speaks_to_the_virtual_address_only() -> None:
    """Of a way that works, each packet that the client sends or takes has the virtual address at its other end."""
    for scene in scenes(KERNEL):
        steps, _ = follow(walk_control(scene))
        for way in (Way(steps=steps), *ways(scene)):
            if way.verdict.works:
                seen = [step.packet for step in way.steps if step.at == "client" and step.packet]
                assert seen
                assert all(str(scene.address) in one for one in seen), seen


def test_what_the_client_opens_is_answered_from_where_it_was_opened_to() -> None:
    for scene in scenes(KERNEL):
        control, _ = follow(walk_control(scene))
        for way in (Way(steps=control), *ways(scene)):
            if way.verdict.works and way.mode in ("", *PASSIVE):
                packets = [step.packet for step in way.steps if step.packet]
                source, _, target = packets[0].removeprefix("SYN ").partition(" -> ")
                assert packets[-1] == f"SYN+ACK {target} -> {source}"


def test_nat_shows_real_servers_nothing_but_their_own_address_and_the_client() -> None:
    for scene in scenes([one for one in KERNEL if one[2] is NAT]):
        for way in ways(scene):
            sent = [step.packet for step in way.steps if step.at == scene.server.name and step.packet]
            assert all(str(scene.server.address) in one and str(scene.client_address) in one for one in sent)


def test_every_configuration_works_plain_unless_fullnat_forbids_active_mode() -> None:
    for scene in scenes(EVERYTHING):
        stands = scene.stands
        for mode in modes_of(scene):
            refused = stands.forwarding is FULLNAT and not stands.helper and mode not in PASSIVE
            if stands.helper and stands.engine is Engine.NFTABLES and scene.address.version == 6:
                refused = refused or (scene.server.server is ServerSoftware.PYFTPDLIB and mode is Mode.EPRT)
            assert verdict_of(scene, mode).works is not refused, (scene, mode)


def test_a_mistake_breaks_what_works_without_it() -> None:
    for scene in scenes(KERNEL):
        for tls in (False, True):
            working = {mode for mode in modes_of(scene) if verdict_of(scene, mode, tls=tls).works}
            found = list(mistakes_of(scene, modes_of(scene), tls=tls))
            assert bool(found) == bool(working)
            for mistake in found:
                broken = [mode for one in mistake.breaks for mode in one.modes]
                assert set(broken) <= working
                assert len(broken) == len(set(broken))


def test_one_real_server_cannot_be_the_wrong_one() -> None:
    for scene in scenes(KERNEL):
        one = alone(scene)
        told = [
            each.verdict.reason for mistake in mistakes_of(one, modes_of(one), tls=False) for each in mistake.breaks
        ]
        assert "wrong-real-server" not in told


@pytest.mark.parametrize("mode", IPV4_ONLY)
def test_pasv_and_port_have_no_room_for_ipv6(mode: Mode) -> None:
    assert verdict_of(made(Engine.IPVS, version=6), mode).reason == "ipv4-only"


def test_ip_vs_ftp_must_be_told_of_another_port() -> None:
    steps, _ = follow(walk_control(made(Engine.IPVS, Placement.HELPER, port=2121)))
    assert any("ports=2121" in step.text for step in steps)
    plain, _ = follow(walk_control(made(Engine.IPVS, Placement.HELPER)))
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
    [way] = [one for one in explain(made(Engine.IPVS).cluster).fronts[0].ways if one.mode == "pasv" and not one.tls]
    assert len(way.steps) == 8
