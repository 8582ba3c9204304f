"""What a real server takes for a command, the director does too; and a client cannot tell it from the server behind."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import realservers
from lab.realservers import KINDS, RealServer

from ftpdirector.model import Endpoint, PortRange
from tests.loopback.running_proxy import FtpClient, RunningProxy, director, virtual_server

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

OURS = PortRange(23_000, 23_999)
TRAP_HOST = "127.0.0.9"
FILE = b"0123456789" * 100


class Talk(FtpClient):
    """Replies byte for byte, as Latin-1: real servers repeat what they did not understand."""

    def reply(self) -> str:
        lines: list[bytes] = []
        while True:
            while b"\n" not in self._held:
                data = self.sock.recv(65536)
                if not data:
                    raise EOFError(b"\n".join(lines) + self._held)
                self._held += data
            line, self._held = self._held.split(b"\n", 1)
            lines.append(re.sub(rb"^(\xff[\xfb-\xfe].)+", b"", line.rstrip(b"\r")))  # ProFTPD answers in Telnet
            if lines[-1][:3] == lines[0][:3] and lines[-1][3:4] == b" ":
                return b"\n".join(lines).decode("latin-1")


@dataclass
class Behind:
    """A real server and the director before it."""

    real: RealServer
    house: RunningProxy

    def talk(self, *, direct: bool) -> Talk:
        line = Talk((self.real.host, self.real.port) if direct else self.house.address)
        assert line.reply().startswith("220")
        first = line.ask(f"USER {self.real.user}")
        assert first.startswith("230") or line.ask(f"PASS {self.real.password}").startswith("230")
        return line


@pytest.fixture(params=KINDS)
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Behind]:
    with realservers.real_server(request.param, "alpha", tmp_path) as real:
        (real.root / "f").write_bytes(FILE)
        (real.root / "d").mkdir()
        (real.root / "d" / "inside").write_bytes(b"x")
        (real.root / "empty").touch()
        (real.root / "nothing").mkdir()
        front = virtual_server([("alpha", Endpoint(ip_address(real.host), real.port))], passive_ports=OURS)
        with director(front) as house:
            yield Behind(real, house)


# -- smuggling

VERBS = [
    b"PASV", b"EPSV", b"PORT", b"EPRT", b"LPSV", b"LPRT", b"SPSV", b"P@SW", b"CPSV", b"XPASV", b"PASVX", b"SITE PASV",
    b"SITE PORT", b"OPTS PASV", b"HELP PASV", b"AUTH TLS", b"ESTP", b"ESTA", b"NOOP",
]  # fmt: skip
JUNK = [
    b"", b" ", b"  ", b"\t", b"\0", b"\x0b", b"\x0c", b"\r", b"\r\0", b"\xa0", b"\xff", b"\xff\xff", b"\xff\xf2",
    b"\xff\xf1", b"\xff\xfb\x01", b"\xff\xf6", b"\x7f", b"\x1b", b"\x08", b"\x85", b"\xc2\xa0", b";", b"\\", b"\r\r",
    b"\0\n", b"\0 ",
]  # fmt: skip
RETRIEVE = [
    b"RETR\tf", b"\tRETR f", b"RE\0TR f", b"RETR\0 f", b"RETR\x0bf", b" RETR f", b"LIST\t", b"NLST\0", b"\xff\xffLIST",
]  # fmt: skip
"""After a PORT that a server took, one of these would make it connect; the director takes none of them."""


def smuggled(trap: int) -> list[bytes]:
    """A verb with something before, inside or behind it, and an argument that names the trap."""
    host, port = TRAP_HOST.replace(".", ","), f"{trap >> 8},{trap & 255}"
    arguments = {
        b"PORT": f"{host},{port}".encode(),
        b"LPRT": f"4,4,{host},2,{port}".encode(),
        b"EPRT": f"|1|{TRAP_HOST}|{trap}|".encode(),
        b"SITE PORT": f"{host},{port}".encode(),
    }
    lines: list[bytes] = []
    for verb in VERBS:
        argument = arguments.get(verb, b"")
        for junk in JUNK:
            lines += (
                junk + verb + b" " + argument,
                verb + junk + argument,
                verb[:2] + junk + verb[2:] + b" " + argument,
                verb + b" " + junk + argument,
                verb.lower() + junk + b" " + argument,
            )
    return lines


class Watch:
    """One session with a client that means no good, and a port that must never be connected to."""

    def __init__(self, behind: Behind) -> None:
        self.behind = behind
        self.trap = socket.create_server((TRAP_HOST, 0))
        self.trap.settimeout(0)
        self.line: Talk | None = None

    @property
    def port(self) -> int:
        return int(self.trap.getsockname()[1])

    def say(self, data: bytes, then: bytes) -> None:
        """Say it, then ask for a file in an odd way; nothing may come of it that the director did not arrange."""
        for _ in range(2):
            if self.line is None:
                self.line = self.behind.talk(direct=False)
            try:
                # The director answers MODE B itself: what it says marks the end of the replies before.
                self.line.sock.sendall(data + b"\r\n" + then + b"\r\nMODE B\r\n")
                said = self._until_mark()
            except (EOFError, ConnectionError):
                self.line = None  # A real server may end a session for what it does not like.
            else:
                self.check(data, said)
                return

    def _until_mark(self) -> str:
        assert self.line is not None
        said = ""
        while True:
            reply = self.line.reply()
            said += reply + "\n"
            if "MODE S" in reply and reply.startswith("504"):
                return said

    def check(self, data: bytes, said: str) -> None:
        for numbers in re.findall(r"(?m)^22[78].*?(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", said):
            port = int(numbers[4]) * 256 + int(numbers[5])
            assert port in OURS, f"{data!r} was answered with a port of the real server: {said}"
        for port in re.findall(r"(?m)^229.*\|(\d+)\|", said):
            assert int(port) in OURS, f"{data!r} was answered with a port of the real server: {said}"
        assert not re.search(r"(?m)^234", said), f"{data!r} began TLS: {said}"
        assert not re.search(r"(?im)^200.*(port|eprt|lprt)", said), f"{data!r} was taken by the real server: {said}"
        try:
            sock, peer = self.trap.accept()
        except BlockingIOError:
            return
        sock.close()
        pytest.fail(f"{data!r} made a connection from {peer}: {said}")

    def close(self) -> None:
        self.trap.close()
        if self.line is not None:
            self.line.sock.close()


@pytest.fixture
def watch(behind: Behind) -> Iterator[Watch]:
    watch = Watch(behind)
    yield watch
    watch.close()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_no_spelling_opens_a_data_connection_that_the_director_did_not_arrange(watch: Watch) -> None:
    for number, line in enumerate(smuggled(watch.port)):
        watch.say(line, RETRIEVE[number % len(RETRIEVE)])


PIECES = st.sampled_from(
    [*VERBS, *JUNK, *RETRIEVE, b"PORT 127,0,0,9,4,1", b"f", b"1,2,3,4,5,6", b"SITE", b"\n", b"\r\n"]
)


@pytest.mark.long
@pytest.mark.timeout(300)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(PIECES, st.binary(max_size=6)), min_size=1, max_size=6), st.sampled_from(RETRIEVE))
def test_no_bytes_open_a_data_connection_that_the_director_did_not_arrange(
    watch: Watch, pieces: list[bytes], then: bytes
) -> None:
    watch.say(b"".join(pieces), then)
