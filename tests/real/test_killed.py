"""Whoever is killed in mid-transfer, nobody takes a cut file for whole: told by the real servers' own logs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from lab import realservers

from tests.loopback.running_proxy import read_all
from tests.real.places import Place, place_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

SEED = 20261128
AT_ONCE = 4
"""Uploads under way when a worker dies."""
BODY = 3 << 20
SENDING = 1 << 30
"""More than a client can send before it is killed."""
GRACE = '[virtual_server.timeouts]\nupload_grace = "{}"'

CLIENT = """
import os, socket, sys
host, port, user, password, name, size, order = sys.argv[1:]
low = os.open("/dev/null", os.O_RDONLY)
control = socket.create_connection((host, int(port)))
lines = control.makefile("rb")
def ask(text):
    if text:
        control.sendall(text.encode() + b"\\r\\n")
    while True:
        line = lines.readline()
        if line[3:4] == b" ":
            return line.decode()
ask("")
if ask("USER " + user).startswith("331"):
    ask("PASS " + password)
ask("TYPE I")
data = socket.create_connection((host, int(ask("EPSV").split("|")[3])))
if order == "data below":
    os.dup2(data.fileno(), low)
    data = socket.socket(fileno=low, family=socket.AF_INET, type=socket.SOCK_STREAM)
    os.closerange(control.fileno() + 1, 64)
assert (data.fileno() > control.fileno()) == (order == "data above")
print(ask("STOR incoming/" + name), end="", flush=True)
data.sendall(bytes(int(size)))
print("sent", flush=True)
sys.stdin.read()
"""


class Client:
    """A client process that uploads, and then neither ends nor goes on."""

    def __init__(self, place: Place, name: str, size: int, order: str) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-I", "-S", "-c", CLIENT, "127.0.0.1", str(place.port), place.real.user,
                place.real.password, name, str(size), order,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.hears().startswith("150")

    def hears(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def kill_clients(place: Place, times: int) -> Counter[str]:
    """Clients are killed between bytes and while bytes are on their way, the data connection's descriptor above the
    control connection's and below; what the real server says of each."""
    chance = random.Random(SEED)
    found: Counter[str] = Counter()
    for number in range(times):
        name = f"killed-{number}"
        order = ("data above", "data below")[number % 2]
        sending = number % 4 > 1
        client = Client(place, name, SENDING if sending else int(2 ** chance.uniform(0, 20)), order)
        if sending:
            time.sleep(chance.uniform(0, 0.01))
        else:
            assert client.hears() == "sent\n"
        client.kill()
        found[f"{place.verdict(name)}, {order}"] += 1
    return found


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_a_client_killed_in_mid_stor_leaves_no_whole_file(kind: str, tmp_path: Path) -> None:
    """With a grace that outlasts whatever a busy machine does to a dying process."""
    with place_of(kind, tmp_path, virtual=GRACE.format("500ms")) as place:
        found = kill_clients(place, 24)
    assert found == {"cut, data above": 12, "cut, data below": 12}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_of_a_thousand_killed_clients_none_is_taken_for_whole(kind: str, tmp_path: Path) -> None:
    """With the default grace, on an idle machine: docs/explanation/whole-files.md says what a busy one does."""
    with place_of(kind, tmp_path) as place:
        found = kill_clients(place, 1000)
    assert found == {"cut, data above": 500, "cut, data below": 500}


class Upload(threading.Thread):
    """A client that sends slowly, in a thread."""

    def __init__(self, place: Place, name: str, size: int, pace_s: float) -> None:
        super().__init__(daemon=True)
        self.name_there, self.size, self.pace_s = name, size, pace_s
        self.line = place.login()
        self.data = self.line.passive()
        self.line.say(f"STOR incoming/{name}")
        assert self.line.reply().startswith("150")
        self.final = ""

    def run(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            for _ in range(8):
                self.data.sendall(bytes(self.size // 8))
                time.sleep(self.pace_s)
            self.data.shutdown(socket.SHUT_WR)
            self.final = self.line.reply()

    def close(self) -> None:
        self.join(30)
        self.data.close()
        self.line.sock.close()


def kill_workers(place: Place, how: signal.Signals, times: int) -> Counter[str]:
    """A worker dies at random points of uploads, or just behind them; what the real server says of each."""
    chance = random.Random(SEED + how)
    found: Counter[str] = Counter()
    worker = 0
    for number in range(times):
        worker = place.worker(worker)
        paces = [chance.uniform(0, 0.02) for _ in range(AT_ONCE)]
        uploads = [Upload(place, f"{how.name}-{number}-{part}", BODY, pace) for part, pace in enumerate(paces)]
        for upload in uploads:
            upload.start()
        time.sleep(chance.uniform(0, 0.06))
        os.kill(worker, how)
        for upload in uploads:
            upload.close()
            verdict, stored = place.verdict(upload.name_there), place.stored(upload.name_there)
            if verdict == "whole":
                assert stored == BODY, f"{upload.name_there}: {stored} of {BODY} taken for whole"
                found["whole, killed behind the decision"] += 1
            else:
                assert not upload.final.startswith("2"), upload.final
                found["cut"] += 1
    return found


WAYS = (signal.SIGKILL, signal.SIGSEGV)
"""As the kernel kills when memory runs out, and as a bug does."""


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
@pytest.mark.parametrize("how", WAYS)
def test_a_worker_killed_in_mid_stor_leaves_no_whole_file(kind: str, how: signal.Signals, tmp_path: Path) -> None:
    with place_of(kind, tmp_path, top="workers = 1") as place:
        found = kill_workers(place, how, 4)
    assert found["cut"] >= 4, found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
@pytest.mark.parametrize("how", WAYS)
def test_of_two_hundred_killed_workers_none_leaves_a_whole_file(kind: str, how: signal.Signals, tmp_path: Path) -> None:
    with place_of(kind, tmp_path, top="workers = 1") as place:
        found = kill_workers(place, how, 200)
    assert found["cut"] >= 200, found


@pytest.mark.parametrize("kind", ["vsftpd", "proftpd"])
def test_all_of_the_director_killed_at_once_leaves_no_whole_file(kind: str, tmp_path: Path) -> None:
    """Both directions: the real server's log says that the upload was cut, the one who downloads sees a reset."""
    with place_of(kind, tmp_path, top="workers = 1") as place, place.login() as down, down.passive() as data:
        down.say("RETR big.bin")
        assert data.recv(65536)
        upload = Upload(place, "all", 1 << 20, 0)
        upload.data.sendall(bytes(100_000))
        pids = [place.director.process.pid, *place.director.workers()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        place.director.wait()
        with pytest.raises(ConnectionResetError):
            read_all(data)
        assert place.verdict("all") == "cut"
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            upload.data.sendall(bytes(100 << 20))
        for sock in (upload.data, upload.line.sock):
            sock.close()


def test_a_worker_killed_in_mid_retr_resets_the_client(tmp_path: Path) -> None:
    """Five deaths, four downloads each, small and large: an end without reset comes behind the last byte alone."""
    chance = random.Random(SEED)
    with place_of("vsftpd", tmp_path, top="workers = 1") as place:
        sizes = {"small.bin": 1000, "big.bin": 256 << 20}
        worker = 0
        for _ in range(5):
            worker = place.worker(worker)
            lines = [place.login() for _ in range(AT_ONCE)]
            names = [chance.choice(["small.bin", "big.bin", "big.bin"]) for _ in lines]
            datas = [line.passive() for line in lines]
            for line, name in zip(lines, names, strict=True):
                line.say(f"RETR {name}")
            time.sleep(chance.uniform(0, 0.01))
            os.kill(worker, signal.SIGKILL)
            for line, name, data in zip(lines, names, datas, strict=True):
                with contextlib.suppress(ConnectionResetError):
                    got = len(read_all(data))
                    assert got == sizes[name], f"{name}: FIN behind {got} bytes"
                data.close()
                line.sock.close()
