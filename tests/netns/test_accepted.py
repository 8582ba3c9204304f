"""Whatever valid cluster there is: the kernel takes its table, and the change to any other."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from lab.netns.hosts import Host, missing

from ftpdirector.change.plan import Desired, ResourceId, ResourceKind
from ftpdirector.change.resources import Place, read_actual, shown, write_value
from ftpdirector.change.setup import TABLE
from ftpdirector.config.decode import load
from ftpdirector.engines.ipvs.nft import format_nft
from ftpdirector.engines.ipvs.rules import rules_of
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.model import Cluster
from ftpdirector.nft.transaction import boot_file, transaction
from ftpdirector.state import Override
from ftpdirector.wanted import Wanted, want
from tests.engines.nftables.clusters import wanteds
from tests.netns.table import boot, change, listed

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=missing())]

compile_for: Mapping[str, Callable[[Cluster], str]] = {
    "ipvs": lambda cluster: format_nft(rules_of(cluster)),
    "nftables": lambda cluster: boot_file(compile_table(want(cluster, {}, {}))),
}
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("nftables-*.toml"))


@contextlib.contextmanager
def empty_host() -> Iterator[Host]:
    host = Host(f"fd{os.getpid()}-accepted")
    subprocess.run(["ip", "netns", "add", host.name], check=True)
    try:
        yield host
    finally:
        subprocess.run(["ip", "netns", "del", host.name], check=True)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with empty_host() as made:
        yield made


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_accepted_twice(host: Host, path: Path) -> None:
    """From nothing, and over itself."""
    text = boot_file(compile_table(want(load(path).cluster, {}, {})))
    host.nft(text)
    host.nft(text)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanteds())
def test_any_valid_cluster_is_accepted(host: Host, wanted: Wanted) -> None:
    host.run("nft", "--check", "--file", "-", given=boot_file(compile_table(wanted)))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanteds(), wanteds())
def test_any_change_is_accepted_and_leaves_what_a_boot_makes(host: Host, one: Wanted, other: Wanted) -> None:
    before, after = compile_table(one), compile_table(other)
    boot(host, after)
    due = listed(host)
    boot(host, before)
    change(host, before, after)
    assert listed(host) == due


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanteds(), wanteds())
def test_of_two_changes_of_one_state_the_second_is_refused(host: Host, one: Wanted, other: Wanted) -> None:
    before, first = compile_table(one), compile_table(other)
    second = compile_table(want(one.cluster, {}, dict.fromkeys(one.offers, Override.DRAIN)))
    late = transaction(before, second)
    if not transaction(before, first) or not late:
        return
    boot(host, before)
    change(host, before, first)
    there = listed(host)
    assert host.run("nft", "--file", "-", given=late, check=False).returncode
    assert listed(host) == there


@pytest.mark.parametrize("engine", ["ipvs", "nftables"])
def test_apply_and_its_undoing_leave_what_a_boot_makes(host: Host, engine: str) -> None:
    """From each example's rules to each other's, and back by the listing that was kept; packets' elements stay."""
    place, key = Place(), ResourceId(ResourceKind.NFT, TABLE)
    clusters = [load(path).cluster for path in sorted(EXAMPLES[0].parent.glob(f"{engine}-*.toml"))]
    texts = [compile_for[engine](cluster) for cluster in clusters]
    with host.inside():
        write_value(place, key, None, None)
        for first, second in itertools.permutations(texts, 2):
            write_value(place, key, first, None)
            before = read_actual(place, key, None).value
            assert before == shown(key, Desired(value=first))
            write_value(place, key, second, None)
            assert read_actual(place, key, None).value == shown(key, Desired(value=second))
            write_value(place, key, before, None)
            assert read_actual(place, key, None).value == before
        if engine == "nftables":
            host.nft("add element inet ftpdirector admitted_v4 { 203.0.113.11 . 198.51.100.11 timeout 900s }\n")
            write_value(place, key, texts[0], None)
            assert "203.0.113.11" in host.run("nft", "list", "set", "inet", "ftpdirector", "admitted_v4").stdout
        write_value(place, key, None, None)
        assert read_actual(place, key, None).value is None
