"""The status page under clients that are slow, many, silent or endless: it answers others, and keeps its bounds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ftpdirector.model import Endpoint
from ftpdirector.state import Histogram, Snapshot
from ftpdirector.status import bounded
from ftpdirector.status.server import StatusServer

pytestmark = pytest.mark.long

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def snapshot(config_file: str = "(none)") -> Snapshot:
    return Snapshot(
        taken_s=0, started_s=0, version="", engine="proxy", config_file=config_file, config_error="", workers=1,
        virtual_servers=(), data_setup=Histogram(bounds_s=(), counts=(0,), sum_s=0.0),
    )  # fmt: skip


class Page:
    """A status server in a thread of its own."""

    def __init__(self, text: str) -> None:
        self.server = StatusServer(Endpoint(ip_address("127.0.0.1"), 0), lambda: snapshot(text))
        self.address = ("127.0.0.1", self.server.endpoint.port)
        self.errors: list[dict[str, object]] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self.server.serve())

    def __enter__(self) -> Page:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self.server.close)
        self._thread.join(10)

    def ask(self, path: str = "/healthz") -> bytes:
        with urllib.request.urlopen(f"http://{self.address[0]}:{self.address[1]}{path}", timeout=20) as answer:
            return bytes(answer.read())

    def accepted(self) -> int:
        """Connections of clients that the server's process holds: neither ours nor those in the listen queue."""
        ours = f"{self.address[1]:04X}"
        inodes = set()
        for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(":" + ours) and fields[3] != "0A" and fields[9] != "0":
                inodes.add(f"socket:[{fields[9]}]")
        return len(inodes & {link for link in map(_link, Path("/proc/self/fd").iterdir()) if link})


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


@pytest.fixture
def page() -> Iterator[Page]:
    with Page("x") as it:
        yield it


@contextlib.contextmanager
def many(address: tuple[str, int], number: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        made: list[socket.socket] = []
        for _ in range(number):
            one = stack.enter_context(socket.socket())
            one.settimeout(20)
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(address)
            made.append(one)
        for one in made:
            one.setblocking(True)
            one.settimeout(20)
            if first:
                with contextlib.suppress(OSError):
                    one.sendall(first)
        yield made


def ends_after(sock: socket.socket) -> float:
    began_s = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return time.monotonic() - began_s


def test_slow_headers_take_at_most_the_bound_and_others_are_answered(page: Page) -> None:
    with many(page.address, 180, b"GET / HTTP/1.1\r\nX-Slow: ") as slow:
        most = 0
        end_s = time.monotonic() + 3
        while time.monotonic() < end_s:
            most = max(most, page.accepted())
            time.sleep(0.01)
        assert most <= bounded.CONNECTIONS
        assert most > 4
        began_s = time.monotonic()
        assert page.ask() == b"ok\n"
        assert time.monotonic() - began_s < bounded.HEADER_S, "those that are slow make room"
        for one in slow:
            ends_after(one)
    assert page.errors == []


@pytest.mark.parametrize("said", [b"", b"GET / HTT", REQUEST, REQUEST + b"GET / HTTP/1.1\r\nX: "], ids=range(4))
def test_silence_before_a_whole_header_is_ended(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(bounded, "HEADER_S", 1.0)
    with Page("x") as page, socket.create_connection(page.address, 20) as sock:
        sock.sendall(said)
        assert ends_after(sock) < bounded.HEADER_S + 2


def test_a_header_that_trickles_is_ended_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "HEADER_S", 1.0)
    with Page("x") as page, socket.create_connection(page.address, 20) as sock:
        began_s = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began_s < 15:
                sock.sendall(b"GET / HTTP/1.1\r\n" if time.monotonic() - began_s < 0.1 else b"X: y\r\n")
                sock.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    assert not sock.recv(100)
                    break
        assert time.monotonic() - began_s < bounded.HEADER_S + 2


@pytest.mark.parametrize(
    "endless", [b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100 + b"\r\n", REQUEST], ids=["header", "body"]
)
def test_bytes_without_end_are_refused(page: Page, endless: bytes) -> None:
    with socket.create_connection(page.address, 20) as sock:
        if endless == REQUEST:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
            endless = b"z" * 4096
        else:
            sock.sendall(endless)
            endless = b"X: " + b"y" * 100 + b"\r\n"
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 1 << 24:
                sent += sock.send(endless)
        assert sent < 1 << 24


def test_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "ANSWER_S", 1.0)
    monkeypatch.setattr(bounded, "HEADER_S", 0.5)
    with Page("x" * (8 << 20)) as page, socket.create_connection(page.address, 20) as sock:
        sock.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4) == b"HTTP"
        end_s = time.monotonic() + 10
        while page.accepted() and time.monotonic() < end_s:
            time.sleep(0.02)
        assert page.accepted() == 0


def test_a_slow_reader_within_the_bound_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "HEADER_S", 0.3)
    with Page("x" * (4 << 20)) as page, socket.create_connection(page.address, 20) as sock:
        sock.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = 0
        while data := sock.recv(1 << 18):
            got += len(data)
            time.sleep(0.05)
        assert got > 4 << 20


def test_out_of_descriptors_it_neither_spins_nor_gives_up(page: Page) -> None:
    assert page.ask() == b"ok\n"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(socket.socket())
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(one.name) for one in Path("/proc/self/fd").iterdir()) + 1, hard)
        )
        try:
            with contextlib.suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(0))
            waiting.connect(page.address)
            waiting.sendall(REQUEST)
            before_s = time.process_time()
            time.sleep(1.5)
            assert time.process_time() - before_s < 0.5
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        waiting.settimeout(10)
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    assert page.errors == []


def test_one_connection_may_ask_again_and_again(page: Page) -> None:
    began_s = time.monotonic()
    with socket.create_connection(page.address, 20) as sock:
        for _ in range(500):
            sock.sendall(REQUEST)
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += sock.recv(65536)
    assert time.monotonic() - began_s < 15, "no answer waits for an acknowledgement"
