"""Passive ports before real neighbours: who shares a client's address steals by chance alone, who does not, never."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Iterator

import pytest

from ftpdirector.model import PortRange
from tests.loopback.dying_server import dying_server
from tests.loopback.running_proxy import FtpClient, RunningProxy, director, read_all, virtual_server

RANGE = PortRange(10000, 19999)
TRIES = 300
FILE = b"the victim's file" * 100


@pytest.fixture
def proxy() -> Iterator[RunningProxy]:
    with dying_server() as server:
        server.part = FILE
        front = virtual_server([("alpha", server.endpoint)], passive_ports=RANGE, max_sessions_per_client=0)
        with director(front) as proxy:
            yield proxy


def connection(port: int, source: str = "127.0.0.1") -> socket.socket | None:
    with contextlib.suppress(OSError):
        return socket.create_connection(("127.0.0.1", port), 5, (source, 0))
    return None


def steals(ports: list[int]) -> list[socket.socket]:
    """Connections to those of these ports that took one and kept it."""
    socks = [sock for port in ports if (sock := connection(port)) is not None]
    kept = []
    for sock in socks:
        sock.settimeout(0.05)
        try:
            sock.recv(1)
        except TimeoutError:
            kept.append(sock)
            continue
        except OSError:
            pass
        sock.close()
    return kept


def test_neighbour_behind_the_same_address_holds_the_port_by_chance_alone(proxy: RunningProxy) -> None:
    """Its 4 guesses a try are what it can learn: the port it had last, the one beside it, and those it had 128 ago.

    300 tries are right 0.12 times by chance; 3 times and more with a probability of 0.0003.
    """
    stolen = 0
    with FtpClient(proxy.address).login() as neighbour, FtpClient(proxy.address).login() as victim:
        own: deque[int] = deque((neighbour.passive_port() for _ in range(130)), maxlen=130)
        for _ in range(TRIES):
            port = victim.passive_port()  # the victim's own connection is a round trip away
            thieves = steals([own[-2], own[-1] + 1, own[2], own[3]])  # own[-1] is still its own
            stolen += len(thieves)
            for thief in thieves:
                thief.close()
            assert port in RANGE
            own.append(neighbour.passive_port())
    assert stolen <= 2


def test_stranger_who_knows_the_port_gets_nothing_and_takes_nothing(proxy: RunningProxy) -> None:
    with FtpClient(proxy.address).login() as victim:
        for _ in range(20):
            port = victim.passive_port()
            stranger = connection(port, "127.0.0.2")
            with connection(port) or pytest.fail("the victim cannot connect") as data:
                victim.say("RETR file.bin")
                assert read_all(data) == FILE
                assert [victim.reply()[:3], victim.reply()[:3]] == ["150", "226"]
            if stranger is not None:
                with stranger, pytest.raises(ConnectionResetError):
                    read_all(stranger)


def test_eight_ports_serve_many_clients_at_once() -> None:
    """64 addresses have a port announced at the same time, then connect in the opposite order."""
    with dying_server() as server:
        server.part = FILE
        narrow = PortRange(22700, 22707)
        front = virtual_server([("alpha", server.endpoint)], passive_ports=narrow, max_sessions_per_client=0)
        with director(front) as proxy, contextlib.ExitStack() as stack:
            clients = [f"127.0.3.{number}" for number in range(1, 65)]
            lines = {client: stack.enter_context(FtpClient(proxy.address, client)).login() for client in clients}
            ports = {client: line.passive_port() for client, line in lines.items()}
            assert set(ports.values()) <= set(range(22700, 22708))
            data = {client: stack.enter_context(_must(connection(ports[client], client))) for client in clients[::-1]}
            for client, line in lines.items():
                line.say("RETR file.bin")
                assert read_all(data[client]) == FILE
                assert [line.reply()[:3], line.reply()[:3]] == ["150", "226"]


def test_one_client_has_eight_transfers_at_once_on_eight_ports() -> None:
    with dying_server() as server:
        narrow = PortRange(22710, 22717)
        front = virtual_server([("alpha", server.endpoint)], passive_ports=narrow, max_sessions_per_client=0)
        with director(front) as proxy, contextlib.ExitStack() as stack:
            lines = [stack.enter_context(FtpClient(proxy.address)).login() for _ in range(9)]
            ports = {line.passive_port() for line in lines[:8]}
            assert ports == set(range(22710, 22718))
            assert lines[8].ask("EPSV").startswith("425")


def _must(sock: socket.socket | None) -> socket.socket:
    assert sock is not None
    return sock
