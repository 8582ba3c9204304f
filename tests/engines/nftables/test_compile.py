"""From what is wanted to the text of the table: golden files, and what must hold of any."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings

from ftpdirector.config.decode import load
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.engines.nftables.marks import DATA_BIT, marks_of
from ftpdirector.model import Cluster
from ftpdirector.nft.objects import Table, format_table
from ftpdirector.nft.transaction import boot_file
from ftpdirector.wanted import Wanted, want
from tests.engines.nftables.clusters import wanteds

EXAMPLES = Path(__file__).parents[3] / "examples"
GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in EXAMPLES.glob("nftables-*.toml"))


def cluster_of(name: str) -> Cluster:
    return load(EXAMPLES / f"{name}.toml").cluster


@pytest.mark.parametrize("name", NAMES)
def test_the_example_compiles_to_this(name: str) -> None:
    """`GOLDEN=write pytest ...` writes them anew; read the difference before you commit it."""
    text = boot_file(compile_table(want(cluster_of(name), {}, {})))
    path = GOLDEN / f"{name}.nft"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def base_rules(table: Table) -> list[str]:
    return [rule.text for chain in table.chains if chain.hook for rule in chain.rules]


@pytest.mark.long
@settings(deadline=None, max_examples=40)
@given(wanteds(), wanteds())
def test_packets_of_any_cluster_pass_the_same_base_chains(one: Wanted, other: Wanted) -> None:
    """All but the assignment of the helper, which needs a module of the kernel."""
    first, second = (
        [rule for rule in base_rules(compile_table(each)) if "helper set" not in rule] for each in (one, other)
    )
    assert first == second


@settings(deadline=None, max_examples=40)
@given(wanteds())
def test_what_a_rule_or_an_element_names_is_there(wanted: Wanted) -> None:
    table = compile_table(wanted)
    rules = " ".join(rule.text for chain in table.chains for rule in chain.rules)
    values = " ".join(value for each in table.sets for value in each.elements.values())
    assert set(re.findall(r"@(\S+)", rules)) <= {one.name for one in table.sets}
    assert set(re.findall(r"(?:goto|jump) (\S+)", f"{rules} {values}")) <= {one.name for one in table.chains}
    assert set(re.findall(r'counter name "(\S+)"', rules)) <= {one.name for one in table.counters}
    assert len({one.name for one in table.sets}) == len(table.sets)
    assert len({one.name for one in table.chains}) == len(table.chains)


@settings(deadline=None, max_examples=40)
@given(wanteds())
def test_a_server_that_is_not_offered_is_in_no_schedule_and_keeps_its_data_connections(wanted: Wanted) -> None:
    table = compile_table(wanted)
    sets = {one.name: one for one in table.sets}
    for virtual in wanted.cluster.virtual_servers:
        for server in virtual.real_servers:
            suffix = f"{virtual.name}_v{server.address.version}"
            offered = f"{server.address} . {server.port}" in sets[f"offered_{suffix}"].elements.values()
            alike = [one for one in virtual.real_servers if one.address.version == server.address.version]
            is_served = any(wanted.offers[virtual.name, one.name].weight for one in alike if not one.sorry)
            assert offered == (
                bool(wanted.offers[virtual.name, server.name].weight) and not (server.sorry and is_served)
            )
            assert str(server.address) in sets[f"server_v{server.address.version}"].elements.values()
        for version in {one.version for one in virtual.addresses}:
            suffix = f"{virtual.name}_v{version}"
            scheduled = set(sets[f"schedule_{suffix}"].elements.values())
            # A Maglev table has no slot for who has less than a thousandth of another's weight.
            assert scheduled <= set(sets[f"offered_{suffix}"].elements)
            assert scheduled or not sets[f"offered_{suffix}"].elements


@settings(deadline=None, max_examples=40)
@given(wanteds())
def test_marks_are_different_even_and_do_not_depend_on_others(wanted: Wanted) -> None:
    cluster = wanted.cluster
    marks = marks_of(cluster)
    assert len(set(marks.values())) == len(marks)
    assert not any(mark & DATA_BIT for mark in marks.values())
    alone = Cluster(engine=cluster.engine, virtual_servers=cluster.virtual_servers[-1:])
    assert all(marks[key] == mark for key, mark in marks_of(alone).items())


@settings(deadline=None, max_examples=40)
@given(wanteds())
def test_the_same_wanted_is_the_same_text(wanted: Wanted) -> None:
    assert format_table(compile_table(wanted)) == format_table(compile_table(wanted))
