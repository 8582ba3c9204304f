"""Offers, thresholds, persistence and scheduler together."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from ftpdirector.model import PROXY_SCHEDULERS, RealServer, VirtualServer
from ftpdirector.scheduling.pool import Pool
from ftpdirector.wanted import Offer

CLIENT, OTHER = ip_address("203.0.113.5"), ip_address("203.0.113.6")
ALL = {"alpha": Offer(1), "bravo": Offer(1)}


def virtual(**values: Any) -> VirtualServer:
    made: dict[str, Any] = {
        "name": "ftp", "addresses": (ip_address("192.0.2.10"),), "scheduler": "rr",
        "real_servers": (
            RealServer(name="alpha", address=ip_address("198.51.100.11"), max_sessions=2),
            RealServer(name="bravo", address=ip_address("198.51.100.12")),
        ),
    }  # fmt: skip
    return VirtualServer(**(made | values))


def name(server: RealServer | None) -> str | None:
    return server.name if server else None


def test_who_is_full_excluded_or_not_offered_gets_nobody() -> None:
    pool = Pool(virtual())
    assert {name(pool.pick(CLIENT, 0, {"alpha": 2}, ALL)) for _ in range(3)} == {"bravo"}
    assert {name(pool.pick(CLIENT, 0, {}, ALL, frozenset({"bravo"}))) for _ in range(3)} == {"alpha"}
    assert {name(pool.pick(CLIENT, 0, {}, ALL | {"alpha": Offer(0)})) for _ in range(3)} == {"bravo"}
    assert pool.pick(CLIENT, 0, {"alpha": 2}, ALL, frozenset({"bravo"})) is None


def test_persistence_beats_the_scheduler_while_its_server_may_take_it() -> None:
    pool = Pool(virtual(persistence_timeout_s=60.0))
    first = name(pool.pick(CLIENT, 0, {}, ALL))
    assert {name(pool.pick(CLIENT, 1, {}, ALL)) for _ in range(4)} == {first}
    assert name(pool.pick(CLIENT, 2, {}, ALL | {"alpha": Offer(0)})) == "bravo"
    assert name(pool.pick(CLIENT, 3, {}, ALL)) == "bravo", "the new one is kept"


def test_the_sorry_server_gets_everybody_while_nobody_else_takes_any_and_gives_them_back() -> None:
    notice = RealServer(name="notice", address=ip_address("198.51.100.19"), sorry=True)
    for scheduler in PROXY_SCHEDULERS:
        servers = (notice, *virtual().real_servers)
        pool = Pool(virtual(scheduler=scheduler, persistence_timeout_s=60.0, real_servers=servers))
        offers = ALL | {"notice": Offer(1)}
        assert name(pool.pick(CLIENT, 0, {}, offers)) in ALL
        assert name(pool.pick(OTHER, 0, {"alpha": 2}, offers, frozenset({"bravo"}))) == "notice"
        down = dict.fromkeys(ALL, Offer(0)) | {"notice": Offer(1)}
        assert {name(pool.pick(CLIENT, 1, {}, down)) for _ in range(4)} == {"notice"}
        assert name(pool.pick(CLIENT, 2, {}, offers)) in ALL, "persistence does not keep a client with it"
        assert pool.pick(CLIENT, 3, {}, down | {"notice": Offer(0)}) is None


def test_a_reload_keeps_templates_and_turns() -> None:
    pool = Pool(virtual(persistence_timeout_s=60.0))
    first = name(pool.pick(CLIENT, 0, {}, ALL))
    pool.follow(virtual(persistence_timeout_s=60.0, idle_timeout_s=5.0))
    assert {name(pool.pick(CLIENT, 1, {}, ALL)) for _ in range(4)} == {first}
    assert name(pool.pick(OTHER, 1, {}, ALL)) != first, "it is the other one's turn"


def test_a_reload_without_a_server_forgets_its_templates() -> None:
    pool = Pool(virtual(persistence_timeout_s=60.0))
    assert name(pool.pick(CLIENT, 0, {}, ALL)) == "alpha"
    pool.follow(replace(virtual(persistence_timeout_s=60.0), real_servers=virtual().real_servers[1:]))
    assert name(pool.pick(CLIENT, 1, {}, ALL)) == "bravo"


def test_hashes_go_by_the_network_that_persistence_goes_by() -> None:
    pool = Pool(virtual(scheduler="sh", persistence_granularity_v4=24))
    near = {name(pool.pick(ip_address(f"203.0.113.{number}"), 0, {}, ALL)) for number in range(64)}
    assert len(near) == 1
