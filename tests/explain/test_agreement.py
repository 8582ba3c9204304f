"""What is told of IPVS is what the engine compiles: marks, translations, modules, names."""

from __future__ import annotations

import pytest

from ftpdirector.engines.ipvs.compile import compile_host
from ftpdirector.engines.ipvs.iptables import chains_of
from ftpdirector.engines.ipvs.nft import format_nft
from ftpdirector.engines.ipvs.rules import rules_of
from ftpdirector.explain.explanation import explain
from ftpdirector.explain.scene import Scene
from ftpdirector.model import Cluster, IPAddress
from tests.explain.scenes import EXAMPLES, example

NAMES = [path.stem for path in EXAMPLES if path.stem.startswith("ipvs-")]


def mark(cluster: Cluster, address: IPAddress, port: int) -> int | None:
    return next((one.mark for one in rules_of(cluster).marks if one.address == address and port in one.ports), None)


def source(scene: Scene, port: int) -> IPAddress | None:
    found = rules_of(scene.cluster).translations
    return next((one.to for one in found if one.server == scene.server.address and port in one.ports), None)


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
        stands = scene.stands
        assert source(scene, scene.data_port) == (scene.address if stands.translates_source else None)
        assert source(scene, 45678) == (scene.address if stands.translates_any_port else None)


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
