"""What the kernel tracks -> counts, and counts -> who gets the next sessions."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ftpdirector.engines.nftables.connections import count_open
from ftpdirector.engines.nftables.shares import expected, shares
from ftpdirector.model import Cluster, Engine, RealServer, VirtualServer

CLUSTER = Cluster(
    engine=Engine.NFTABLES,
    virtual_servers=(
        VirtualServer(
            name="ftp",
            addresses=(ip_address("192.0.2.10"), ip_address("2001:db8:2::10")),
            real_servers=(
                RealServer(name="alpha", address=ip_address("198.51.100.11")),
                RealServer(name="bravo", address=ip_address("2001:db8:3::12")),
            ),
        ),
    ),
)


def line(state: str, there: str, back: str, *, acct: str = "") -> str:
    """As conntrack prints it: source, destination and ports each way."""
    tuples = ["src={} dst={} sport={} dport={} {}".format(*words.split(), acct) for words in (there, back)]
    return f"tcp      6 431999 {state} {tuples[0]}{tuples[1]}[ASSURED] mark=2145421104 use=1\n"


CONTROL = ("203.0.113.11 192.0.2.10 40000 21", "198.51.100.11 203.0.113.11 21 40000")
PASSIVE = ("203.0.113.11 192.0.2.10 40001 10001", "198.51.100.11 203.0.113.11 10001 40001")
ACTIVE = ("198.51.100.11 203.0.113.11 20 40002", "203.0.113.11 192.0.2.10 40002 20")
CONTROL_6 = ("2001:db8:1::11 2001:db8:2::10 40000 21", "2001:db8:3::12 2001:db8:1::11 21 40000")
OTHER = ("203.0.113.11 192.0.2.99 40000 21", "192.0.2.99 203.0.113.11 21 40000")


@pytest.mark.parametrize("acct", ["", "packets=5 bytes=300 "])
def test_sessions_and_transfers_by_real_server(acct: str) -> None:
    text = "".join(line("ESTABLISHED", *one, acct=acct) for one in (CONTROL, PASSIVE, ACTIVE, CONTROL_6, OTHER))
    found = count_open(text, CLUSTER)
    assert found.control == {("ftp", "alpha"): 1, ("ftp", "bravo"): 1}
    assert found.data == {("ftp", "alpha"): 2}


@pytest.mark.parametrize(
    ("state", "count"),
    [("SYN_SENT", 0), ("SYN_RECV", 1), ("ESTABLISHED", 1), ("FIN_WAIT", 1), ("CLOSE_WAIT", 1), ("LAST_ACK", 0),
     ("TIME_WAIT", 0), ("CLOSE", 0)],
)  # fmt: skip
def test_a_connection_is_open_from_its_answer_until_both_have_closed(state: str, count: int) -> None:
    assert sum(count_open(line(state, *CONTROL), CLUSTER).control.values()) == count


@pytest.mark.parametrize(
    ("weights", "sessions", "coming", "dealt"),
    [
        ((1, 1), (0, 0), 8, (4, 4)),
        ((2, 1), (0, 0), 9, (6, 3)),
        ((1, 1), (10, 0), 8, (0, 8)),
        ((1, 1), (10, 4), 8, (1, 7)),
        ((1, 0), (10, 0), 8, (8, 0)),
        ((0, 0), (1, 1), 8, (0, 0)),
    ],
)
def test_the_next_sessions_are_dealt_to_the_least_loaded(
    weights: tuple[int, ...], sessions: tuple[int, ...], coming: int, dealt: tuple[int, ...]
) -> None:
    assert shares(weights, sessions, coming) == dealt


def test_it_plans_for_as_many_as_came() -> None:
    assert expected((), 3) == 12
    assert expected((5, 100, 7), 3) == 100
    assert expected((9_999,), 3) == 512
