"""Whatever valid cluster there is: the kernel takes its table, and the change to any other."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from lab.netns.hosts import Host, missing

from ftpdirector.config.decode import load
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.nft.transaction import boot_file
from ftpdirector.wanted import Wanted, want
from tests.engines.nftables.clusters import wanteds
from tests.netns.table import boot, change, listed

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=missing())]

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
