"""From one table to the next: how little is said, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from hypothesis import given, settings

from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.model import Cluster, Engine, RealServer, VirtualServer
from ftpdirector.nft.objects import Table
from ftpdirector.nft.transaction import transaction
from ftpdirector.state import Override
from ftpdirector.wanted import Wanted, want
from tests.engines.nftables.clusters import wanteds


def table_of(scheduler: str, *, drained: str = "", weights: Mapping[str, int] | None = None) -> Table:
    virtuals = tuple(
        VirtualServer(
            name=f"ftp{number}",
            addresses=(ip_address(f"192.0.2.{number}"),),
            scheduler=scheduler,
            persistence_timeout_s=900.0,
            real_servers=tuple(
                RealServer(
                    name=name,
                    address=ip_address(f"198.51.{number}.{place}"),
                    weight=(weights or {}).get(name, 1) if number == 1 else 1,
                )
                for place, name in enumerate(("alpha", "bravo", "charlie"), 1)
            ),
        )
        for number in (1, 2)
    )
    cluster = Cluster(engine=Engine.NFTABLES, virtual_servers=virtuals)
    return compile_table(want(cluster, {}, {("ftp1", drained): Override.DRAIN} if drained else {}))


def touched(text: str) -> set[str]:
    """Kinds and names: `element schedule_ftp1_v4`; the chain that says which state it is goes and comes each time."""
    names = {f"{words[1]} {words[4]}" for words in map(str.split, text.splitlines())}
    states = {name for name in names if name.startswith("chain state_")}
    assert len(states) == 2
    return names - states


@settings(deadline=None, max_examples=40)
@given(wanteds())
def test_nothing_changed_says_nothing(wanted: Wanted) -> None:
    assert transaction(compile_table(wanted), compile_table(wanted)) == ""


def test_a_verdict_touches_only_the_scheduling_of_its_virtual_server() -> None:
    text = transaction(table_of("wrr"), table_of("wrr", drained="alpha"))
    assert touched(text) == {
        "element schedule_ftp1_v4",
        "element offered_ftp1_v4",
        "element withheld_v4",
        "element drained_v4",
        "chain control_ftp1_v4",  # numgen's number of slots stands in the rule
        "rule control_ftp1_v4",
    }


def test_a_verdict_on_a_hashed_server_touches_elements_alone() -> None:
    text = transaction(table_of("mh"), table_of("mh", drained="alpha"))
    assert touched(text) == {
        "element schedule_ftp1_v4",
        "element offered_ftp1_v4",
        "element withheld_v4",
        "element drained_v4",
    }


def test_a_weight_touches_the_schedule_alone() -> None:
    text = transaction(table_of("wrr"), table_of("wrr", weights={"alpha": 3}))
    assert touched(text) == {"element schedule_ftp1_v4", "chain control_ftp1_v4", "rule control_ftp1_v4"}


@settings(deadline=None, max_examples=40)
@given(wanteds(), wanteds())
def test_dynamic_sets_that_stay_are_never_touched(one: Wanted, other: Wanted) -> None:
    before, after = compile_table(one), compile_table(other)
    stay = {each.name for each in before.sets if each.is_dynamic} & {each.name for each in after.sets}
    assert {"admitted_v4", "admitted_v6", "clients_v4", "clients_v6"} <= stay
    words = [line.split() for line in transaction(before, after).splitlines()]
    assert not [line for line in words if line[1] in ("set", "map", "element") and line[4] in stay]
