"""What real servers must say: golden texts, and what must hold of any cluster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from ftpdirector.config.decode import load
from ftpdirector.ftpd.host import host_of
from ftpdirector.ftpd.needs import Needs, found, names, needs_of
from ftpdirector.ftpd.settings import settings_of
from ftpdirector.model import Cluster, Engine, Placement
from tests.engines.ipvs.clusters import clusters

EXAMPLES = Path(__file__).parents[2] / "examples"
GOLDEN = Path(__file__).parent / "golden"
KERNEL = sorted(
    path.stem for path in EXAMPLES.glob("*.toml") if load(path).cluster.engine in (Engine.IPVS, Engine.NFTABLES)
)


@pytest.mark.parametrize("name", KERNEL)
def test_the_example_asks_this_of_its_real_servers(name: str) -> None:
    """`GOLDEN=write pytest ...` writes them anew; read the difference before you commit it."""
    cluster = load(EXAMPLES / f"{name}.toml").cluster
    text = ""
    for server in names(cluster):
        needs = tuple(found(cluster, server))
        parts = [part for one in needs for part in settings_of(one)] + list(host_of(needs))
        text += "".join(f"==> {server}: {part.path} <==\n{part.text}\n" for part in parts)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def all_needs(cluster: Cluster) -> list[Needs]:
    return [
        needs_of(cluster, virtual, server) for virtual in cluster.virtual_servers for server in virtual.real_servers
    ]


MANY = settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@MANY
@given(clusters())
def test_slices_meet_nowhere_and_lie_within_the_range(cluster: Cluster) -> None:
    for virtual in cluster.virtual_servers:
        if virtual.placement is Placement.SLICES:
            taken: set[int] = set()
            for server in virtual.real_servers:
                needs = needs_of(cluster, virtual, server)
                ports = set(range(needs.passive_ports.first, needs.passive_ports.last + 1))
                ports |= {needs.data_port} - {0}
                assert ports
                assert min(ports) >= virtual.passive_ports.first
                assert max(ports) <= virtual.passive_ports.last
                assert not ports & taken
                taken |= ports


@MANY
@given(clusters())
def test_an_address_is_announced_where_nothing_else_names_the_right_one(cluster: Cluster) -> None:
    for needs in all_needs(cluster):
        if needs.announced is not None:
            assert needs.announced in needs.virtual.addresses
            assert not needs.is_direct
            assert needs.virtual.placement is not Placement.HELPER
        elif needs.server.address.version == 4:
            assert needs.is_direct or needs.virtual.placement is Placement.HELPER


@MANY
@given(clusters())
def test_every_file_has_a_place_of_its_own(cluster: Cluster) -> None:
    for name in names(cluster):
        needs = tuple(found(cluster, name))
        parts = [part for one in needs for part in settings_of(one, suffix=f"-{one.virtual.name}")]
        paths = [part.path for part in (*parts, *host_of(needs))]
        assert len(paths) == len(set(paths))
