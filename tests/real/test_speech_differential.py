"""A client cannot tell the director from the server behind: conversations compared word for word with a direct one.

What may differ is normalised: addresses and ports, times and rates, and the words in which PASV, EPSV and PORT are
answered. 26 kinds of command, four servers, passive and active.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from lab import realservers
from lab.realservers import KINDS, clear

from ftpdirector.model import Endpoint, PortRange
from tests.loopback.running_proxy import director, read_all, virtual_server
from tests.real.test_speech import FILE, Behind, Talk

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

BIG = bytes(range(256)) * 8192
OF_AN_ABORT = ("150", "426", "226", "225")
"""Pure-FTPd has a second 150 for a client that is gone."""
TEXT = b"one\r\ntwo\r\nthree\r\n"


class Both:
    """One conversation, and what was said and seen in it."""

    def __init__(self, talk: Talk, *, passive: bool) -> None:
        self.line = talk
        self.passive = passive
        self.heard: list[str] = []

    def ask(self, *lines: str) -> None:
        for line in lines:
            self.heard.append(f"{line}: {normal(self.line.ask(line))}")

    def data(self) -> tuple[socket.socket, bool]:
        """A data connection, and whether it must be accepted yet."""
        if self.passive:
            answer = self.line.ask("PASV")
            numbers = re.search(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)", answer)
            assert numbers is not None, answer
            port = int(numbers[5]) * 256 + int(numbers[6])
            return socket.create_connection((self.line.sock.getpeername()[0], port), 10), False
        own = self.line.sock.getsockname()[0]
        listener = socket.create_server((own, 0))
        listener.settimeout(10)
        port = listener.getsockname()[1]
        answer = self.line.ask(f"PORT {own.replace('.', ',')},{port >> 8},{port & 255}")
        assert answer.startswith("200"), answer
        return listener, True

    def transfer(self, command: str, upload: bytes | None = None, *, size_only: bool = False, rest: str = "") -> None:
        """Both replies, and what came over the data connection and how it ended."""
        data, waits = self.data()
        with data:
            if rest:
                self.ask(rest)
            first = self.line.ask(command)
            self.heard.append(f"{command}: {normal(first)}")
            if first[0] != "1":
                return
            if waits:
                data, listener = data.accept()[0], data
                listener.close()
            with data:
                if upload is not None:
                    data.sendall(upload)
                    data.close()
                else:
                    try:
                        got = read_all(data)
                        seen = str(len(got)) if size_only else repr(listing(got))
                    except ConnectionResetError:
                        seen = "reset"
                    self.heard.append(f"  data: {seen}")
            self.heard.append(f"  then: {normal(self.line.reply())}")


def listing(data: bytes) -> list[str]:
    """Lines in any order; times and what the file system thinks of a folder's size left out."""
    lines = data.decode("latin-1").splitlines()
    return sorted(
        re.sub(r"\s+\d+ +\w{3} +\d+ +[\d:]+ |(modify|perm|size|unique|sizd)=[^;]*;", " ~ ", line) for line in lines
    )


def normal(reply: str) -> str:
    reply = re.sub(r"\d+\.\d+\.\d+\.\d+(:\d+)?", "ADDRESS", reply)
    reply = re.sub(r"[\d.]+ ?([kKMGT]?bytes|seconds|[kMG]?B|[kKMG]?bytes/sec)[^\n]*", "RATE", reply)
    reply = re.sub(r"(?i)(unique file name|file): ?[^\s)]+", r"\1 NAME", reply)
    reply = re.sub(r"^1[25][05] FILE", "150 FILE", reply)
    reply = re.sub(r"20\d{12}", "TIME", reply)
    # Which of the two is said depends on who was faster, or on who connects to whom behind the director.
    reply = re.sub(r"125 Data connection already open.*|150 File status okay.*", "OPENING", reply)
    reply = re.sub(r"150([- ])(Accepted data connection|Connecting to port \d+)", r"OPENING\1", reply)
    return re.sub(r"pid[ :]*\d+|\b[\d.]+ ?(secs?|Kbytes?)\b[^\n]*|\d\d:\d\d(:\d\d)?", "~", reply)


def abort(both: Both) -> None:
    """How many replies come, and in which order, is a matter of time: that the session goes on is compared."""
    data, waits = both.data()
    with data:
        first = both.line.ask("RETR big")
        both.heard.append(first[0])
        if waits:
            data, listener = data.accept()[0], data
            listener.close()
        data.recv(1000)
        both.line.say("ABOR")
        data.close()
        assert both.line.reply()[:3] in OF_AN_ABORT
        both.line.say("PWD")
        while not (answer := both.line.reply()).startswith("257"):
            assert answer[:3] in OF_AN_ABORT


def store(both: Both) -> None:
    both.ask("TYPE I")
    both.transfer("STOR incoming/u", FILE)
    both.ask("SIZE incoming/u")
    both.transfer("RETR incoming/u", size_only=True)
    both.transfer("STOR incoming/e", b"")
    both.ask("SIZE incoming/e")


def append(both: Both) -> None:
    both.ask("TYPE I")
    both.transfer("APPE incoming/a", FILE)
    both.transfer("APPE incoming/a", FILE)
    both.ask("SIZE incoming/a", "DELE incoming/a")


def retrieve(*commands: str, of_type: str = "I", rest: str = "") -> Callable[[Both], None]:
    def kind(both: Both) -> None:
        both.ask(f"TYPE {of_type}")
        for command in commands:
            both.transfer(command, size_only=command.endswith("big"), rest=rest)

    return kind


def empty_line(both: Both) -> None:
    both.line.sock.sendall(b"\r\n")


def store_unique(both: Both) -> None:
    both.ask("TYPE I", "CWD incoming")
    both.transfer("STOU", FILE)


KINDS_OF_COMMAND: dict[str, Callable[[Both], None]] = {
    "where": lambda both: both.ask("PWD", "XPWD", "CWD d", "PWD", "CDUP", "PWD", "XCUP", "CWD gone", "CWD /"),
    "type": lambda both: both.ask("TYPE I", "TYPE A", "TYPE A N", "TYPE Q", "TYPE L 8", "TYPE"),
    "mode and structure": lambda both: both.ask("MODE S", "STRU F"),
    "size and time": lambda both: both.ask("TYPE I", "SIZE f", "SIZE gone", "MDTM gone", "SIZE d", "TYPE A", "SIZE f"),
    "files": lambda both: both.ask("DELE gone", "RNFR gone", "RNTO x", "RNFR f", "NOOP"),
    "folders": lambda both: both.ask("MKD incoming/made", "MKD incoming/made", "RMD incoming/made", "RMD gone"),
    "system": lambda both: both.ask("SYST", "NOOP", "noop", "ALLO 5", "ACCT x"),
    "help": lambda both: both.ask("SITE HELP", "SITE NONSENSE"),
    "status of a folder": lambda both: both.heard.append(both.line.ask("STAT gone")[:3]),
    "unknown": lambda both: both.ask("NONSENSE", "XNONE a b", "FOO"),
    "options": lambda both: both.ask("OPTS UTF8 ON", "OPTS NONE", "CLNT test", "LANG"),
    "rest": lambda both: both.ask("TYPE I", "REST 5", "REST x", "REST 0"),
    "user again": lambda both: both.ask("USER nobody"),
    "abor of nothing": lambda both: both.ask("ABOR", "NOOP"),
    "reinitialise": lambda both: both.ask("REIN"),
    "an empty line": empty_line,
    "list": lambda both: both.transfer("LIST"),
    "list of names": lambda both: both.transfer("NLST"),
    "list of a folder": lambda both: both.transfer("LIST d"),
    "list of nothing": lambda both: both.transfer("LIST nothing"),
    "list of what is not there": lambda both: both.transfer("LIST gone"),
    "machine list": lambda both: both.transfer("MLSD d"),
    "retrieve": retrieve("RETR f", "RETR big"),
    "retrieve nothing": retrieve("RETR empty"),
    "retrieve what is not there": retrieve("RETR gone", "RETR d"),
    "retrieve from the middle": retrieve("RETR f", rest="REST 990"),
    "retrieve as text": retrieve("RETR text", of_type="A"),
    "store": store,
    "append": append,
    "store unique": store_unique,
    "store where nobody may": lambda both: both.transfer("STOR gone/x", b""),
    "abort": abort,
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    work: Path = tmp_path_factory.mktemp("differential")
    with realservers.real_server(request.param, "alpha", work) as real:
        for name, content in {"f": FILE, "empty": b"", "text": TEXT, "big": BIG * 8}.items():
            (real.root / name).write_bytes(content)
        (real.root / "d").mkdir()
        (real.root / "d" / "inside").write_bytes(b"x")
        (real.root / "nothing").mkdir()
        server = Endpoint(ip_address(real.host), real.port)
        front = virtual_server([("alpha", server)], passive_ports=PortRange(23_000, 23_999))
        with director(front) as proxy:
            yield Behind(real, proxy)


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
@pytest.mark.parametrize("kind", KINDS_OF_COMMAND)
def test_word_for_word(behind: Behind, kind: str, passive: bool) -> None:
    if kind == "an empty line" and behind.real.kind in ("pyftpdlib", "proftpd"):
        return  # These two answer it; vsftpd, Pure-FTPd and the director do not.
    heard: list[list[str]] = []
    for direct in (True, False):
        clear(behind.real.root / "incoming")
        line = behind.talk(direct=direct)
        with line:
            both = Both(line, passive=passive)
            KINDS_OF_COMMAND[kind](both)
            both.ask("PWD" if kind not in ("reinitialise", "user again") else "NOOP")
            heard.append(both.heard)
    assert heard[1] == heard[0]
