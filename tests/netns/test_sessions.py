"""What sessions live through, and what nobody else may do to them: real servers, a real kernel."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from lab.netns import servers
from lab.netns.hosts import CLIENTS, VIRTUAL, Network, address_of, network
from lab.netns.servers import SIZE, Wanted, serving
from lab.netns.strict_client import Session, read

from ftpdirector.nft.transaction import boot_file
from ftpdirector.slices import slices_of
from tests.netns.table import boot, change, cluster_of, count_of, counted, table_of

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(servers.missing()), reason=servers.missing())]

KINDS = ("vsftpd", "pyftpdlib")
NUMBERS = (1, 2)
CLIENT, STRANGER, *_ = CLIENTS[4]
PATIENCE_S = 10.0
NAMES = {"real-vsftpd": "real-1-4", "real-pyftpdlib": "real-2-4"}
"""What a server greets with, and what the cluster file calls it."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    cluster = cluster_of(NUMBERS, (4,))
    ports = {str(one.server.address): one.ports for one in slices_of(cluster, cluster.virtual_servers[0])}
    with network(len(KINDS)) as made:
        wanted = [
            Wanted(
                kind=kind,
                name=f"real-{kind}",
                host=made.servers[number - 1],
                address=address_of(number, 4),
                passive=(ports[address_of(number, 4)].first, ports[address_of(number, 4)].last),
                announced=VIRTUAL[4],
            )
            for number, kind in zip(NUMBERS, KINDS, strict=True)
        ]
        with serving(wanted):
            yield made


def session(hosts: Network, own: str = CLIENT) -> Session:
    return Session(hosts.client, own, VIRTUAL[4])


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def refused(hosts: Network, own: str) -> bool:
    try:
        session(hosts, own).close()
    except ConnectionRefusedError:
        return True
    return False


def waiting_in(data: socket.socket) -> int:
    """Bytes that came and were not read."""
    return int.from_bytes(fcntl.ioctl(data, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("placement", ["slices", "persistence"])
def test_a_drained_server_keeps_its_sessions_and_their_new_transfers(hosts: Network, placement: str) -> None:
    """Under persistence too: a data connection follows the session of its network that spoke last."""
    cluster = cluster_of(NUMBERS, (4,), placement=placement)
    table = boot(hosts.director, table_of(cluster))
    with session(hosts) as held:
        change(hosts.director, table, table_of(cluster, NAMES[held.server]))
        for _ in range(3):
            with session(hosts) as new:
                assert new.server != held.server
                for mode in ("PASV", "PORT"):
                    new.retrieve(mode)
                    held.retrieve(mode)


def test_the_gate_refuses_another_client_and_admits_the_right_one(hosts: Network) -> None:
    boot(hosts.director, table_of(cluster_of(NUMBERS, (4,))))
    with session(hosts) as own, session(hosts) as other:
        assert own.server != other.server
        with session(hosts, STRANGER) as stranger:
            # The stranger has a session with one of them, and no way to the other one's ports.
            attacked = own if stranger.server != own.server else other
            address = attacked.passive("PASV")
            with pytest.raises(ConnectionRefusedError):
                attacked.connect(*address, own=STRANGER)
            assert count_of(hosts.director, "gate") == 1
            with attacked.connect(*address) as data:
                attacked.ask("RETR id.txt", "1")
                assert len(read(data)) == SIZE


def test_a_slice_that_nobody_has_is_refused(hosts: Network) -> None:
    cluster = cluster_of(NUMBERS, (4,))
    boot(hosts.director, table_of(cluster))
    last = cluster.virtual_servers[0].passive_ports.last
    with session(hosts) as own, pytest.raises(ConnectionRefusedError):
        own.connect(VIRTUAL[4], last)


@pytest.mark.parametrize(("limit", "others_too"), [("max_sessions_per_client", False), ("max_sessions", True)])
def test_a_limit_refuses_what_is_above_it_until_a_session_ends(hosts: Network, limit: str, others_too: bool) -> None:
    boot(hosts.director, table_of(cluster_of(NUMBERS, (4,), **{limit: 2})))
    with session(hosts) as first, session(hosts) as second:
        assert refused(hosts, CLIENT)
        assert refused(hosts, STRANGER) == others_too
        assert counted(hosts.director, "refused_v4") == 1 + others_too
        first.retrieve("PASV")  # data connections are no sessions
        second.retrieve("PORT")
        first.ask("QUIT", "2")
        wait_until(lambda: not refused(hosts, CLIENT))


def test_reloads_disturb_neither_a_session_nor_a_transfer(hosts: Network) -> None:
    """Changes small and large, and the whole table made anew: a download that runs, and what the session does next."""
    cluster = cluster_of(NUMBERS, (4,))
    tables = [table_of(cluster), table_of(cluster, "real-1-4"), table_of(cluster_of(NUMBERS, scheduler="mh"))]
    boot(hosts.director, tables[0])
    with session(hosts) as own:
        with own.connect(*own.passive("PASV")) as data:
            data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            own.ask("RETR id.txt", "1")
            got = data.recv(1000)
            assert waiting_in(data) < SIZE - 2_000  # the rest is on its way while the table changes
            for before, after in ((0, 1), (1, 2), (2, 0)):
                change(hosts.director, tables[before], tables[after])
            hosts.director.nft(boot_file(tables[0]))
            assert len(got + read(data)) == SIZE
        own.reply("2")
        for mode in ("PASV", "EPSV", "PORT", "EPRT"):
            own.retrieve(mode)


def test_only_a_client_sees_its_real_servers_connection_come_from_the_virtual_address(hosts: Network) -> None:
    """What else real servers do through the director keeps their own address."""
    boot(hosts.director, table_of(cluster_of((1,), (4,))))
    hosts.client.ip("route add 198.51.100.0/24 via 203.0.113.1\n")
    try:
        assert _seen_from(hosts, CLIENT) == address_of(1, 4)
        with session(hosts):
            assert _seen_from(hosts, CLIENT) == VIRTUAL[4]
            assert _seen_from(hosts, STRANGER) == address_of(1, 4)
    finally:
        hosts.client.ip("route del 198.51.100.0/24\n")


def _seen_from(hosts: Network, own: str) -> str:
    with contextlib.ExitStack() as opened:
        with hosts.client.inside():
            listener = opened.enter_context(socket.create_server((own, 0)))
        listener.settimeout(PATIENCE_S)
        with hosts.servers[0].inside():
            opened.enter_context(socket.create_connection((own, listener.getsockname()[1]), PATIENCE_S))
        data, peer = listener.accept()
        opened.enter_context(data)
        return str(peer[0])


@pytest.mark.parametrize("speaks", ["client", "server"])
def test_packets_without_state_reset_nobody(hosts: Network, speaks: str) -> None:
    """The director forgets its connections, as after a failover: what comes then is dropped both ways, and counted."""
    boot(hosts.director, table_of(cluster_of((1,), (4,), port=2100, real_port=2100)))
    with contextlib.ExitStack() as opened:
        with hosts.servers[0].inside():
            listener = opened.enter_context(socket.create_server((address_of(1, 4), 2100)))
        listener.settimeout(PATIENCE_S)
        with hosts.client.inside():
            client = opened.enter_context(socket.create_connection((VIRTUAL[4], 2100), PATIENCE_S))
        server = opened.enter_context(listener.accept()[0])
        hosts.director.run("conntrack", "-F")
        (client if speaks == "client" else server).send(b"x")
        wait_until(lambda: count_of(hosts.director, "strays") > 1)  # the packet, and at least one more attempt
        for end in (client, server):
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(1)


def test_the_client_that_is_gone_for_long_is_let_in_by_its_next_command(hosts: Network) -> None:
    """The set forgets who was silent; the very command that announces a data connection renews it."""
    boot(hosts.director, table_of(cluster_of(NUMBERS, (4,))))
    with session(hosts) as own:
        hosts.director.nft("flush set inet ftpdirector admitted_v4\n")
        for mode in ("PASV", "PORT"):
            own.retrieve(mode)
            hosts.director.nft("flush set inet ftpdirector admitted_v4\n")


def test_a_client_that_never_answers_is_not_admitted(hosts: Network) -> None:
    """A SYN, and another one, may come from anyone's address: the server's answer does not reach the client here."""
    boot(hosts.director, table_of(cluster_of(NUMBERS, (4,))))
    hosts.client.nft(
        "table ip deaf { \n counter sent {}\n"
        "chain input { type filter hook input priority 0; ip saddr 192.0.2.10 drop; }\n"
        "chain output { type filter hook output priority 0; tcp flags syn counter name sent; }\n}\n"
    )
    try:
        with hosts.client.inside(), socket.socket() as client:
            client.bind((STRANGER, 0))  # last words of an earlier test's session come from another address
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect((VIRTUAL[4], 21))
            wait_until(lambda: "packets 2" in hosts.client.run("nft", "list", "counter", "ip", "deaf", "sent").stdout)
        text = hosts.director.run("nft", "list", "set", "inet", "ftpdirector", "admitted_v4").stdout
        assert STRANGER not in text
    finally:
        hosts.client.nft("delete table ip deaf\n")


@pytest.mark.parametrize("placement", ["slices", "persistence"])
def test_two_ports_of_one_service_share_their_passive_range(hosts: Network, placement: str) -> None:
    """Sessions by either port, of the same client, and data connections that belong to the right one of them."""
    cluster = cluster_of(NUMBERS, (4,), placement=placement)
    [first] = cluster.virtual_servers
    # The second port leads to the same servers: only slices may map a port to another.
    second = replace(first, name="second", port=2121)
    boot(hosts.director, table_of(replace(cluster, virtual_servers=(first, second))))
    with session(hosts) as one, Session(hosts.client, CLIENT, VIRTUAL[4], second.port) as other:
        assert placement == "slices" or one.server == other.server
        for mode in ("PASV", "PORT", "EPSV"):
            one.retrieve(mode)
            other.retrieve(mode)
