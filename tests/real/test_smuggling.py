"""No bytes of a client open a data connection that the director did not arrange, however the real server reads them.

The real servers here would connect anywhere (their guards against bounce are off where they have a switch for it), and
stand on another address than the director. So an announcement that slipped through shows: a connection to the
attacker's ports, an address or port of the real server in a 227, or a port that the real server listens on unasked.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import realservers
from lab.realservers import KINDS, PASSIVE, RealServer

from tests.directors import cluster_file, director

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

DIRECTOR = "127.0.0.1"
REAL = "127.0.0.5"
CLIENT = "127.0.0.8"
THIRD = "127.0.0.9"
FIRST = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 5)
LEASED = (FIRST, FIRST + 999)
"""The director's passive ports; the real server's are below."""
PATIENCE_S = 10.0
LISTENS = "0A"
MIXTURES = 200
AT_ONCE = 6
"""Lines in one segment: real servers wait 40 ms for an acknowledgement here and there (Nagle), once a segment."""

GENEROUS = {
    "VSFTPD": "port_promiscuous=YES\npasv_promiscuous=YES\n",
    "PROFTPD": "AllowForeignAddress on\n",
}

BLANKS = (
    b"\t", b"\0", b"\v", b"\f", b"\r\0", b"\r", b"  ", b" \t", b"\t ", b"\xa0", b"\xc2\xa0", b"\x1c", b"\x85", b"\x08",
    b"\x7f", b"\xff", b"\xff\xff", b"\xff\xf1", b"\xff\xf4\xff\xf2", b"\xff\xfd\x06", b" " * 300, b" " * 9000,
    b"\t" * 300,
)  # fmt: skip
"""What some reader may take for the blank behind a verb, or drop."""

FRONTS = (
    b" ", b"\t", b"\0", b"\v", b"\f", b"\r\0", b"\r", b"\xa0", b"\xef\xbb\xbf", b"\xff", b"\xff\xff", b"\xff\xf1",
    b"\xff\xf4\xff\xf2", b"\xff\xf4\xf2", b"\xff\xfd\x06", b"\xff\xfa\x01\xff\xf0", b" " * 300, b" " * 9000, b"\b",
    b"\x1b[A", b"NOOP\r", b"NOOP\r\0", b"NOOP\0", b"SITE ", b"X", b'"',
)  # fmt: skip
"""What may stand in front of a verb."""

ENDS = (b"\r\n", b"\n", b"\r\r\n", b"\0\r\n", b"\r\0\r\n", b" \r\n", b"\t\r\n", b"\v\r\n", b"\r", b"\n\r", b"\xff\r\n")

INSIDE = (b"\0", b"\xff\xf1", b"\xff\xff", b"\xff", b"\xff\xf4\xff\xf2", b"\r\0", b"\r", b"\b", b"\xc2\xad", b"\t")
"""What may be dropped from inside a verb."""


class Announcer:
    """The attacker's listening sockets, on every address that a smuggled PORT could name; whoever comes is noted."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str]] = []
        self.port = realservers.free_port(THIRD)
        self._sockets = [socket.create_server((host, self.port)) for host in (DIRECTOR, CLIENT, THIRD)]
        self._threads = [threading.Thread(target=self._accept, args=(one,), daemon=True) for one in self._sockets]
        for thread in self._threads:
            thread.start()

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = listening.accept()
                self.came.append((listening.getsockname()[0], peer[0]))
                with data, contextlib.suppress(OSError):
                    data.settimeout(PATIENCE_S)
                    data.shutdown(socket.SHUT_WR)
                    while data.recv(65536):
                        pass

    def foreign(self) -> list[tuple[str, str]]:
        """All but the director's own connections to the client's own address."""
        return [one for one in self.came if one != (CLIENT, DIRECTOR)]

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)


class Attacker:
    """A client that says any bytes, and judges every line that it hears."""

    def __init__(self, real: RealServer, port: int) -> None:
        self.real = real
        self.port = port
        self.attacker = Announcer()
        self.sock: socket.socket | None = None
        self.data: list[socket.socket] = []
        self.arranged = False
        self.sent: list[bytes] = []
        self._held = b""

    def try_out(self, *segments: bytes) -> bool:
        """Say it in these segments, hear all that comes of it, and look for what must not be; False: session over."""
        if self.sock is None or self.arranged:
            self._login()
        self.sent.append(b"".join(segments))
        if CLIENT.replace(".", ",").encode() in self.sent[-1]:
            self.arranged = True  # an honest PORT, for which the director has the real server listen
        assert self.sock
        try:
            for segment in segments[:-1]:
                self.sock.sendall(segment)
                time.sleep(0.0005)  # so that the director mostly reads it alone; nothing depends on it
            # An empty line, as the last one may have no end yet; SYST is the fence behind which nothing is owed.
            self.sock.sendall(segments[-1] + b"\r\nSYST\r\n")
            while not (line := self._line()).startswith(b"215 "):
                self._judge(line)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self._leave()  # some servers end the session of such a client, which is fine
        except TimeoutError:
            pytest.fail(f"no answer to {self.sent[-1]!r}")
        self._judge_sockets()
        return self.sock is not None

    def close(self) -> None:
        self._leave()
        self.attacker.close()

    def _login(self) -> None:
        self._leave()
        self._held = b""
        self.sock = socket.create_connection((DIRECTOR, self.port), PATIENCE_S, (CLIENT, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(PATIENCE_S)
        self.sock.sendall(f"USER {self.real.user}\r\n".encode())
        while not (line := self._line()).startswith((b"331 ", b"230 ")):
            pass
        if line.startswith(b"331 "):
            self.sock.sendall(f"PASS {self.real.password}\r\n".encode())
            while not self._line().startswith(b"230 "):
                pass

    def _leave(self) -> None:
        for one in (*self.data, *([self.sock] if self.sock else [])):
            one.close()
        self.sock = None
        self.data = []
        self.arranged = False

    def _line(self) -> bytes:
        assert self.sock
        while b"\n" not in self._held:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._held += data
        line, self._held = self._held.split(b"\n", 1)
        return line

    def _judge(self, line: bytes) -> None:
        """A 227 or 229 names the director, and a port of its own; a 228 never comes."""
        if line[:3] not in (b"227", b"228", b"229"):
            assert REAL.replace(".", ",").encode() not in line, (self.sent[-1], line)
            return
        named = [int(number) for number in re.findall(rb"\d+", line[3:])]
        if line.startswith(b"227"):
            assert named[:4] == [127, 0, 0, 1], (self.sent[-1], line)
            port = named[4] << 8 | named[5]
        else:
            assert line.startswith(b"229"), (self.sent[-1], line)
            port = named[-1]
        assert LEASED[0] <= port <= LEASED[1], (self.sent[-1], line)
        self.arranged = True
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):  # announced anew meanwhile
            data = socket.create_connection((DIRECTOR, port), PATIENCE_S, (CLIENT, 0))
            data.shutdown(socket.SHUT_WR)
            self.data.append(data)

    def _judge_sockets(self) -> None:
        """Nobody came who must not, and the real server listens for no data that nobody arranged."""
        assert not self.attacker.foreign(), (self.sent[-2:], self.attacker.foreign())
        end = time.monotonic() + PATIENCE_S / 5
        while not self.arranged and (listening := data_listeners()):
            # A session that has just ended may leave one for a moment.
            assert time.monotonic() < end, (self.sent[-2:], f"{self.real.kind} listens on {listening}")
            time.sleep(0.005)


def data_listeners() -> list[int]:
    """Ports of its passive range that the real server listens on, at its own address (proc(5): /proc/net/tcp)."""
    found: list[int] = []
    own = socket.inet_aton(REAL)[::-1].hex().upper()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, port_text = local.rpartition(":")
            port = int(port_text, 16)
            if state == LISTENS and address.endswith(own) and PASSIVE[0] <= port <= PASSIVE[1]:
                found.append(port)
    return found


@pytest.fixture(scope="module", params=KINDS)
def attacker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    work = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        for name, more in GENEROUS.items():
            patch.setattr(realservers, name, getattr(realservers, name).replace("<Anonymous", f"{more}<Anonymous"))
        patch.setattr(realservers, "VSFTPD", realservers.VSFTPD + GENEROUS["VSFTPD"])
        with realservers.real_server(request.param, "alpha", work, REAL) as real:
            (real.root / "f").write_bytes(b"secret\n" * 100)
            port = realservers.free_port(DIRECTOR)
            file = cluster_file(
                work / "cluster.toml",
                [("alpha", real.host, real.port)],
                port=port,
                virtual=f'passive_ports = "{LEASED[0]}-{LEASED[1]}"\nmax_sessions_per_client = 0\n'
                '[virtual_server.health_check]\nprobe = "connect"\nfall = 100',
            )
            with director(file):
                it = Attacker(real, port)
                try:
                    yield it
                finally:
                    it.close()


def announcements(port: int) -> list[tuple[bytes, bytes]]:
    """Each way to announce data, as a verb and its argument, to an address that is not this client's."""
    high, low = port >> 8, port & 255
    hosts = (DIRECTOR, THIRD)
    return [
        *((b"PORT", b"%s,%d,%d" % (host.replace(".", ",").encode(), high, low)) for host in hosts),
        *((b"EPRT", b"|1|%s|%d|" % (host.encode(), port)) for host in hosts),
        *((b"LPRT", b"4,4,%s,2,%d,%d" % (host.replace(".", ",").encode(), high, low)) for host in hosts),
        *((verb, b"") for verb in (b"PASV", b"EPSV", b"LPSV", b"SPSV", b"P@SW", b"CPSV")),
        (b"EPSV", b"1"),
    ]  # fmt: skip


def spellings(verb: bytes, argument: bytes) -> Iterator[bytes]:
    """One command as no client writes it, but as one or another server reads it; with its end of line."""
    tail = b" " + argument if argument else b""
    for blank in BLANKS:
        yield verb + blank + argument + b"\r\n"
    for front in FRONTS:
        yield front + verb + tail + b"\r\n"
    for end in ENDS:
        yield verb + tail + end
    for inside in INSIDE:
        yield verb[:2] + inside + verb[2:] + tail + b"\r\n"
    yield verb.lower() + tail + b"\r\n"
    yield verb[:1] + verb[1:].lower() + tail + b"\r\n"
    yield verb + b"X" + tail + b"\r\n"
    yield verb[:3] + tail + b"\r\n"
    yield bytes(letter | 0x80 for letter in verb) + tail + b"\r\n"
    yield "".join(chr(0xFEE0 + letter) for letter in verb).encode() + tail + b"\r\n"  # full width
    yield verb.replace(b"S", "\u017f".encode()).replace(b"I", "\u0131".encode()) + tail + b"\r\n"  # in capitals: S, I
    yield verb + tail.replace(b",", b", ") + b"\r\n"
    yield verb + tail.replace(b"127", b"0127").replace(b",0,", b",256,") + b"\r\n"
    yield verb + tail + b" x\r\n"
    yield verb + tail + b"\0" + tail + b"\r\n"


TRANSFERS = (b"RETR f\r\n", b"RETR\tf\r\n", b"\tRETR f\r\n", b"RETR\0f\r\n", b"NOOP\r\0RETR f\r\n", b"NLST\v\r\n")


def test_no_spelling_announces_data(attacker: Attacker) -> None:
    """Every spelling of every verb, and behind it transfers in spellings of their own, in one segment."""
    for verb, argument in announcements(attacker.attacker.port):
        lines = [
            spelling + (TRANSFERS[1] if spelling[4:5] == b"\t" else TRANSFERS[number % len(TRANSFERS)])
            for number, spelling in enumerate(spellings(verb, argument))
        ]
        for at in range(0, len(lines), AT_ONCE):
            if not attacker.try_out(b"".join(lines[at : at + AT_ONCE])):
                for line in lines[at : at + AT_ONCE]:
                    attacker.try_out(line)


def test_no_cut_between_segments_announces_data(attacker: Attacker) -> None:
    """The same in two segments, cut at every place."""
    port = attacker.attacker.port
    argument = b"127,0,0,1,%d,%d" % (port >> 8, port & 255)
    for said in (
        b"PORT\t" + argument + b"\r\nRETR\tf\r\n",
        b"\xff\xf4\xff\xf2PORT " + argument + b"\r\n",
        b"PO\xff\xf1RT " + argument + b"\r\n",
        b"NOOP\r\0PASV\r\n",
        b"NOOP\rPASV\n",
        b"\xef\xbb\xbfPASV\0\r\n",
        b"PA\xff\xffSV\t\r\n",
        b" P@SW\r\n\tEPSV\r\n",
        b" " * 8180 + b"PASV\r\nLPSV\r\n",
    ):
        places = range(1, len(said)) if len(said) < 100 else (1, 4096, 8180, 8184, 8190, 8192, len(said) - 2)
        for place in places:
            attacker.try_out(said[:place], said[place:])


def mixtures(port: int) -> st.SearchStrategy[list[bytes]]:
    """Conversations of commands whole and maimed, with honest ones between them, cut anywhere."""
    honest = [
        b"PASV\r\n", b"EPSV\r\n", b"NOOP\r\n", b"TYPE I\r\n", b"CWD /\r\n", b"STOR incoming/u\r\n", b"ABOR\r\n",
        b"REST 3\r\n", b"PORT 127,0,0,8,%d,%d\r\n" % (port >> 8, port & 255), b"LIST\r\n", b"EPSV ALL\r\n",
        b"\xff\xf4\xff\xf2ABOR\r\n",
    ]  # fmt: skip
    verbs = st.sampled_from([*announcements(port), (b"RETR", b"f"), (b"STOR", b"incoming/v"), (b"NLST", b"")])
    dirt = st.one_of(st.sampled_from([b"", b"", b"", b" ", *BLANKS, *FRONTS, *INSIDE]), st.binary(max_size=3))

    @st.composite
    def maimed(draw: st.DrawFn) -> bytes:
        verb, argument = draw(verbs)
        cut = draw(st.integers(0, 4))
        blank = draw(st.one_of(st.just(b" "), dirt))
        line = draw(dirt) + verb[:cut] + draw(dirt) + verb[cut:] + blank + argument + draw(dirt)
        return (line.lower() if draw(st.booleans()) else line) + draw(st.sampled_from(ENDS))

    @st.composite
    def conversation(draw: st.DrawFn) -> list[bytes]:
        said = b"".join(draw(st.lists(st.one_of(maimed(), maimed(), st.sampled_from(honest)), min_size=1, max_size=6)))
        cuts = sorted(draw(st.lists(st.integers(0, len(said)), max_size=3)))
        return [said[a:b] for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True) if a < b or b == len(said)]

    return conversation()


def test_no_mixture_announces_data(attacker: Attacker) -> None:
    """Drawn ones, the same on every run."""

    @settings(max_examples=MIXTURES, deadline=None, derandomize=True, database=None)
    @given(said=mixtures(attacker.attacker.port))
    def holds(said: list[bytes]) -> None:
        attacker.try_out(*said)

    holds()
