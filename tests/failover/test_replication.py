"""UDP sockets -> which programs replicate connections to the other director."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ftpdirector.config.decode import load
from ftpdirector.failover.replication import replication_of
from ftpdirector.host.addresses import udp_ports
from ftpdirector.model import Engine, ForwardingMethod

PAIR = load(Path(__file__).parents[2] / "examples" / "ipvs-pair.toml").cluster


@pytest.mark.parametrize(
    ("sockets", "sync", "conntrackd"),
    [
        ({(40_000, 8848), (3780, 0)}, "sends", "runs"),
        ({(8848, 0), (3780, 3780)}, "receives", "runs"),
        ({(53, 0)}, "does not run", "does not run"),
    ],
)
def test_a_pair_says_what_runs(sockets: set[tuple[int, int]], sync: str, conntrackd: str) -> None:
    assert replication_of(PAIR, sockets) == {"IPVS sync daemon": sync, "conntrackd": conntrackd}
    assert replication_of(replace(PAIR, engine=Engine.NFTABLES), sockets) == {"conntrackd": conntrackd}


def test_a_program_with_nothing_to_replicate_is_not_named() -> None:
    direct = tuple(replace(one, forwarding=ForwardingMethod.DR) for one in PAIR.virtual_servers)
    assert set(replication_of(replace(PAIR, virtual_servers=direct), ())) == {"IPVS sync daemon"}
    assert replication_of(replace(PAIR, directors=PAIR.directors[:1]), ()) == {}
    assert replication_of(replace(PAIR, engine=Engine.PROXY), ()) == {}


@pytest.mark.parametrize(("family", "here"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_sockets_of_this_host_are_found(family: socket.AddressFamily, here: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as bound, socket.socket(family, socket.SOCK_DGRAM) as connected:
        bound.bind((here, 0))
        connected.connect(bound.getsockname())
        own, other = bound.getsockname()[1], connected.getsockname()[1]
        assert {(own, 0), (other, own)} <= udp_ports()
