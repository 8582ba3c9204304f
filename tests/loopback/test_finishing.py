"""What becomes of a receiver behind the decision: it gets every byte and FIN, however slowly it takes them."""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from ftpdirector.engines.proxy.control_connection import ControlConnection
from ftpdirector.engines.proxy.data import DataConnections
from ftpdirector.engines.proxy.runtime import Timing
from ftpdirector.engines.proxy.session import ProxySession
from ftpdirector.model import DataToServer, Timeouts
from tests.loopback.dying_server import HELP_LINES, DyingServer, dying_server
from tests.loopback.running_proxy import FtpClient, RunningProxy, director, read_all, virtual_server

BODY = os.urandom(1 << 20)


@pytest.fixture
def server() -> Iterator[DyingServer]:
    with dying_server() as server:
        yield server


def slow_download(proxy: RunningProxy) -> tuple[FtpClient, socket.socket]:
    """A client that has heard 226, and whose receive buffer is full: the kernel of the director holds the rest."""
    line = FtpClient(proxy.address).login()
    data = socket.socket()
    data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    data.settimeout(10)
    data.connect(("127.0.0.1", line.passive_port()))
    line.say("RETR file.bin")
    assert line.reply().startswith("150")
    assert line.reply().startswith("226")
    return line, data


def test_a_slow_receiver_is_kept_until_it_has_all(server: DyingServer) -> None:
    server.part = BODY
    with director(virtual_server([("alpha", server.endpoint)])) as proxy:
        line, data = slow_download(proxy)
        with line, data:
            line.say("QUIT")
            line.reply()
            proxy.no_sessions()
            assert len(proxy.engine.runtime.closings) == 1
            assert read_all(data) == BODY
            proxy.until(lambda: not len(proxy.engine.runtime.closings), "it has all, and is let go")


def test_a_receiver_that_acknowledges_is_let_go_before_it_closes(server: DyingServer) -> None:
    """By an event of the kernel, not by a look at the clock: its tick is an hour."""
    server.part = b"x" * 1000
    front = virtual_server([("alpha", server.endpoint)])
    with (
        director(front, timing=Timing(tick_s=3600)) as proxy,
        FtpClient(proxy.address).login() as line,
        line.passive() as data,
    ):
        line.say("RETR file.bin")
        assert [line.reply()[:3], line.reply()[:3]] == ["150", "226"]
        proxy.until(lambda: not len(proxy.engine.runtime.closings), "acknowledged", 1)
        assert read_all(data) == b"x" * 1000


def test_progress_renews_the_patience_with_a_slow_receiver(server: DyingServer) -> None:
    """It takes five times the idle time, and stops for less than that."""
    server.part = BODY
    with director(virtual_server([("alpha", server.endpoint)], idle_timeout_s=0.5)) as proxy:
        line, data = slow_download(proxy)
        with line, data:
            got = b""
            began = time.monotonic()
            while time.monotonic() - began < 2.5:
                got += data.recv(40_000)
                time.sleep(0.1)
            assert got + read_all(data) == BODY


def test_a_receiver_that_takes_nothing_is_reset_after_the_idle_time(server: DyingServer) -> None:
    server.part = BODY
    with director(virtual_server([("alpha", server.endpoint)], idle_timeout_s=0.3)) as proxy:
        line, data = slow_download(proxy)
        with line, data:
            proxy.until(lambda: not len(proxy.engine.runtime.closings), "patience has an end", 5)
            with pytest.raises(ConnectionResetError):
                read_all(data)


def test_a_stop_waits_for_receivers_within_its_bound(server: DyingServer) -> None:
    server.part = BODY
    with director(virtual_server([("alpha", server.endpoint)])) as proxy:
        line, data = slow_download(proxy)
        with line, data:
            stopping = threading.Thread(target=lambda: proxy.wait(proxy.engine.drain_and_stop(20)))
            stopping.start()
            assert line.reply().startswith("421")
            assert read_all(data) == BODY
            began = time.monotonic()
            stopping.join(10)
            assert time.monotonic() - began < 0.5, "at once, not at the next tick"


def test_behind_the_bound_of_a_stop_the_kernel_goes_on(server: DyingServer) -> None:
    """226 was said: the rest and FIN are in the kernel, and a reset would take them from the client."""
    server.part = BODY
    with director(virtual_server([("alpha", server.endpoint)])) as proxy:
        line, data = slow_download(proxy)
        with line, data:
            began = time.monotonic()
            proxy.wait(proxy.engine.drain_and_stop(0.2))
            assert time.monotonic() - began < 2
            assert read_all(data) == BODY


@pytest.mark.parametrize("close_first", ["data", "control"])
def test_a_client_that_closes_both_without_quit_is_decided_against(server: DyingServer, close_first: str) -> None:
    """It cannot be told from one that was killed: docs/explanation/whole-files.md."""
    front = virtual_server([("alpha", server.endpoint)], timeouts=Timeouts(upload_grace_s=0.5))
    with director(front) as proxy:
        line = FtpClient(proxy.address).login()
        data = line.passive()
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        data.sendall(BODY)
        first, second = (data, line.sock) if close_first == "data" else (line.sock, data)
        first.close()
        second.close()
        assert server.stored.acquire(timeout=10)
        assert server.uploads == [None]


@pytest.mark.parametrize("half", ["half", "whole"])
def test_a_quit_that_was_seen_means_alive(server: DyingServer, half: str) -> None:
    """Whatever becomes of the control connection behind it: FIN, or RST because a reply was not read."""
    front = virtual_server([("alpha", server.endpoint)], timeouts=Timeouts(upload_grace_s=0.1))
    with director(front) as proxy:
        line = FtpClient(proxy.address).login()
        data = line.passive()
        line.sock.sendall(b"STOR file.bin\r\nQUIT\r\n")
        assert select.select([line.sock], [], [], 10)[0], "150 is here, and stays unread"
        data.sendall(BODY)
        if half == "half":
            line.sock.shutdown(socket.SHUT_WR)
        else:
            line.sock.close()
        data.close()
        assert server.stored.acquire(timeout=10)
        assert server.uploads == [BODY]
        proxy.no_sessions()
        line.sock.close()


def test_a_control_connection_that_is_half_closed_without_quit_means_killed(server: DyingServer) -> None:
    front = virtual_server([("alpha", server.endpoint)])
    with director(front) as proxy, FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        data.sendall(BODY)
        line.sock.shutdown(socket.SHUT_WR)
        data.shutdown(socket.SHUT_WR)
        assert server.stored.acquire(timeout=10)
        assert server.uploads == [None]


def test_the_end_of_a_flooding_client_is_seen_behind_what_it_said(server: DyingServer) -> None:
    """Commands that the session does not read yet stand before the FIN of the control connection."""
    front = virtual_server([("alpha", server.endpoint)], timeouts=Timeouts(upload_grace_s=0.1))
    with director(front) as proxy:
        line = FtpClient(proxy.address).login()
        data = line.passive()
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        line.sock.settimeout(1)
        line.sock.sendall(b"NOOP\r\n" * 10_000)
        data.close()
        line.sock.close()
        assert server.stored.acquire(timeout=10)
        assert server.uploads == [None]
        proxy.no_sessions()


def test_the_grace_is_as_long_as_it_says(server: DyingServer) -> None:
    """Between the client's end of data and the real server's: half a millisecond is no whole one, and not none."""
    front = virtual_server([("alpha", server.endpoint)])
    took: list[float] = []
    with director(front) as proxy, FtpClient(proxy.address).login() as line:
        for _ in range(60):
            data = line.passive()
            line.say("STOR file.bin")
            assert line.reply().startswith("150")
            began = time.perf_counter()
            data.close()
            assert line.reply().startswith("226")
            took.append(time.perf_counter() - began)
    assert min(took) > 0.0005
    assert min(took) < 0.0015, "a timer of whole milliseconds"


def test_an_upload_without_a_byte_ends_with_fin(server: DyingServer) -> None:
    with director(virtual_server([("alpha", server.endpoint)])) as proxy, FtpClient(proxy.address).login() as line:
        data = line.passive()
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        data.close()
        assert line.reply().startswith("226")
    assert server.uploads == [b""]


def test_no_garbage_is_left_for_a_collector(server: DyingServer) -> None:
    """What gc.freeze() finds alive is never collected: references must count down to nothing by themselves."""
    server.part = b"x" * 1000
    kinds = (ProxySession, ControlConnection, DataConnections)
    with director(virtual_server([("alpha", server.endpoint)])) as proxy:
        gc.collect()
        gc.disable()
        try:
            for number in range(10):
                with FtpClient(proxy.address).login() as line, line.passive() as data:
                    line.say("STOR file.bin" if number % 3 == 2 else "RETR file.bin")
                    assert line.reply().startswith("150")
                    if number % 6 == 1:
                        assert read_all(data) == server.part
            proxy.no_sessions()
            proxy.until(lambda: not len(proxy.engine.runtime.closings), "sockets linger")
            left = proxy.do(lambda: [type(one) for one in gc.get_objects() if isinstance(one, kinds)])
        finally:
            gc.enable()
    assert left == []


def test_a_long_reply_is_passed_on_in_few_calls(server: DyingServer) -> None:
    """Not one send(2) for each line."""
    sends: list[str] = []

    def count(frame: FrameType, event: str, arg: object) -> None:
        del frame
        if event == "c_call" and getattr(arg, "__name__", "") == "send":
            sends.append(event)

    with director(virtual_server([("alpha", server.endpoint)])) as proxy, FtpClient(proxy.address).login() as line:
        proxy.do(lambda: sys.setprofile(count))
        assert len(line.ask("HELP").splitlines()) == HELP_LINES + 2
        proxy.do(lambda: sys.setprofile(None))
    assert 2 <= len(sends) < HELP_LINES / 10


def test_a_listener_for_the_real_server_rests_without_descriptors(server: DyingServer) -> None:
    """No core is kept busy by a connection that cannot be accepted; it is, as soon as there is a descriptor again."""
    front = virtual_server([("alpha", server.endpoint)], data_to_server=DataToServer.ACTIVE)
    with director(front) as proxy, FtpClient(proxy.address).login() as line, socket.socket() as connection:
        line.passive_port()
        port = server.told.get(timeout=10)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limit[1]))
            connection.connect(("127.0.0.1", port))
            time.sleep(0.1)
            began = time.process_time()
            time.sleep(0.5)
            busy = time.process_time() - began
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert busy < 0.02
        proxy.until(lambda: not accepting(port), "accepted at the next tick, and the listener is closed")


def accepting(port: int) -> bool:
    """Whether somebody listens there."""
    listening = f":{port:04X} 00000000:0000 0A"
    return listening in Path("/proc/net/tcp").read_text()
