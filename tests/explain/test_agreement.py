"""What is told of IPVS is what the engine compiles: marks, translations, modules, names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftpdirector.engines.ipvs.compile import compile_host
from ftpdirector.engines.ipvs.iptables import chains_of
from ftpdirector.engines.ipvs.nft import format_nft
from ftpdirector.engines.ipvs.rules import rules_of
from ftpdirector.explain.example import Example
from ftpdirector.explain.explanation import examples_of, explain, verdict_of
from ftpdirector.explain.path import Mode
from ftpdirector.model import Cluster, Engine, IPAddress, PortRange
from tests.explain.examples import EXAMPLES, examples_from, made

NAMES = [path.stem for path in EXAMPLES if path.stem.startswith("ipvs-")]


def mark(cluster: Cluster, address: IPAddress, port: int) -> int | None:
    return next((one.mark for one in rules_of(cluster).marks if one.address == address and port in one.ports), None)


def source(example: Example) -> IPAddress | None:
    """From whatever port."""
    found = rules_of(example.cluster).translations
    return next((one.to for one in found if one.server == example.server.address), None)


@pytest.mark.parametrize("name", NAMES)
def test_each_port_has_the_mark_that_is_told(name: str) -> None:
    for example in examples_from(name):
        data_path, own = example.data_path, example.virtual.firewall_mark
        assert mark(example.cluster, example.address, example.front.port) == own
        passive = example.mark if data_path.slices else own if data_path.takes_range else None
        assert mark(example.cluster, example.address, example.announced_port) == passive
        if data_path.direct:
            assert mark(example.cluster, example.address, example.data_port) == (
                example.mark if data_path.slices else own
            )


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_translated_where_it_is_told(name: str) -> None:
    for example in examples_from(name):
        is_translated = source(example) == example.address
        assert (example.data_path.translates_source, example.data_path.translates_any_port) == (
            is_translated,
            is_translated,
        )


@pytest.mark.parametrize("ports", [PortRange(1024, 65535), PortRange(2000, 3000)])
def test_a_data_port_inside_the_passive_range_is_translated_as_well(ports: PortRange) -> None:
    plain = made(Engine.IPVS, port=2121)
    virtual = replace(plain.virtual, port=990, passive_ports=ports)
    [example] = examples_of(replace(plain.cluster, virtual_servers=(virtual,)), virtual, plain.address)
    assert verdict_of(example, Mode.PORT).works
    unbound = replace(example, data_path=replace(example.data_path, from_data_port=False))
    assert verdict_of(unbound, Mode.PORT).works


@pytest.mark.parametrize("name", NAMES)
def test_the_helper_is_loaded_where_it_is_told(name: str) -> None:
    for example in examples_from(name):
        modules = {one.name for one in compile_host(example.cluster, None).modules}
        assert ("ip_vs_ftp" in modules) is example.data_path.helper


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_stand_where_it_is_told(name: str) -> None:
    for example in examples_from(name):
        rules = rules_of(example.cluster)
        places = [example.mark_place, *([example.translation_place] if example.data_path.translates_source else [])]
        for place in places:
            assert f"{place} {{" in format_nft(rules)
    chains = {one.name for one in chains_of(rules_of(examples_from("ipvs-nat-slices")[0].cluster), version=4)}
    assert {"FTPDIRECTOR-MARK", "FTPDIRECTOR-ACTIVE"} <= chains


@pytest.mark.parametrize("name", NAMES)
def test_every_mark_of_a_real_server_is_in_the_table(name: str) -> None:
    [example] = examples_from(name)
    rules = rules_of(example.cluster)
    slices = {str(one.mark) for one in rules.marks} - {str(example.virtual.firewall_mark)}
    [front] = explain(example.cluster).fronts
    assert {row.mark for row in front.real_servers if row.mark} == slices
