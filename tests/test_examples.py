"""Every example is a cluster file that can be used; there is one for each engine, placement and forwarding method."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftpdirector.config.decode import load
from ftpdirector.model import Cluster, Engine, ForwardingMethod, Placement

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.toml"))


def clusters() -> list[Cluster]:
    return [load(path).cluster for path in EXAMPLES]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_used_and_bites_only_where_it_says_so(path: Path) -> None:
    rules = {warning.rule for warning in load(path).warnings}
    assert rules <= {"privileged-port", "helper-sees-no-tls", "persistence-cannot-drain", "active-under-fullnat"}


def test_every_engine_placement_and_forwarding_method_has_an_example() -> None:
    shown = {
        (cluster.engine, virtual.placement, virtual.forwarding)
        for cluster in clusters()
        for virtual in cluster.virtual_servers
        if cluster.engine is not Engine.PROXY
    }
    nat, dr, tun, fullnat = ForwardingMethod
    methods = {Engine.IPVS: (nat, dr, tun), Engine.NFTABLES: (nat, fullnat)}
    due = {(engine, placement, method) for engine in methods for placement in Placement for method in methods[engine]}
    impossible = {(Engine.IPVS, Placement.HELPER, dr), (Engine.IPVS, Placement.HELPER, tun)}
    assert due - impossible <= shown
    assert any(cluster.engine is Engine.PROXY for cluster in clusters())
    assert any(len(cluster.directors) == 2 for cluster in clusters())
