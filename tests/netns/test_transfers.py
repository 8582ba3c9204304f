"""Every mode through the kernel, to every kind of real server, by a strict client that knows no way to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from lab.netns import servers
from lab.netns.hosts import CLIENTS, PASSIVE, VIRTUAL, Network, address_of, network
from lab.netns.servers import Wanted, serving
from lab.netns.strict_client import RefusedError, Session
from lab.realservers import KINDS

from ftpdirector.slices import slices_of
from tests.netns.table import boot, cluster_of, table_of

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(servers.missing()), reason=servers.missing())]

NUMBERS = range(1, len(KINDS) + 1)
MODES = {4: ("PASV", "EPSV", "PORT", "EPRT"), 6: ("EPSV", "EPRT")}


def wanted_of(hosts: Network, placement: str) -> list[Wanted]:
    """Each kind once a family, set up for the placement."""
    cluster = cluster_of(NUMBERS, placement=placement)
    [virtual] = cluster.virtual_servers
    ports = {str(one.server.address): (one.ports.first, one.ports.last) for one in slices_of(cluster, virtual)}
    return [
        Wanted(
            kind=kind,
            name=f"real-{kind}",
            host=hosts.servers[number - 1],
            address=address_of(number, version),
            passive=ports[address_of(number, version)] if placement == "slices" else PASSIVE,
            announced="" if placement == "helper" or version == 6 else VIRTUAL[4],
        )
        for version in (4, 6)
        for number, kind in zip(NUMBERS, KINDS, strict=True)
    ]


@pytest.fixture(scope="module", params=["slices", "persistence", "helper"])
def placed(request: pytest.FixtureRequest) -> Iterator[tuple[str, Network]]:
    with network(len(KINDS)) as hosts, serving(wanted_of(hosts, request.param)):
        yield request.param, hosts


def why_not(kind: str, placement: str, forwarding: str, mode: str, version: int) -> str:
    """Why a cell cannot work, if it cannot: the reply that a real server gives then."""
    if mode in ("PORT", "EPRT") and forwarding == "fullnat" and placement != "helper":
        return "5"  # a third address, for all that the server knows (RFC 2577 section 3)
    if mode == "EPRT" and version == 6 and placement == "helper" and kind == "pyftpdlib":
        return "501"  # the kernel writes the address in full, and pyftpdlib compares text
    return ""


@pytest.mark.parametrize("forwarding", ["nat", "fullnat"])
def test_every_mode_works_with_every_kind_of_server(placed: tuple[str, Network], forwarding: str) -> None:
    """Four clients in turn, so that every server has each mode; under fullnat real servers have no way to clients."""
    placement, hosts = placed
    boot(hosts.director, table_of(cluster_of(NUMBERS, placement=placement, forwarding=forwarding)))
    hosts.gateway(present=forwarding == "nat")
    failed: dict[tuple[str, str, int], str] = {}
    seen = set()
    try:
        for version, modes in MODES.items():
            for mode, own in itertools.product(modes, CLIENTS[version]):
                with Session(hosts.client, own, VIRTUAL[version]) as session:
                    kind = session.server.removeprefix("real-")
                    seen.add((kind, mode, version))
                    due = why_not(kind, placement, forwarding, mode, version)
                    try:
                        session.retrieve(mode)
                        outcome = "" if kind != "vsftpd" or session.source_port in (0, 20) else "not from port 20"
                    except (RefusedError, OSError) as error:
                        outcome = str(error)
                    if bool(due) != bool(outcome) or not outcome.startswith(due):
                        failed[kind, mode, version] = outcome or "works by now"
    finally:
        hosts.gateway(present=True)
    assert not failed
    assert len(seen) == len(KINDS) * sum(map(len, MODES.values()))
