"""However the director ends, whole files stay whole and cut ones are seen to be cut."""

from __future__ import annotations

import contextlib
import ftplib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.test_run import PASSIVE, Download, House, house, reals
from tests.directors import Director, cluster_file, director
from tests.loopback.dying_server import DyingServer, dying_server
from tests.loopback.running_proxy import quiet_port, read_all

pytestmark = pytest.mark.long

__all__ = ["house", "reals"]
MANY = [0, 1, *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(2, 10))]


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


class Transfers:
    """An upload and a download that stand in the middle, before a server that sees how each ends."""

    def __init__(self, port: int, real: DyingServer) -> None:
        self.real = real
        self.up, self.up_data = self._begin(port, "STOR up.bin")
        self.down, self.down_data = self._begin(port, "RETR down.bin")
        self.up_data.sendall(b"x" * 500_000)
        self.got = self.down_data.recv(1000)

    def _begin(self, port: int, command: str) -> tuple[ftplib.FTP, socket.socket]:
        ftp = ftplib.FTP(timeout=20)
        ftp.connect("127.0.0.1", port)
        ftp.login("user", "secret")
        return ftp, ftp.transfercmd(command)

    def both_are_reset(self) -> None:
        with pytest.raises(ConnectionResetError):
            raise AssertionError(f"ended cleanly after {len(read_all(self.down_data))} of {len(self.real.part)} bytes")
        assert self.real.stored.acquire(timeout=20)
        assert self.real.uploads == [None], "the real server saw a reset, no end of file"
        self.close()

    def finish_whole(self) -> None:
        self.up_data.sendall(b"y" * 500_000)
        self.up_data.shutdown(socket.SHUT_WR)
        self.up_data.close()
        assert self.up.voidresp().startswith("226")
        assert self.real.stored.acquire(timeout=20)
        assert self.real.uploads == [b"x" * 500_000 + b"y" * 500_000]
        self.got += read_all(self.down_data)
        assert self.down.voidresp().startswith("226")
        assert self.got == self.real.part
        self.close()

    def close(self) -> None:
        for one in (self.up, self.down, self.up_data, self.down_data):
            one.close()


@contextlib.contextmanager
def transferring(below: Path, *options: str) -> Iterator[tuple[Director, Transfers]]:
    port = quiet_port()
    with dying_server() as real:
        real.part = os.urandom(1 << 20) * 64
        file = cluster_file(
            below / "c.toml", [("alpha", "127.0.0.1", real.endpoint.port)], port=port,
            virtual=f'{PASSIVE}\n[virtual_server.health_check]\nprobe = "connect"\ninterval = "1h"',
        )  # fmt: skip
        with director(file, *options) as it:
            yield it, Transfers(port, real)


@pytest.mark.parametrize("turn", MANY)
def test_a_second_sigterm_resets_what_runs(tmp_path: Path, turn: int) -> None:
    with transferring(tmp_path, "--stop-timeout", "5m") as (it, transfers):
        it.signal(signal.SIGTERM)
        it.wait_for("stopping")
        time.sleep(turn * 0.02)
        it.signal(signal.SIGTERM)
        transfers.both_are_reset()
        assert it.wait() == 0


def test_two_sigterms_at_once_reset_what_runs(tmp_path: Path) -> None:
    with transferring(tmp_path, "--stop-timeout", "5m") as (it, transfers):
        it.signal(signal.SIGTERM)
        it.signal(signal.SIGINT)
        transfers.both_are_reset()
        assert it.wait() == 0


@pytest.mark.parametrize("turn", MANY)
def test_a_worker_whose_supervisor_was_killed_finishes_what_it_has(tmp_path: Path, turn: int) -> None:
    with transferring(tmp_path) as (it, transfers):
        (worker,) = it.workers()
        it.signal(signal.SIGKILL)
        it.process.wait(20)
        time.sleep(1.5 if turn == 0 else turn * 0.02)  # over its next report
        assert not has_ended(worker)
        transfers.finish_whole()
        it.until(lambda: has_ended(worker), "then it ends")
        it.wait()


def test_a_worker_whose_supervisor_was_killed_ends_within_its_bound(tmp_path: Path) -> None:
    with transferring(tmp_path, "--stop-timeout", "1s") as (it, transfers):
        (worker,) = it.workers()
        it.signal(signal.SIGKILL)
        it.process.wait(20)
        it.until(lambda: has_ended(worker), "it ends")
        transfers.both_are_reset()
        it.wait()


def test_a_new_director_serves_beside_workers_that_are_left(house: House) -> None:
    with director(house.file) as it:
        download = Download(house)
        (worker,) = it.workers()
        it.signal(signal.SIGKILL)
        it.process.wait(20)
        with director(house.file) as again:
            assert house.who() in ("alpha", "bravo")
            assert download.is_whole()
            again.until(lambda: has_ended(worker), "the worker that was left ends")
            assert again.end() == 0


def test_the_control_socket_is_served_by_one_who_waits_for_transfers(house: House) -> None:
    """The bound of the end is kept, and threads that ask get an answer or a refusal, never silence."""
    with director(house.file, "--stop-timeout", "1s") as it:
        download = Download(house)
        it.signal(signal.SIGTERM)
        it.wait_for("stopping")
        begin = time.monotonic()
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(it.ask("status").returncode))
        thread.start()
        thread.join(20)
        assert codes in ([0], [1])
        assert it.wait() == 0
        assert time.monotonic() - begin < 15
        assert isinstance(download.finish()[0], Exception)
