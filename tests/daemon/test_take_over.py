"""A take-over that dies anywhere harms nobody, and the predecessor's sessions count until they end."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.test_run import Download, House, house, reals
from tests.directors import Director, director, ftpdirector

pytestmark = pytest.mark.long

__all__ = ["house", "reals"]


@contextlib.contextmanager
def successor(old: Director) -> Iterator[Director]:
    it = Director(old.file, old.socket, "--take-over")
    try:
        yield it
    finally:
        kill(it)
        it._thread.join(20)
        assert it.process.stderr is not None
        it.process.stderr.close()


def kill(it: Director) -> None:
    if it.process.poll() is None:
        workers = []
        with contextlib.suppress(OSError):
            workers = it.workers()
        it.process.kill()
        it.process.wait(20)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def goes_on(house: House, old: Director) -> None:
    """It serves, is reached by its operator, and can still be replaced."""
    old.until(lambda: old.ask("status").returncode == 0, "it is reached")
    assert {house.who() for _ in range(6)} == {"alpha", "bravo"}
    assert old.ask("drain", "alpha").returncode == 0
    assert {house.who() for _ in range(3)} == {"bravo"}
    assert old.ask("enable", "alpha").returncode == 0
    assert old.process.poll() is None


def test_a_successor_that_is_killed_at_any_step_leaves_the_old_director_in_reach(house: House) -> None:
    """At its first word, once its workers are there, beside the old socket, in its place, and when it says `ready`."""
    with director(house.file) as old:
        inode = old.socket.stat().st_ino

        def in_place() -> bool:
            with contextlib.suppress(OSError):
                return old.socket.stat().st_ino != inode
            return False

        def beside(it: Director) -> bool:
            return (old.socket.parent / f".{old.socket.name}.{it.process.pid}").exists() or in_place()

        for step in ("start", "workers", "beside", "in place", "in place", "ready"):
            with successor(old) as it:
                match step:
                    case "start" | "ready":
                        it.wait_for(step)
                    case "workers":
                        it.until(it.workers, "workers")
                    case "beside":
                        while not beside(it):
                            pass
                    case _:
                        while not in_place():
                            pass
                kill(it)
                if step in ("in place", "ready"):
                    old.until(lambda: old.ask("status").returncode == 0, "it is reached again")
                goes_on(house, old)
                inode = old.socket.stat().st_ino
        left = [path.name for path in old.socket.parent.glob(f".{old.socket.name}.*")]
        with director(house.file, "--take-over", socket=old.socket) as new:
            assert old.wait() == 0
            assert {house.who() for _ in range(2)} == {"alpha", "bravo"}
            assert not list(old.socket.parent.glob(f".{old.socket.name}.*")), left
            assert new.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(20))
def test_a_successor_that_is_killed_at_a_random_moment(house: House, turn: int) -> None:
    with director(house.file) as old:
        with successor(old) as it:
            time.sleep(random.uniform(0.2, 1.5))
            kill(it)
        # Killed late enough, it was the director, and the old one has made way for it.
        with contextlib.suppress(AssertionError):
            old.wait_for("successor_gone")
        if "stopping" not in old.text:
            goes_on(house, old)


def test_the_predecessors_sessions_count_until_they_end(house: House) -> None:
    with director(house.file) as old:
        download = Download(house)
        name = next(one for one in ("alpha", "bravo") if old.real_server(one)["sessions"])
        with director(house.file, "--take-over", socket=old.socket) as new:
            server = new.real_server(name)
            assert (server["sessions"], server["transfers"]) == (1, 1)
            assert "still serves 1 session" in new.ask("status").stdout
            left = new.ask("drain", name, "--wait", "--timeout", "1s")
            assert (left.returncode, "1 session left" in left.stdout) == (1, True), left
            assert download.is_whole()
            done = new.ask("drain", name, "--wait", "--timeout", "20s")
            assert (done.returncode, "0 sessions left" in done.stdout) == (0, True), done
            assert old.wait() == 0
            new.until(lambda: new.status()["notes"] == [], "it has ended")
            assert new.real_server(name)["downloads_total"] == 1, "what it counted to its end is kept"
            assert new.end() == 0


def test_two_take_overs_one_after_the_other_lose_sight_of_no_session(house: House) -> None:
    with director(house.file) as first:
        download = Download(house)
        with (
            director(house.file, "--take-over", socket=first.socket) as second,
            director(house.file, "--take-over", socket=first.socket) as third,
        ):
            second.wait_for("stopping")
            assert second.process.poll() is None, "it knows of the first one's session"
            third.until(lambda: third.status()["virtual_servers"][0]["sessions"] == 1, "it is counted")
            assert download.is_whole()
            assert first.wait() == 0
            assert second.wait() == 0
            third.until(lambda: third.status()["virtual_servers"][0]["sessions"] == 0, "it has ended")
            assert sum(third.real_server(name)["downloads_total"] for name in ("alpha", "bravo")) == 1
            assert third.end() == 0


def test_a_predecessor_that_hangs_holds_nobody_up(house: House) -> None:
    with director(house.file) as old:
        download = Download(house)
        with director(house.file, "--take-over", socket=old.socket) as new:
            old.wait_for("stopping")
            assert new.status()["virtual_servers"][0]["sessions"] == 1
            old.signal(signal.SIGSTOP)
            begin = time.monotonic()
            status = new.status()
            assert time.monotonic() - begin < 10
            assert status["virtual_servers"][0]["sessions"] == 1
            assert any("it does not answer now" in note for note in status["notes"])
            old.signal(signal.SIGCONT)
            assert download.is_whole()
            assert old.wait() == 0


def test_a_take_over_by_another_cluster_is_refused(house: House, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(house.file.read_text())
    with director(house.file) as it:
        done = ftpdirector("run", other, "--take-over", "--socket", it.socket)
        assert done.returncode == 1
        assert f"runs {house.file}, not {other}" in done.stderr
        assert {house.who() for _ in range(2)} == {"alpha", "bravo"}


def test_a_predecessor_whose_worker_hangs_still_says_what_it_has(house: House) -> None:
    house.write(top="workers = 2")
    with director(house.file, "--stop-timeout", "5m") as old:
        sessions = [house.ftp() for _ in range(4)]
        old.until(lambda: old.status()["virtual_servers"][0]["sessions"] == 4, "all are counted")
        hanging = old.workers()[0]
        with successor(old) as new:
            new.wait_for("start")
            os.kill(hanging, signal.SIGSTOP)
            try:
                new.wait_for("ready")
                status = new.status()
                # It is ended after five seconds, and then its sessions have ended.
                ended = any(one["event"] == "worker_hangs" for one in old.events)
                assert status["virtual_servers"][0]["sessions"] == 4 or ended, status["notes"]
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(hanging, signal.SIGCONT)
            for ftp in sessions:
                ftp.close()
            assert old.wait() == 0
            assert new.end() == 0
