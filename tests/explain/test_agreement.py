"""What is told of IPVS is what the engine compiles: marks, translations, modules, names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftpdirector.engines.ipvs.compile import compile_host
from ftpdirector.engines.ipvs.iptables import chains_of
from ftpdirector.engines.ipvs.nft import format_nft
from ftpdirector.engines.ipvs.rules import rules_of
from ftpdirector.explain.explanation import explain, scenes_of, verdict_of
from ftpdirector.explain.scene import Scene
from ftpdirector.explain.way import Mode
from ftpdirector.model import Cluster, Engine, IPAddress, PortRange
from tests.explain.scenes import EXAMPLES, example, made

NAMES = [path.stem for path in EXAMPLES if path.stem.startswith("ipvs-")]


def mark(cluster: Cluster, address: IPAddress, port: int) -> int | None:
    return next((one.mark for one in rules_of(cluster).marks if one.address == address and port in one.ports), None)


def source(scene: Scene) -> IPAddress | None:
    """From whatever port."""
    found = rules_of(scene.cluster).translations
    return next((one.to for one in found if one.server == scene.server.address), None)


@pytest.mark.parametrize("name", NAMES)
def test_each_port_has_the_mark_that_is_told(name: str) -> None:
    for scene in example(name):
        stands, own = scene.stands, scene.virtual.firewall_mark
        assert mark(scene.cluster, scene.address, scene.front.port) == own
        passive = scene.mark if stands.slices else own if stands.takes_range else None
        assert mark(scene.cluster, scene.address, scene.announced_port) == passive
        if stands.direct:
            assert mark(scene.cluster, scene.address, scene.data_port) == (scene.mark if stands.slices else own)


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_translated_where_it_is_told(name: str) -> None:
    for scene in example(name):
        is_translated = source(scene) == scene.address
        assert (scene.stands.translates_source, scene.stands.translates_any_port) == (is_translated, is_translated)


@pytest.mark.parametrize("ports", [PortRange(1024, 65535), PortRange(2000, 3000)])
def test_a_data_port_inside_the_passive_range_is_translated_as_well(ports: PortRange) -> None:
    plain = made(Engine.IPVS, port=2121)
    virtual = replace(plain.virtual, port=990, passive_ports=ports)
    [scene] = scenes_of(replace(plain.cluster, virtual_servers=(virtual,)), virtual, plain.address)
    assert verdict_of(scene, Mode.PORT).works
    unbound = replace(scene, stands=replace(scene.stands, from_data_port=False))
    assert verdict_of(unbound, Mode.PORT).works


@pytest.mark.parametrize("name", NAMES)
def test_the_helper_is_loaded_where_it_is_told(name: str) -> None:
    for scene in example(name):
        modules = {one.name for one in compile_host(scene.cluster, None).modules}
        assert ("ip_vs_ftp" in modules) is scene.stands.helper


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_stand_where_it_is_told(name: str) -> None:
    for scene in example(name):
        rules = rules_of(scene.cluster)
        places = [scene.mark_place, *([scene.translation_place] if scene.stands.translates_source else [])]
        for place in places:
            assert f"{place} {{" in format_nft(rules)
    chains = {one.name for one in chains_of(rules_of(example("ipvs-nat-slices")[0].cluster), version=4)}
    assert {"FTPDIRECTOR-MARK", "FTPDIRECTOR-ACTIVE"} <= chains


@pytest.mark.parametrize("name", NAMES)
def test_every_mark_of_a_real_server_is_in_the_table(name: str) -> None:
    [scene] = example(name)
    rules = rules_of(scene.cluster)
    slices = {str(one.mark) for one in rules.marks} - {str(scene.virtual.firewall_mark)}
    [front] = explain(scene.cluster).fronts
    assert {row.mark for row in front.real_servers if row.mark} == slices
