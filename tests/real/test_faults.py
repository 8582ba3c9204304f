"""Real servers that are killed in the middle, clients that vanish, and what is left behind after many transfers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lab import realservers

from tests.loopback.running_proxy import FtpClient, read_all, reset
from tests.real.places import Place, place_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

SEED = 20261123
KINDS = ("vsftpd", "proftpd", "pure-ftpd")
"""Those with a process for each session."""
DEATHS = 34


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_of(request.param, tmp_path) as it:
        yield it


def test_a_server_killed_in_mid_retr_is_never_taken_for_complete(place: Place) -> None:
    """Thirty-four deaths at random points for each of three servers; each ends in a reset and without a 2xx."""
    chance = random.Random(SEED)
    for number in range(DEATHS):
        due = int(chance.random() ** 2 * (16 << 20))
        with place.login() as line, line.passive() as data:
            line.say("RETR big.bin")
            got = 0
            while got < due:
                got += len(data.recv(min(65536, due - got)))
            assert place.kill_sessions()
            try:
                got += len(read_all(data))
            except ConnectionResetError:
                assert_no_success(line)
                continue
            pytest.fail(f"death {number} after {due} bytes looked like an end after {got}")


def test_a_server_killed_in_mid_stor_is_never_taken_for_complete(place: Place) -> None:
    """Thirty-four deaths for each of three servers: the client hears no 2xx, whatever it sends afterwards."""
    chance = random.Random(SEED)
    for _ in range(DEATHS):
        before, after = (int(chance.random() ** 2 * (8 << 20)) for _ in range(2))
        with place.login() as line, line.passive() as data:
            line.say("STOR incoming/up.bin")
            data.sendall(bytes(before))
            assert line.reply().startswith("150")
            assert place.kill_sessions()
            with contextlib.suppress(OSError):
                data.sendall(bytes(after))
                data.shutdown(socket.SHUT_WR)
            assert_no_success(line)


@pytest.mark.parametrize("place", ["pyftpdlib"], indirect=True)
@pytest.mark.parametrize("verb", ["RETR big.bin", "STOR incoming/up.bin"])
def test_a_whole_server_killed_is_never_taken_for_complete(place: Place, verb: str) -> None:
    """Listener and sessions die at once: a reset for the one who reads, no 2xx for either."""
    with place.login() as line, line.passive() as data:
        line.say(verb)
        if verb.startswith("STOR"):
            data.sendall(bytes(1 << 20))
        else:
            assert data.recv(65536)
        assert line.reply().startswith("1")
        os.kill(place.real.pid, signal.SIGKILL)
        if verb.startswith("STOR"):
            with contextlib.suppress(OSError):
                data.shutdown(socket.SHUT_WR)
        else:
            with pytest.raises(ConnectionResetError):
                read_all(data)
        assert_no_success(line)


def assert_no_success(line: FtpClient) -> None:
    """What the client hears until the director hangs up."""
    with contextlib.suppress(EOFError, ConnectionResetError):
        while True:
            assert line.reply()[0] in "145"


@pytest.mark.parametrize("how", ["control", "data", "both"])
def test_a_client_that_vanishes_in_mid_stor_leaves_no_whole_file(place: Place, how: str) -> None:
    """The real server sees a reset, never an end; its session goes away."""
    with place.login() as line:
        data = line.passive()
        line.say("STOR incoming/cut.bin")
        data.sendall(bytes(1 << 20))
        assert line.reply().startswith("150")
        if how in ("control", "both"):
            reset(line.sock)
        if how in ("data", "both"):
            reset(data)
        if how == "data":
            assert line.reply()[0] in "45"
        data.close()
    place.director.until(lambda: place.director.real_server("alpha")["sessions"] == 0, "the session ends")
    ended = place.director.wait_for("transfer", verb="STOR")
    assert ended["outcome"] != "complete"


@pytest.mark.parametrize("place", ["pyftpdlib"], indirect=True)
def test_nothing_is_left_behind_after_a_thousand_transfers_and_two_hundred_at_once(place: Place) -> None:
    def fetch() -> None:
        with place.login() as line, line.passive() as data:
            line.say("RETR small.bin")
            assert read_all(data) == b"s" * 1000
            assert [line.reply()[0], line.reply()[:3]] == ["1", "226"]
            line.say("QUIT")
            line.reply()

    def parallel(times: int) -> None:
        barrier = threading.Barrier(times, timeout=90)

        def one() -> None:
            with place.login() as line:
                barrier.wait()  # all of them have a session now
                with line.passive() as data:
                    line.say("RETR small.bin")
                    assert read_all(data) == b"s" * 1000
                    assert [line.reply()[0], line.reply()[:3]] == ["1", "226"]

        with ThreadPoolExecutor(times) as pool:
            outcomes = [pool.submit(one) for _ in range(times)]
        errors = {repr(done.exception()) for done in outcomes if done.exception()}
        assert errors == set(), place.director.text[-3000:]

    (worker,) = place.director.workers()
    for _ in range(50):
        fetch()
    parallel(200)
    fds, memory = settled(worker)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fetch) for _ in range(1000)]:
            done.result()
    parallel(200)
    fds_after, memory_after = settled(worker)
    assert fds_after <= fds + 8, "descriptors"
    assert memory_after < memory + (4 << 20), f"{(memory_after - memory) / 1e6:.1f} MB more"


def settled(pid: int) -> tuple[int, int]:
    """Open descriptors and resident bytes, once the descriptors have come to rest.

    Data ports that listen do not count: as many are kept as were ever leased at once, rounded up to a power of two.
    """
    before = -1
    end = time.monotonic() + 20
    while (now := len(held(pid))) != before and time.monotonic() < end:
        before = now
        time.sleep(1.2)
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return now, pages * os.sysconf("SC_PAGE_SIZE")


def held(pid: int) -> list[str]:
    """What its descriptors are, listening sockets apart."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()
    ]
    listening = {f"socket:[{words[9]}]" for words in lines if words[3] == "0A"}
    found: list[str] = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(descriptor.readlink()))
    return [one for one in found if one not in listening]
