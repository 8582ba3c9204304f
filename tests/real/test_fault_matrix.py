"""Who dies, when, in which direction, with which real server: what the survivors see, and what the server says of it.

`client`, `session` (the real server's process of this session) and `worker` are killed with SIGKILL. Up to the decision
nobody may take the file for whole; behind it, whoever says whole must have all of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import realservers
from lab.realservers import KINDS

from tests.real.places import SIZE, Place, descendants, place_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

BODY = 1 << 20
WHO = ("client", "session", "worker")
WHEN = ("before data", "first byte", "in the middle", "last byte", "end of data", "final reply")
"""`end of data`: the sender's FIN is sent, and its final reply not waited for."""
DIRECTIONS = ("up", "down")
UNDECIDED = {"up": WHEN[:4], "down": WHEN[:3]}
"""A real server ends its data right behind the last byte: only a client can be stopped between the two."""

CLIENT_PROGRAM = """
import socket, sys
control = socket.create_connection((sys.argv[1], int(sys.argv[2])))
control.settimeout(20)
lines = control.makefile("rb")
data = None
def reply():
    while True:
        line = lines.readline()
        if not line or line[3:4] == b" ":
            return line.decode().strip()
def act(verb, text):
    global data
    if verb == "reply":
        return reply()
    if verb == "ask":
        control.sendall(text.encode() + b"\\r\\n")
        return reply()
    if verb == "say":
        return control.sendall(text.encode() + b"\\r\\n")
    if verb == "open":
        data = socket.create_connection((sys.argv[1], int(text)))
        data.settimeout(20)
    if verb == "send":
        return data.sendall(bytes(int(text)))
    if verb == "take":
        left = int(text)
        while left:
            left -= len(data.recv(min(left, 65536))) or 1 << 60
    if verb == "end":
        data.shutdown(socket.SHUT_WR)
    if verb == "rest":
        got = 0
        while part := data.recv(65536):
            got += len(part)
        return got
for line in sys.stdin:
    verb, _, text = line.strip().partition(" ")
    try:
        print("ok", act(verb, text), flush=True)
    except (OSError, ValueError) as error:
        print("failed", type(error).__name__, flush=True)
"""


class ClientProcess:
    """A client process that does as it is told."""

    def __init__(self, place: Place) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CLIENT_PROGRAM, "127.0.0.1", str(place.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.does("reply").startswith("220")
        if self.does(f"ask USER {place.real.user}").startswith("331"):
            assert self.does(f"ask PASS {place.real.password}").startswith("230")
        assert self.does("ask TYPE I").startswith("200")
        self.does(f"open {self.does('ask EPSV').split('|')[3]}")
        # The answer comes behind the director's accept(2), from which on the data connection stands.
        assert self.does("ask NOOP").startswith("200")

    def tries(self, what: str) -> tuple[str, str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        outcome, _, text = self.process.stdout.readline().strip().partition(" ")
        return outcome, text

    def does(self, what: str) -> str:
        outcome, text = self.tries(what)
        assert outcome == "ok", (what, outcome, text)
        return text

    def last_reply(self) -> str:
        """The last one before the end, or the first that is final; empty when there is none."""
        last = ""
        while True:
            outcome, text = self.tries("reply")
            if outcome != "ok" or not text:
                return last
            last = text
            if last[0] != "1":
                return last

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@dataclass(frozen=True)
class Row:
    who: str
    when: str
    direction: str

    @property
    def undecided(self) -> bool:
        return self.when in UNDECIDED[self.direction]


ROWS = [Row(*row) for row in itertools.product(WHO, WHEN, DIRECTIONS)]


def walk_up(client: ClientProcess, row: Row, name: str) -> str:
    """As far as the row goes; the final reply if it goes so far."""
    assert client.does(f"ask STOR incoming/{name}")[0] == "1"
    size = {"before data": 0, "first byte": 1, "in the middle": BODY // 2}.get(row.when, BODY)
    client.does(f"send {size}")
    if row.when in ("end of data", "final reply"):
        client.does("end")
    return client.does("reply") if row.when == "final reply" else ""


def walk_down(client: ClientProcess, row: Row, name: str) -> str:
    big = row.when in UNDECIDED["down"]
    if row.when != "before data":
        assert client.does(f"ask RETR {name}")[0] == "1"
        client.does(f"take {1 if row.when == 'first byte' else BODY // 2 if big else BODY}")
    if row.when in ("end of data", "final reply"):
        assert client.does("rest") == "0"
    return client.does("reply") if row.when == "final reply" else ""


def kill(place: Place, client: ClientProcess, row: Row, worker: int) -> None:
    match row.who:
        case "client":
            client.kill()
        case "session":
            assert place.kill_sessions()
        case _:
            assert place.worker() == worker, "it was replaced meanwhile"
            os.kill(worker, signal.SIGKILL)


def wrong_up(place: Place, row: Row, worker: int, name: str) -> Iterator[str]:
    client = ClientProcess(place)
    final = walk_up(client, row, name)
    kill(place, client, row, worker)
    if row.who != "client":
        if not final:
            client.tries("end")
            final = client.last_reply()
        client.kill()
    if row.who != "session" and place.tells:
        verdict = place.verdict(name)
        if row.undecided and verdict != "cut":
            yield f"the server says {verdict}"
        if verdict == "whole" and place.stored(name) != BODY:
            yield f"the server takes {place.stored(name)} bytes for whole"
        if row.when == "final reply" and verdict != "whole":
            yield "the server has lost what it had confirmed"
    if final.startswith("2") and (row.undecided or place.stored(name) != BODY):
        yield f"the client heard {final} with {place.stored(name)} bytes stored"


def wrong_down(place: Place, row: Row, worker: int, name: str) -> Iterator[str]:
    big = row.when in UNDECIDED["down"]
    os.link(place.real.root / ("big.bin" if big else "whole.bin"), place.real.root / name)
    client = ClientProcess(place)
    final = walk_down(client, row, name)
    taken = {"before data": 0, "first byte": 1, "in the middle": BODY // 2}.get(row.when, BODY)
    kill(place, client, row, worker)
    if row.who == "client":
        if place.tells and row.when in ("first byte", "in the middle") and place.verdict(name) != "cut":
            yield "the server takes what was not taken for whole"
        return
    if row.when == "before data":
        client.tries(f"say RETR {name}")
    outcome, rest = client.tries("rest")
    got = taken + int(rest) if outcome == "ok" else 0
    if not final:
        final = client.last_reply()
    client.kill()
    if outcome == "ok" and got != (SIZE if big else BODY):
        yield f"FIN behind {got} bytes"
    if final.startswith("2") and (outcome != "ok" or row.undecided):
        yield f"the client heard {final}, and data ended with {rest}"


def walk(place: Place, rows: list[Row]) -> list[str]:
    """Each row; what was wrong with it."""
    (place.real.root / "whole.bin").write_bytes(bytes(BODY))
    found: list[str] = []
    worker = place.worker()
    for number, row in enumerate(rows):
        wrong = (wrong_up if row.direction == "up" else wrong_down)(place, row, worker, f"row-{number}")
        found += [f"{row}: {text}" for text in wrong]
        if row.who == "worker":
            worker = place.worker(worker)
        place.director.until(
            lambda: place.real.kind == "pyftpdlib" or not descendants(place.real.pid), "sessions of the real server"
        )
    place.director.until(lambda: place.director.real_server("alpha")["sessions"] == 0, "sessions are left")
    return found


def rows_of(kind: str) -> list[Row]:
    """pyftpdlib has no process for a session."""
    return [row for row in ROWS if kind != "pyftpdlib" or row.who != "session"]


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_dies_nobody_takes_a_cut_file_for_whole(kind: str, tmp_path: Path) -> None:
    """A third of the rows with each server, so that all of them come up: every pair of who, when and direction does."""
    rows = rows_of(kind)[KINDS.index(kind) % 3 :: 3]
    with place_of(kind, tmp_path, top="workers = 1", virtual=GRACE) as place:
        assert walk(place, rows) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_dies_in_any_row(kind: str, tmp_path: Path) -> None:
    with place_of(kind, tmp_path, top="workers = 1", virtual=GRACE) as place:
        assert walk(place, rows_of(kind) * 3) == []


GRACE = '[virtual_server.timeouts]\nupload_grace = "300ms"'
"""A busy machine closes the descriptors of a killed process milliseconds apart."""
