"""Real parts for loopback tests: pyftpdlib servers, the engine, and a real server made of plain sockets that can die.

Each runs in a thread of its own, so that blocking clients (ftplib, plain sockets) can be the test's own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import uvloop

with warnings.catch_warnings():
    # On Python 3.11 pyftpdlib takes asyncore from the standard library, which warns.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler, FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

from ftpdirector.engines.proxy.engine import ProxyEngine
from ftpdirector.engines.proxy.runtime import Timing
from ftpdirector.model import Cluster, Endpoint, PortRange, RealServer, Timeouts, VirtualServer
from ftpdirector.state import TransferRecord
from ftpdirector.wanted import Wanted, want

T = TypeVar("T")
logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
QUICK = Timing(tick_s=0.05)
IMPATIENT = Timeouts(connect_s=1.0, greeting_s=1.0, data_connection_s=1.0)
RESET = struct.pack("ii", 1, 0)


class WallClock:
    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass
class Lines:
    """A log that keeps its lines."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def debug(self, event: str, /, **values: object) -> None:
        self.lines.append(("debug", event, values))

    def info(self, event: str, /, **values: object) -> None:
        self.lines.append(("info", event, values))

    def warning(self, event: str, /, **values: object) -> None:
        self.lines.append(("warning", event, values))

    def error(self, event: str, /, **values: object) -> None:
        self.lines.append(("error", event, values))

    def events(self) -> list[str]:
        return [event for _, event, _ in self.lines]


@dataclass(frozen=True)
class Real:
    """A pyftpdlib server that runs."""

    name: str
    endpoint: Endpoint
    root: Path


@contextlib.contextmanager
def real_server(name: str, root: Path, host: str = "127.0.0.1", **settings: object) -> Iterator[Real]:
    """A pyftpdlib server with user/secret and anonymous, both with every right on `root`."""
    root.mkdir(parents=True, exist_ok=True)
    authorizer = DummyAuthorizer()
    authorizer.add_user("user", "secret", str(root), perm="elradfmwMT")
    with contextlib.suppress(Exception):
        authorizer.add_anonymous(str(root))
    made: dict[str, object] = {
        "authorizer": authorizer, "banner": f"{name} ready", "permit_foreign_addresses": False,
        "dtp_handler": type("Data", (DTPHandler,), {}), **settings,
    }  # fmt: skip
    handler = type("Handler", (FTPHandler,), made)
    loop = IOLoop()
    server = FTPServer((host, 0), handler, ioloop=loop)
    server.max_cons = 2000
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            loop.loop(timeout=0.02, blocking=False)
        server.close_all()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Real(name, Endpoint(ip_address(host), int(server.socket.getsockname()[1])), root)
    finally:
        stop.set()
        thread.join(10)


@dataclass
class RunningProxy:
    """An engine that runs in a thread."""

    engine: ProxyEngine
    loop: asyncio.AbstractEventLoop
    log: Lines
    transfers: list[TransferRecord]
    failures: list[tuple[str, str, str]]
    cluster: Cluster

    @property
    def address(self) -> tuple[str, int]:
        endpoint = self.engine.addresses[0]
        return str(endpoint.address), endpoint.port

    def do(self, call: Callable[[], T]) -> T:
        async def in_loop() -> T:
            return call()

        return self.wait(in_loop())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def until(self, holds: Callable[[], bool], what: str, seconds: float = 10) -> None:
        """Wait until something holds in the engine's thread."""
        end = time.monotonic() + seconds
        while not self.do(holds):
            assert time.monotonic() < end, what
            time.sleep(0.005)

    def no_sessions(self) -> None:
        self.until(lambda: not self.engine.sessions(), "sessions are left")


def quiet_port() -> int:
    """A free port below the ephemeral ones, so that the port beside it is free too (active mode's source port).

    Tests that run beside this one choose from other thousands.
    """
    first = 25_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 7)
    while True:
        port = random.randrange(first + 1, first + 1_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("", port))
            return port


def virtual_server(reals: Sequence[tuple[str, Endpoint]], host: str = "127.0.0.1", **settings: Any) -> VirtualServer:
    made: dict[str, Any] = {
        "name": "ftp", "addresses": (ip_address(host),), "port": quiet_port(), "passive_ports": PortRange(23000, 23999),
        "scheduler": "rr", "timeouts": IMPATIENT,
        "real_servers": tuple(RealServer(name=name, address=at.address, port=at.port) for name, at in reals),
    }  # fmt: skip
    return VirtualServer(**(made | settings))


def wanted_of(*servers: VirtualServer) -> Wanted:
    return want(Cluster(virtual_servers=servers), {}, {})


@contextlib.contextmanager
def director(
    *servers: VirtualServer,
    timing: Timing = QUICK,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
) -> Iterator[RunningProxy]:
    """The engine in front of `servers`; at the end nothing of it may be left, and no bug may stand in its log."""
    loop = new_loop()
    log, transfers, failures = Lines(), [], []
    ready: list[ProxyEngine] = []
    bugs: list[object] = []
    loop.set_exception_handler(lambda _loop, context: bugs.append(context))
    begun = threading.Event()

    async def begin() -> None:
        engine = ProxyEngine(
            log=log,
            clock=WallClock(),
            timing=timing,
            on_transfer=transfers.append,
            on_failure=lambda *what: failures.append(what),
        )
        await engine.start(wanted_of(*servers))
        ready.append(engine)
        begun.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(begin())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(10)
    proxy = RunningProxy(ready[0], loop, log, transfers, failures, Cluster(virtual_servers=servers))
    try:
        yield proxy
    finally:
        proxy.wait(proxy.engine.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
    assert not bugs, bugs
    assert not [line for line in log.lines if line[0] == "error"], log.lines


def with_server(server: VirtualServer, **changes: Any) -> VirtualServer:
    return replace(server, **changes)


class FtpClient:
    """A client of plain sockets that speaks FTP by hand."""

    def __init__(self, address: tuple[str, int], source: str | None = None) -> None:
        self.sock = socket.create_connection(address, 10, (source, 0) if source else None)
        self.sock.settimeout(10)
        self._held = b""

    def __enter__(self) -> FtpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def say(self, text: str) -> None:
        self.sock.sendall(text.encode() + b"\r\n")

    def reply(self) -> str:
        """The next whole reply."""
        lines: list[bytes] = []
        while True:
            while b"\n" not in self._held:
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError(b"\n".join(lines) + self._held)
                self._held += data
            line, self._held = self._held.split(b"\n", 1)
            lines.append(line.rstrip(b"\r"))
            if lines[-1][:3] == lines[0][:3] and lines[-1][3:4] == b" ":
                return b"\n".join(lines).decode()

    def ask(self, text: str) -> str:
        self.say(text)
        return self.reply()

    def login(self, user: str = "user", password: str = "secret") -> FtpClient:
        assert self.reply().startswith("220")
        assert self.ask(f"USER {user}").startswith("331")
        assert self.ask(f"PASS {password}").startswith("230")
        assert self.ask("TYPE I").startswith("200")
        return self

    def passive_port(self) -> int:
        answer = self.ask("EPSV")
        assert answer.startswith("229"), answer
        return int(answer.split("|")[3])

    def passive(self, source: str | None = None) -> socket.socket:
        """A data connection to the announced port."""
        port = self.passive_port()
        peer = self.sock.getpeername()[0]
        return socket.create_connection((peer, port), 10, (source, 0) if source else None)


def read_all(sock: socket.socket) -> bytes:
    """Everything to the end; raises `ConnectionResetError` when the end is a reset."""
    sock.settimeout(10)
    parts: list[bytes] = []
    while data := sock.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
