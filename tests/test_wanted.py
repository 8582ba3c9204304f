"""File, verdicts and the operator's word -> what is offered."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ftpdirector.model import Cluster, RealServer, VirtualServer
from ftpdirector.state import Health, Override, Verdict
from ftpdirector.wanted import Offer, taking, want

KEY = ("ftp", "alpha")
ALPHA = RealServer(name="alpha", address=ip_address("198.51.100.11"), weight=7)
NOTICE = RealServer(name="notice", address=ip_address("198.51.100.19"), sorry=True)
CLUSTER = Cluster(
    virtual_servers=(
        VirtualServer(
            name="ftp",
            addresses=(ip_address("192.0.2.10"),),
            real_servers=(ALPHA,),
        ),
    )
)


@pytest.mark.parametrize(
    ("health", "override", "weight"),
    [
        (Health.UNKNOWN, Override.NONE, 7),
        (Health.UP, Override.NONE, 7),
        (Health.FULL, Override.NONE, 0),
        (Health.DOWN, Override.NONE, 0),
        (Health.UP, Override.DRAIN, 0),
        (Health.UNKNOWN, Override.DRAIN, 0),
    ],
)
def test_only_who_is_not_down_full_or_drained_is_offered(health: Health, override: Override, weight: int) -> None:
    wanted = want(CLUSTER, {KEY: Verdict(health=health)}, {KEY: override})
    assert wanted.offers[KEY].weight == weight


@pytest.mark.parametrize(
    ("offered", "counts"),
    [((7, 1), [7, 0]), ((0, 1), [0, 1]), ((7, 0), [7, 0]), ((0, 0), [0, 0])],
)
def test_the_sorry_server_counts_while_no_other_one_does(offered: tuple[int, int], counts: list[int]) -> None:
    offers = [Offer(weight) for weight in offered]
    assert [one.weight for one in taking((ALPHA, NOTICE), offers)] == counts
