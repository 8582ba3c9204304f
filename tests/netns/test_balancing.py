"""Who gets a new client, and who keeps one: the table in a real kernel, before servers that only greet."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from lab.netns.greeters import greeting, who
from lab.netns.hosts import CLIENTS, VIRTUAL, Network, address_of, missing, network

from ftpdirector.model import Cluster
from tests.netns.table import boot, change, cluster_of, count_of, listed, table_of

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=missing())]

NUMBERS = (1, 2, 3)
CLIENT = CLIENTS[4][0]


def name_of(number: int, version: int = 4) -> str:
    return f"real-{number}-{version}"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    with network(len(NUMBERS)) as made:
        ends = {
            name_of(number, version): (made.servers[number - 1], address_of(number, version), 21)
            for number in NUMBERS
            for version in (4, 6)
        }
        made.client.ip("route add local 203.0.113.128/25 dev lo\n")  # clients by the hundred, one rule for them all
        with greeting(ends):
            yield made


def many_clients(count: int) -> list[str]:
    return [f"203.0.113.{128 + number}" for number in range(count)]


def chosen(hosts: Network, count: int, version: int = 4) -> list[str]:
    return [who(hosts.client, CLIENTS[version][0], VIRTUAL[version]) for _ in range(count)]


@pytest.mark.parametrize("version", [4, 6])
def test_rr_gives_each_in_turn(hosts: Network, version: int) -> None:
    boot(hosts.director, table_of(cluster_of(NUMBERS)))
    turns = chosen(hosts, 9, version)
    assert sorted(turns[:3]) == [name_of(number, version) for number in NUMBERS]
    assert turns == turns[:3] * 3


def test_wrr_keeps_its_weights_within_two_percent_and_sends_no_bursts(hosts: Network) -> None:
    weights = {1: 5, 2: 3, 3: 1}
    boot(hosts.director, table_of(cluster_of(NUMBERS, scheduler="wrr", weights=weights)))
    turns = chosen(hosts, 1_800)
    for number, weight in weights.items():
        assert turns.count(name_of(number)) / len(turns) == pytest.approx(weight / 9, rel=0.02)
    longest = max(len(list(run)) for _, run in itertools.groupby(turns))
    assert longest == 2  # 5 of 9 cannot do with fewer


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_a_hashed_client_keeps_its_server_and_moves_only_when_that_one_goes(hosts: Network, scheduler: str) -> None:
    cluster = cluster_of(NUMBERS, scheduler=scheduler)
    table = boot(hosts.director, table_of(cluster))
    before = {client: who(hosts.client, client, VIRTUAL[4]) for client in many_clients(120)}
    assert before == {client: who(hosts.client, client, VIRTUAL[4]) for client in before}
    shares = Counter(before.values())
    assert set(shares) == {name_of(number) for number in NUMBERS}
    assert min(shares.values()) >= 20
    change(hosts.director, table, table_of(cluster, name_of(2)))
    after = {client: who(hosts.client, client, VIRTUAL[4]) for client in before}
    assert {client for client in before if before[client] != after[client]} == {
        client for client, name in before.items() if name == name_of(2)
    }


@pytest.mark.parametrize("version", [4, 6])
def test_a_client_network_keeps_its_server_over_reloads(hosts: Network, version: int) -> None:
    def cluster(**more: object) -> Cluster:
        return cluster_of(
            NUMBERS,
            scheduler="wrr",
            persistence_timeout="1h",
            persistence_granularity=29 if version == 4 else 125,
            **more,
        )

    table = boot(hosts.director, table_of(cluster()))
    first, *others = CLIENTS[version]
    kept = who(hosts.client, first, VIRTUAL[version])
    assert {who(hosts.client, one, VIRTUAL[version]) for one in others} == {kept}
    for weights in ({1: 2, 2: 3, 3: 4}, {1: 7}, {}):
        table = change(hosts.director, table, table_of(cluster(weights=weights)))
        assert {who(hosts.client, first, VIRTUAL[version]) for _ in range(4)} == {kept}
    change(hosts.director, table, table_of(cluster(), kept))
    moved = {who(hosts.client, first, VIRTUAL[version]) for _ in range(4)}
    assert len(moved) == 1
    assert moved != {kept}


def test_no_server_left_resets_the_client_and_counts_it(hosts: Network) -> None:
    table = boot(hosts.director, table_of(cluster_of(NUMBERS), *(name_of(number) for number in NUMBERS)))
    assert chosen(hosts, 3) == ["", "", ""]
    assert count_of(hosts.director, "unserved") == 3
    change(hosts.director, table, table_of(cluster_of(NUMBERS)))
    assert "" not in chosen(hosts, 3)


def test_a_change_of_anything_leaves_what_a_boot_would_make(hosts: Network) -> None:
    """Whatever the way, the kernel has the same table: rules, sets and elements."""
    tables = [
        table_of(cluster_of(NUMBERS)),
        table_of(cluster_of(NUMBERS), name_of(1)),
        table_of(cluster_of((2, 3), scheduler="mh", placement="helper")),
        table_of(cluster_of(NUMBERS, (4,), scheduler="wrr", weights={1: 9}, placement="persistence")),
        table_of(cluster_of((1,), (6,), forwarding="fullnat", port=2121, max_sessions_per_client=0)),
        table_of(cluster_of(NUMBERS, slices=9, passive_ports="20000-30000", persistence_timeout="10m")),
    ]

    due = []
    for table in tables:
        boot(hosts.director, table)
        due.append(listed(hosts.director))
    every_pair = [each for low, high in itertools.combinations(range(len(tables)), 2) for each in (low, high, low)]
    now = len(tables) - 1
    for new in every_pair:
        change(hosts.director, tables[now], tables[new])
        assert listed(hosts.director) == due[new], (now, new)
        now = new


@pytest.mark.slow
def test_wrr_keeps_its_weights_over_twenty_thousand_connections(hosts: Network) -> None:
    boot(hosts.director, table_of(cluster_of(NUMBERS, scheduler="wrr", weights={1: 4, 2: 2, 3: 1})))
    shares = Counter(chosen(hosts, 20_000))
    for number, weight in {1: 4, 2: 2, 3: 1}.items():
        assert shares[name_of(number)] / 20_000 == pytest.approx(weight / 7, rel=0.02)
