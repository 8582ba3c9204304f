"""From a client's connection to a real server's greeting: whoever is slow, silent, endless, full or gone."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ftpdirector.engines.proxy.runtime import Timing
from ftpdirector.model import Endpoint, PortRange, RealServer, Timeouts, VirtualServer
from tests.loopback.dying_server import dying_server
from tests.loopback.running_proxy import (
    FtpClient,
    RunningProxy,
    director,
    quiet_port,
    reset,
    virtual_server,
    wanted_of,
    with_server,
)

pytestmark = pytest.mark.long

QUICK = Timing(tick_s=0.05, beside_s=0.3)
HERE = ip_address("127.0.0.1")


@dataclass
class Door:
    """A real server that does what a test says, and notes how each of its connections ended."""

    endpoint: Endpoint
    ends: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    """`fin`, `reset`, or `closed` by the script itself."""
    opened: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@contextlib.contextmanager
def door(script: Callable[[socket.socket], object]) -> Iterator[Door]:
    """`script(socket)` in a thread a connection; a script that returns waits for the other side's end."""
    with socket.create_server((str(HERE), 0), backlog=100) as listener:
        it = Door(Endpoint(HERE, listener.getsockname()[1]))
        socks: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def serve(sock: socket.socket) -> None:
            it.opened.release()
            try:
                with sock:
                    script(sock)
                    if sock.fileno() < 0:
                        it.ends.put("closed")
                        return
                    while sock.recv(4096):
                        pass
                    it.ends.put("fin")
            except ConnectionResetError:
                it.ends.put("reset")
            except OSError:
                it.ends.put("closed")

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                socks.append(sock)
                thread = threading.Thread(target=serve, args=(sock,), daemon=True)
                threads.append(thread)
                thread.start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield it
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(5)
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)


def says(data: bytes) -> Callable[[socket.socket], object]:
    return lambda sock: sock.sendall(data)


def silent(_sock: socket.socket) -> None:
    """Accepts, and greets nobody."""


def slow(seconds: float) -> Callable[[socket.socket], object]:
    def script(sock: socket.socket) -> None:
        time.sleep(seconds)
        sock.sendall(b"220 slow ready\r\n")

    return script


def closes(sock: socket.socket) -> None:
    sock.close()


def front(*doors: Door, sorry: int = -1, **settings: Any) -> VirtualServer:
    """Real servers d0, d1 ... in turn."""
    reals = tuple(
        RealServer(name=f"d{number}", address=HERE, port=one.endpoint.port, sorry=number == sorry)
        for number, one in enumerate(doors)
    )
    made: dict[str, Any] = {"timeouts": Timeouts(), "real_servers": reals, "max_sessions_per_client": 0, **settings}
    return virtual_server([], **made)


def counted(proxy: RunningProxy) -> dict[str, int]:
    servers = proxy.do(proxy.engine.snapshot_counters).virtual_servers["ftp"].real_servers
    return {name: server.sessions for name, server in servers.items()}


def causes(proxy: RunningProxy, name: str) -> dict[str, int]:
    return proxy.do(proxy.engine.snapshot_counters).virtual_servers["ftp"].real_servers[name].failures_total


def greeting(proxy: RunningProxy) -> tuple[str, float]:
    begun = time.monotonic()
    with FtpClient(proxy.address) as line:
        return line.reply(), time.monotonic() - begun


def test_another_is_tried_beside_one_that_does_not_greet() -> None:
    """The client waits for the other's greeting, not for a time-out; and the silent one is not judged for it."""
    with (
        door(silent) as first,
        door(says(b"220 second ready\r\n")) as second,
        director(front(first, second), timing=QUICK) as proxy,
    ):
        for _ in range(4):  # in turn: half of them begin at the silent one
            text, took_s = greeting(proxy)
            assert text == "220 second ready"
            assert took_s < 3
        proxy.no_sessions()
        assert proxy.failures == []
        assert first.ends.get(timeout=5) == "reset"
        assert counted(proxy) == {"d0": 0, "d1": 0}


def test_first_that_greets_has_the_client_even_the_slow_one() -> None:
    """The one beside is slower still: the first wins, the other is let go unjudged, and counts are right."""
    with door(slow(0.8)) as first, door(silent) as second, director(front(first, second), timing=QUICK) as proxy:
        with FtpClient(proxy.address) as line:
            assert line.reply() == "220 slow ready"
            assert second.ends.get(timeout=5) == "reset"
            assert counted(proxy) == {"d0": 1, "d1": 0}
        proxy.no_sessions()
        assert proxy.failures == []


def test_persistence_goes_by_who_greeted() -> None:
    with door(slow(0.8)) as first, door(silent) as second:
        server = front(first, second, persistence_timeout_s=60.0)
        with director(server, timing=QUICK) as proxy:
            assert greeting(proxy)[0] == "220 slow ready"
            while first.opened.acquire(blocking=False):
                pass
            assert greeting(proxy)[0] == "220 slow ready"
            assert first.opened.acquire(timeout=5), "asked first again"


def test_alone_it_is_waited_for() -> None:
    """One real server that looks up names for longer than the director would wait beside: it works."""
    with door(slow(1.5)) as only, director(front(only), timing=QUICK) as proxy:
        assert greeting(proxy)[0] == "220 slow ready"
        assert proxy.failures == []


@pytest.mark.slow
def test_greeting_after_20_s_works_with_the_defaults() -> None:
    with door(slow(20)) as only, director(front(only), timing=Timing()) as proxy, FtpClient(proxy.address) as line:
        line.sock.settimeout(40)
        assert line.reply() == "220 slow ready"


def test_silent_server_costs_a_client_three_seconds_with_the_defaults() -> None:
    with (
        door(silent) as first,
        door(says(b"220 second ready\r\n")) as second,
        director(front(first, second), timing=Timing()) as proxy,
    ):
        text, took_s = greeting(proxy)
        assert text == "220 second ready"
        assert 2.9 < took_s < 3.9


def test_sorry_server_is_not_tried_beside_one_that_may_still_greet() -> None:
    with (
        door(slow(1.0)) as first,
        door(says(b"220 sorry\r\n")) as sorry,
        director(front(first, sorry, sorry=1), timing=QUICK) as proxy,
    ):
        assert greeting(proxy)[0] == "220 slow ready"
        assert not sorry.opened.acquire(blocking=False)


def test_greeting_in_time_is_due_all_the_same() -> None:
    server_timeouts = Timeouts(greeting_s=0.5)
    with door(silent) as only, director(front(only, timeouts=server_timeouts), timing=QUICK) as proxy:
        assert greeting(proxy)[0].startswith("421 No server is available")
        assert proxy.failures == [("ftp", "d0", "greeting")]


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_client_that_hangs_up_while_it_waits_is_noticed(how: str) -> None:
    with door(silent) as only, director(front(only), timing=QUICK) as proxy:
        line = FtpClient(proxy.address)
        assert only.opened.acquire(timeout=5)
        proxy.until(lambda: counted_now(proxy) == 1, "counted")
        if how == "reset":
            reset(line.sock)
        else:
            line.sock.close()
        assert only.ends.get(timeout=2) == "reset"
        proxy.until(lambda: counted_now(proxy) == 0, "its session counts on", 2)
        assert proxy.do(proxy.engine.snapshot_counters).virtual_servers["ftp"].sessions == 0
        assert proxy.failures == []


def counted_now(proxy: RunningProxy) -> int:
    """To be called in the engine's thread."""
    return proxy.engine.snapshot_counters().virtual_servers["ftp"].real_servers["d0"].sessions


def test_client_that_half_closes_behind_its_commands_is_still_served() -> None:
    with door(slow(0.5)) as only, director(front(only), timing=QUICK) as proxy, FtpClient(proxy.address) as line:
        line.say("QUIT")
        line.sock.shutdown(socket.SHUT_WR)
        assert line.reply() == "220 slow ready"


def endless(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(b"120 in a while\r\n" * 1000)
    raise ConnectionResetError


def test_endless_greeting_is_bounded_in_bytes() -> None:
    with (
        door(endless) as first,
        door(says(b"220 second ready\r\n")) as second,
        director(front(first, second), timing=Timing(tick_s=0.05, beside_s=20)) as proxy,
    ):
        text, took_s = greeting(proxy)
        assert text.splitlines()[-1] == "220 second ready"
        assert took_s < 5
        assert proxy.failures == [("ftp", "d0", "greeting")]


def test_a_server_that_closes_silently_is_told_by_that_word_with_its_sessions() -> None:
    """As ProFTPD does at MaxInstances: whether it is full or down is judged by whether others live there."""
    taken = threading.Event()

    def one_session(sock: socket.socket) -> None:
        if taken.is_set():
            sock.close()
            return
        taken.set()
        sock.sendall(b"220 only one\r\n")

    with door(one_session) as only, director(front(only), timing=QUICK) as proxy:
        with FtpClient(proxy.address) as line:
            assert line.reply() == "220 only one"
            assert greeting(proxy)[0].startswith("421")
        proxy.no_sessions()
        assert greeting(proxy)[0].startswith("421")
        assert proxy.failures == [("ftp", "d0", "closed")] * 2
        assert causes(proxy, "d0") == {"closed": 2}
        reasons = [
            str(values["reason"]) for _, event, values in proxy.log.lines if event == "real_server_refused_session"
        ]
        assert [reason.partition("; ")[2] for reason in reasons] == ["1 sessions live there", "0 sessions live there"]


def test_a_421_is_full() -> None:
    with door(says(b"421 too many\r\n")) as only, director(front(only), timing=QUICK) as proxy:
        assert greeting(proxy)[0].startswith("421 No server")
        assert proxy.failures == [("ftp", "d0", "full")]


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_client_that_leaves_before_login_leaves_no_port_in_time_wait(how: str) -> None:
    """The side that closes first keeps its ephemeral port for a minute: 28,232 of them are soon used up."""
    with door(says(b"220 ready\r\n")) as only, director(front(only), timing=QUICK) as proxy:
        for _ in range(50):
            line = FtpClient(proxy.address)
            assert line.reply() == "220 ready"
            if how == "reset":
                reset(line.sock)
            else:
                line.sock.close()
        proxy.no_sessions()
        assert [only.ends.get(timeout=5) for _ in range(50)] == ["reset"] * 50
        assert time_waits(only.endpoint.port) == 0


def time_waits(port: int) -> int:
    """Connections to a port here that wait in TIME_WAIT (06), on the side that connected."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == "06" and row[2].endswith(f":{port:04X}") for row in rows)


def test_a_thousand_refused_clients_are_a_few_lines_and_all_are_counted() -> None:
    with door(says(b"220 ready\r\n")) as only:
        server = front(only, max_sessions_per_client=1)
        with director(server, timing=QUICK) as proxy:
            with FtpClient(proxy.address) as first:
                first.reply()
                begun = time.monotonic()
                for _ in range(1000):
                    with socket.create_connection(proxy.address, 10) as sock:
                        assert sock.recv(100).startswith(b"421 Too many sessions")
                took_s = time.monotonic() - begun
            proxy.no_sessions()
            time.sleep(1.2)  # the last second's sum is written at a tick behind it
            lines = [
                values for _, event, values in proxy.do(lambda: list(proxy.log.lines)) if event == "client_refused"
            ]
            assert len(lines) <= 5 * (took_s + 2)
            assert sum(int(str(values.get("count", 1))) for values in lines) == 1000
            refused = proxy.do(proxy.engine.snapshot_counters).virtual_servers["ftp"].refused_total
            assert refused == {"max_sessions_per_client": 1000}


def test_reload_to_another_passive_range_works_at_once() -> None:
    """Two sessions that were there before, one with a transfer that runs, and one that comes after."""
    with dying_server() as server:
        first = quiet_port()
        before = virtual_server(
            [("alpha", server.endpoint)], passive_ports=PortRange(first + 3000, first + 3007), max_sessions_per_client=0
        )
        with director(before, timing=QUICK) as proxy:
            busy = FtpClient(proxy.address).login()
            data = busy.passive()
            busy.say("STOR file.bin")
            assert busy.reply().startswith("150")
            others = [FtpClient(proxy.address).login() for _ in range(5)]
            for line in others:
                line.passive_port()
            for low, high in ((3000, 3005), (3002, 3009), (3100, 3131), (3100, 3107)):
                after = PortRange(first + low, first + high)
                proxy.do(lambda after=after: proxy.engine.apply(wanted_of(with_server(before, passive_ports=after))))
                ports = {line.passive_port() for line in others}
                assert all(port in after for port in ports), (after, ports)
                with others[0].passive():
                    pass
            data.sendall(b"whole")
            data.close()
            assert busy.reply().startswith("226")
            assert server.uploads == [b"whole"]
            for line in [busy, *others]:
                line.sock.close()
