"""A real server made of plain sockets, which dies in the middle of a transfer as it is told."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import ip_address

from ftpdirector.model import Endpoint
from tests.loopback.running_proxy import read_all, reset


class Death(Enum):
    """What the real server does after the first part of the file."""

    NONE = auto()
    RST = auto()
    """Both connections are reset."""
    FIN = auto()
    """Both connections end cleanly, as a killed process leaves them."""
    FIN_DATA_FIRST = auto()
    REPLY_426 = auto()
    """Data ends cleanly, and the reply says that it was not all."""
    SILENT = auto()
    """Data ends cleanly, and no reply ever comes."""


@dataclass
class DyingServer:
    """What the test may set and see."""

    endpoint: Endpoint
    death: Death = Death.NONE
    part: bytes = b""
    greeting: bytes | None = b"220 mortal ready\r\n"
    uploads: list[bytes | None] = field(default_factory=list)
    """What was stored; None for an upload that ended in a reset."""
    stored: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    first_lines: queue.SimpleQueue[bytes] = field(default_factory=queue.SimpleQueue)
    """The first line of each session."""
    told: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    """The ports that PORT or EPRT named; nothing connects there by itself."""


@contextlib.contextmanager
def dying_server(host: str = "127.0.0.1") -> Iterator[DyingServer]:
    """Runs in threads until the end of the block."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=200) as listener:
        state = DyingServer(Endpoint(ip_address(host), listener.getsockname()[1]))
        threads: list[threading.Thread] = []
        open_sockets: set[socket.socket] = set()

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                open_sockets.add(sock)
                thread = threading.Thread(target=_session, args=(state, sock, host), daemon=True)
                threads.append(thread)
                thread.start()

        acceptor = threading.Thread(target=serve, daemon=True)
        acceptor.start()
        try:
            yield state
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(5)
            for sock in open_sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(5)


def _session(state: DyingServer, sock: socket.socket, host: str) -> None:
    with contextlib.suppress(OSError), sock, contextlib.closing(_Data(host)) as data:
        if state.greeting is None:
            sock.recv(1)
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # 226 is not to wait for an acknowledgement of 150
        sock.sendall(state.greeting)
        if not state.greeting.startswith(b"220"):
            return
        with sock.makefile("rb") as lines:
            for number, line in enumerate(lines):
                if not number:
                    state.first_lines.put(line)
                if not _answer(state, sock, data, line.strip().split(b" ")):
                    return


class _Data:
    def __init__(self, host: str) -> None:
        self.host = host
        self.listener: socket.socket | None = None

    def announce(self) -> int:
        self.close()
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.listener = socket.create_server((self.host, 0), family=family)
        return int(self.listener.getsockname()[1])

    def accept(self) -> socket.socket:
        assert self.listener is not None
        self.listener.settimeout(10)
        sock, _ = self.listener.accept()
        sock.settimeout(10)
        return sock

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None


HELP_LINES = 500

_REPLIES = {
    b"USER": b"331 password\r\n", b"PASS": b"230 in\r\n", b"TYPE": b"200 type\r\n", b"REST": b"350 rest\r\n",
    b"NOOP": b"200 noop\r\n", b"QUIT": b"221 bye\r\n", b"ABOR": b"226 nothing to abort\r\n",
    b"HELP": b"214-help\r\n" + b" a line\r\n" * HELP_LINES + b"214 end\r\n",
}  # fmt: skip


def _answer(state: DyingServer, sock: socket.socket, data: _Data, words: list[bytes]) -> bool:
    verb = words[0].upper()
    if verb == b"EPSV":
        sock.sendall(b"229 entering (|||%d|)\r\n" % data.announce())
    elif verb == b"EPRT":
        state.told.put(int(words[1].split(b"|")[3]))
        sock.sendall(b"200 eprt\r\n")
    elif verb == b"PORT":
        *_, high, low = (int(number) for number in words[1].split(b","))
        state.told.put(256 * high + low)
        sock.sendall(b"200 port\r\n")
    elif verb == b"RETR":
        sock.sendall(b"150 opening\r\n")
        with data.accept() as to:
            return _send(state, sock, to)
    elif verb in (b"STOR", b"APPE"):
        sock.sendall(b"150 opening\r\n")
        return _store(state, sock, data.accept())
    else:
        sock.sendall(_REPLIES.get(verb, b"502 no\r\n"))
    return verb != b"QUIT"


def _send(state: DyingServer, sock: socket.socket, to: socket.socket) -> bool:
    to.sendall(state.part)
    match state.death:
        case Death.NONE:
            to.close()
            sock.sendall(b"226 done\r\n")
            return True
        case Death.RST:
            reset(to)
            reset(sock)
        case Death.FIN:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            to.close()
        case Death.FIN_DATA_FIRST:
            to.close()
            sock.shutdown(socket.SHUT_RDWR)
        case Death.REPLY_426:
            to.close()
            sock.sendall(b"426 disk error\r\n")
            return True
        case Death.SILENT:
            to.close()
            sock.recv(1)
    return False


def _store(state: DyingServer, sock: socket.socket, come: socket.socket) -> bool:
    with come:
        try:
            if state.death in (Death.RST, Death.FIN):
                come.recv(1)
                if state.death is Death.RST:
                    reset(come)
                reset(sock) if state.death is Death.RST else sock.shutdown(socket.SHUT_RDWR)
                return False
            state.uploads.append(read_all(come))
        except ConnectionResetError:
            state.uploads.append(None)
            sock.sendall(b"426 broken\r\n")
            return True
        finally:
            state.stored.release()
    sock.sendall(b"226 stored\r\n")
    return True
