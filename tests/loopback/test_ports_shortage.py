"""The installed director without descriptors, without ephemeral ports, and before whole IPv6 networks of one client."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.directors import Director, cluster_file, director
from tests.loopback.running_proxy import FtpClient, quiet_port, reset, wanted_of
from tests.loopback.running_proxy import director as engine
from tests.loopback.test_ports_openings import HERE, QUICK, Door, causes, door, front, says

pytestmark = pytest.mark.long

GREETS = says(b"220 ready\r\n")
LIMITS = "max_sessions_per_client = 0\n"


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def leave_free(pid: int, number: int) -> None:
    """Let a process open so many descriptors more than it has."""
    highest = max(int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir())
    limit_descriptors(pid, highest + 1 + number)


def limit_descriptors(pid: int, below: int) -> int:
    """Set the limit for new descriptors, as the user that the process is: a worker is not root. What it was."""
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines_of(pid, "status"))}
    (was,) = (int(line.split()[3]) for line in lines_of(pid, "limits") if line.startswith("Max open files"))
    command = ["prlimit", f"--pid={pid}", f"--nofile={below}:"]
    if os.geteuid() == 0:
        user, group = int(fields["Uid"][0]), int(fields["Gid"][0])
        subprocess.run(command, user=user, group=group, extra_groups=[], check=True, timeout=10)
    else:
        subprocess.run(command, check=True, timeout=10)
    return was


def lines_of(pid: int, name: str) -> list[str]:
    return Path(f"/proc/{pid}/{name}").read_text().splitlines()


class Short:
    """A director with one worker that is soon out of descriptors."""

    def __init__(self, it: Director, port: int, only: Door) -> None:
        self.it = it
        self.address = ("127.0.0.1", port)
        self.only = only
        (self.worker,) = it.workers()

    def virtual(self) -> dict[str, object]:
        return self.it.status()["virtual_servers"][0]

    def sessions(self) -> int:
        return int(str(self.virtual()["sessions"]))

    def greeting(self, wait_s: float) -> str:
        with socket.create_connection(self.address, 5) as sock:
            sock.settimeout(wait_s)
            return sock.recv(200).decode()


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Short]:
    with door(GREETS) as only:
        port = quiet_port()
        file = cluster_file(tmp_path / "c.toml", [("alpha", str(HERE), only.endpoint.port)], port=port, virtual=LIMITS)
        with director(file) as it:
            short = Short(it, port, only)
            it.until(lambda: it.real_server("alpha")["verdict"]["health"] == "up", "up")
            yield short
            assert not [event for event in it.events if event.get("event") == "bug"]


def test_after_a_flood_of_abandoned_connections_a_live_client_is_greeted(short: Short) -> None:
    leave_free(short.worker, 23)
    for _ in range(1500):
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(short.address)
    assert short.greeting(wait_s=2).startswith("220")
    short.it.until(lambda: short.sessions() == 0, "a session is counted for ever")
    assert short.it.real_server("alpha")["verdict"]["health"] == "up"


def test_without_descriptors_clients_are_told_and_nothing_leaks(short: Short) -> None:
    """Three floods of clients that stay; in each, who gets no session is told 421 at once, and all is as before."""
    before = descriptors(short.worker)
    leave_free(short.worker, 40)
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(short.address, 5)) for _ in range(150)]
            greetings = []
            for sock in clients:
                sock.settimeout(5)
                greetings.append(sock.recv(200)[:4])
            assert greetings.count(b"220 ") >= 15
            assert greetings.count(b"421 ") == 150 - greetings.count(b"220 ")
            assert short.greeting(wait_s=2).startswith("421")
            for sock in clients:
                sock.close()
        short.it.until(lambda: short.sessions() == 0, "a session is counted for ever")
        short.it.until(lambda: descriptors(short.worker) <= before + 1, "a descriptor is left")
        assert short.greeting(wait_s=2).startswith("220")
    alpha = short.it.real_server("alpha")
    assert alpha["verdict"]["health"] == "up"
    assert not [event for event in short.it.events if event.get("event") == "real_server_refused_session"]
    refused = short.virtual()["refused_total"]
    assert isinstance(refused, dict)
    assert refused.keys() == {"shortage"}
    assert refused["shortage"] >= 300
    told = [event for event in short.it.events if event.get("event") == "no_descriptor_left"]
    assert len(told) == 1, "said, but not for every client"


def test_listener_toward_the_real_server_does_not_turn_in_circles(tmp_path: Path) -> None:
    """data_to_server = "active": the real server connects while no descriptor is left, and is taken later."""
    connect_now, connected = threading.Event(), threading.Event()

    def talks(sock: socket.socket) -> None:
        sock.sendall(b"220 ready\r\n")
        data: list[socket.socket] = []
        with sock.makefile("rb") as lines, contextlib.ExitStack() as stack:
            for line in lines:
                verb, _, argument = line.decode().strip().partition(" ")
                match verb:
                    case "USER":
                        sock.sendall(b"331 word?\r\n")
                    case "PASS":
                        sock.sendall(b"230 in\r\n")
                    case "PORT":
                        sock.sendall(b"200 there\r\n")
                        *_, high, low = (int(part) for part in argument.split(","))
                        assert connect_now.wait(20)
                        data.append(stack.enter_context(socket.create_connection((str(HERE), high * 256 + low), 5)))
                        connected.set()
                    case "RETR":
                        sock.sendall(b"150 here\r\n")
                        data[-1].sendall(b"whole")
                        data[-1].close()
                        sock.sendall(b"226 done\r\n")
                    case _:
                        sock.sendall(b"200 fine\r\n")

    with door(talks) as only:
        port = quiet_port()
        virtual = f'{LIMITS}data_to_server = "active"\npassive_ports = "23000-23999"'
        file = cluster_file(tmp_path / "c.toml", [("alpha", str(HERE), only.endpoint.port)], port=port, virtual=virtual)
        with director(file) as it, FtpClient(("127.0.0.1", port)).login() as line:
            (worker,) = it.workers()
            with line.passive() as data:
                time.sleep(0.2)  # the worker takes the client's connection
                was = limit_descriptors(worker, free_below(worker))
                connect_now.set()
                assert connected.wait(10)
                time.sleep(0.2)
                cpu, begun_s = cpu_s(worker), time.monotonic()
                time.sleep(1)
                assert (cpu_s(worker) - cpu) / (time.monotonic() - begun_s) < 0.15
                limit_descriptors(worker, was)
                line.say("RETR f")
                data.settimeout(10)
                assert data.recv(100) == b"whole"
            assert [line.reply()[:3], line.reply()[:3]] == ["150", "226"]


def free_below(pid: int) -> int:
    """The lowest number that no descriptor has."""
    taken = {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(1 << 16) if number not in taken)


def in_a_network_of_its_own(function: str, *commands: str) -> None:
    """Run a function of this module where loopback is its own, so that its settings may be changed."""
    if os.geteuid():
        pytest.skip("needs root")
    code = f"from tests.loopback.test_ports_shortage import {function}; {function}()"
    script = " && ".join(("ip link set lo up", *commands, 'exec "$@"'))
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_clients_that_come_and_go_use_up_no_ephemeral_ports() -> None:
    in_a_network_of_its_own("come_and_go", "echo 30000 30199 >/proc/sys/net/ipv4/ip_local_port_range")


def come_and_go() -> None:
    """1,000 sessions of one client, one at a time, by reset, by FIN and by QUIT, with 200 ephemeral ports."""

    def talks(sock: socket.socket) -> None:
        sock.sendall(b"220 ready\r\n")
        if b"QUIT" in sock.recv(100):
            sock.sendall(b"221 bye\r\n")
            sock.close()

    with door(talks) as only, engine(front(only), timing=QUICK) as proxy:
        for number in range(1000):
            line = FtpClient(proxy.address, f"127.0.{1 + number // 200}.1")
            assert line.reply() == "220 ready", number
            if number % 3 == 2:
                assert line.ask("QUIT").startswith("221")
            if number % 3 == 0:
                reset(line.sock)
            else:
                line.sock.close()
        proxy.no_sessions()
        assert proxy.failures == []


def test_no_ephemeral_port_is_no_failure_of_a_real_server() -> None:
    in_a_network_of_its_own("no_port_left", "echo 30000 30003 >/proc/sys/net/ipv4/ip_local_port_range")


def no_port_left() -> None:
    with door(GREETS) as only, engine(front(only), timing=QUICK) as proxy, contextlib.ExitStack() as stack:
        greetings = []
        for number in range(8):
            line = stack.enter_context(FtpClient(proxy.address, f"127.0.0.{number + 2}"))
            greetings.append(line.reply()[:3])
        assert greetings.count("220") >= 1
        assert greetings[-1] == "421"
        assert proxy.failures == []
        assert set(causes(proxy, "d0")) == {"shortage"}
        lines = [event for _, event, _ in proxy.log.lines if event == "no_connection_from_this_host"]
        assert 1 <= len(lines) <= 4


def test_an_ipv6_network_is_one_client() -> None:
    addresses = [f"ip addr add 2001:db8:9::{number:x}/128 dev lo nodad" for number in range(1, 21)]
    addresses += [f"ip addr add 2001:db8:a::{number:x}/128 dev lo nodad" for number in range(1, 3)]
    in_a_network_of_its_own("one_network", *addresses)


def one_network() -> None:
    with door(GREETS) as only:
        server = front(only, addresses=(ip_address("::1"),), max_sessions_per_client=3)
        with engine(server, timing=QUICK) as proxy, contextlib.ExitStack() as stack:

            def greeting(source: str) -> str:
                return stack.enter_context(FtpClient(proxy.address, source)).reply()[:3]

            assert [greeting(f"2001:db8:9::{number:x}") for number in range(1, 11)] == ["220"] * 3 + ["421"] * 7
            assert greeting("2001:db8:a::1") == "220", "another network"
            finer = replace(server, client_prefix_ipv6=128)
            proxy.do(lambda: proxy.engine.apply(wanted_of(finer)))
            assert greeting("2001:db8:9::b") == "220", "each address is a client now"
            stack.close()
            proxy.no_sessions()
            proxy.do(lambda: proxy.engine.apply(wanted_of(server)))
            assert [greeting(f"2001:db8:9::{number:x}") for number in range(1, 5)] == ["220"] * 3 + ["421"]
