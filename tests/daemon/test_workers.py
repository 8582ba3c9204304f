"""No worker's misfortune is the director's: one that hangs, cannot start, or is of another version."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon.test_run import Download, House, house, reals
from tests.directors import Director, director, ftpdirector
from tests.loopback.running_proxy import quiet_port

pytestmark = pytest.mark.long

__all__ = ["house", "reals"]
SOON_S = 20.0
"""A worker that hangs is noticed within five seconds; the machine may be busy."""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_worker_that_hangs_holds_up_neither_drain_nor_verdict_nor_reload_and_is_replaced(house: House) -> None:
    house.write(top="workers = 2")
    with director(house.file) as it, stopped(it.workers()[0]):
        hung = it.workers()[0]
        begin = time.monotonic()
        done = it.ask("drain", "alpha")
        assert done.returncode == 0, done
        assert "did not answer" in done.stderr, "it is said that one worker had to be replaced"
        assert {house.who() for _ in range(8)} == {"bravo"}
        assert it.ask("reload").returncode == 0
        assert time.monotonic() - begin < SOON_S
        it.wait_for("worker_hangs")
        it.until(lambda: it.status()["workers_running"] == 2 and hung not in it.workers(), "another one serves")
        assert {house.who() for _ in range(8)} == {"bravo"}
        assert it.status()["notes"] == []


def test_status_answers_while_a_worker_hangs_and_says_so(house: House) -> None:
    house.write(top="workers = 2")
    with director(house.file) as it, stopped(it.workers()[1]):
        assert any("does not answer" in note for note in it.status()["notes"])
        it.wait_for("worker_hangs")


def test_a_verdict_reaches_the_others_at_once(house: House) -> None:
    """A real server that dies gets no session, though one worker hangs."""
    house.write(top="workers = 2")
    text = house.file.read_text()
    house.file.write_text(text.replace(f"port = {house.reals['alpha'].endpoint.port}", f"port = {quiet_port()}"))
    with director(house.file) as it:
        worker = it.workers()[0]
        with stopped(worker):
            assert {house.who() for _ in range(4)} == {"bravo"}
            it.wait_for("verdict", real_server="alpha", now="down")
            assert {house.who() for _ in range(4)} == {"bravo"}


def test_a_worker_that_hangs_holds_up_no_end(house: House) -> None:
    house.write(top="workers = 2")
    with director(house.file, "--stop-timeout", "5m") as it, stopped(it.workers()[0]):
        begin = time.monotonic()
        assert it.end() == 0
        assert time.monotonic() - begin < SOON_S


@contextmanager
def copied(house: House, below: Path) -> Iterator[tuple[Director, Path]]:
    """A director that runs from a copy of the package, which may be changed on disk."""
    package = below / "site" / "ftpdirector"
    shutil.copytree(Path(__file__).parents[2] / "src" / "ftpdirector", package)
    environment = ["env", f"PYTHONPATH={package.parent}"]
    it = Director(house.file, below / "s", before=environment)
    try:
        it.wait_for("ready")
        yield it, package
        assert "Traceback" not in it.text, it.text
        assert it.end() == 0
    finally:
        it.process.kill()
        it.wait()
        assert it.process.stderr is not None
        it.process.stderr.close()


@pytest.mark.parametrize("change", ["another version", "no Python any more", "removed"])
def test_a_package_that_changes_on_disk_is_recognised_said_and_survived(
    house: House, tmp_path: Path, change: str
) -> None:
    house.write(top="workers = 2")
    with copied(house, tmp_path) as (it, package):
        victim, other = it.workers()
        state = package / "state.py"
        good = state.read_text()
        match change:
            case "another version":
                state.write_text(
                    good.replace("    transfers: int = 0\n", "    transfers: int = 0\n    novel: int = 0\n")
                )
            case "no Python any more":
                state.write_text("<<<<<<< HEAD\n")
            case _:
                state.unlink()
        os.kill(victim, signal.SIGKILL)
        it.wait_for("worker_died")
        refused = it.wait_for("worker_not_started")
        if change == "another version":
            assert "is of another version" in refused["reason"]
        assert {house.who() for _ in range(4)} == {"alpha", "bravo"}, "the other worker serves"
        assert it.workers()[-1] == other or other in it.workers()
        status = it.status()
        assert status["workers_running"] == 1
        assert any("worker " in note for note in status["notes"])
        assert it.ask("drain", "alpha").returncode == 0
        it.wait_for("worker_not_started", 2)
        state.write_text(good)
        it.until(lambda: it.status()["workers_running"] == 2, "it is tried again")
        assert {house.who() for _ in range(6)} == {"bravo"}, "it knows of the drain"
        assert it.status()["notes"] == []


def test_a_director_none_of_whose_workers_can_start_says_why_and_ends(house: House, tmp_path: Path) -> None:
    package = tmp_path / "site" / "ftpdirector"
    shutil.copytree(Path(__file__).parents[2] / "src" / "ftpdirector", package)
    (package / "daemon" / "worker.py").write_text(
        (package / "daemon" / "worker.py")
        .read_text()
        .replace("def main() -> None:", "def main() -> None:\n    sys.exit(9)", 1)
    )
    done = subprocess.run(
        [sys.executable, "-m", "ftpdirector", "run", str(house.file), "--socket", str(tmp_path / "s")],
        env=os.environ | {"PYTHONPATH": str(package.parent)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "worker 0 cannot start" in done.stderr
    assert "Traceback" not in done.stderr


def test_drain_counts_at_the_moment_of_asking(house: House) -> None:
    """Sessions that began this very moment are waited for; the answer is no memory of a second ago."""
    house.write(top="workers = 2", virtual='scheduler = "rr"')
    with director(house.file) as it:
        for _ in range(5):
            sessions = [house.ftp() for _ in range(8)]
            greetings = [str(ftp.getwelcome()) for ftp in sessions]
            at_alpha = sum("alpha" in greeting for greeting in greetings)
            left = it.ask("drain", "alpha", "--wait", "--timeout", "100ms")
            assert left.returncode == 1, left
            assert f"drained, {at_alpha} session" in left.stdout
            assert it.ask("enable", "alpha").returncode == 0
            for ftp in sessions:
                ftp.quit()
            done = it.ask("drain", "alpha", "--wait", "--timeout", "20s")
            assert (done.returncode, "0 sessions left" in done.stdout) == (0, True)
            assert it.ask("enable", "alpha").returncode == 0


def test_a_running_transfer_is_counted_at_once(house: House) -> None:
    with director(house.file) as it:
        download = Download(house)
        status = it.status()["virtual_servers"][0]
        assert (status["sessions"], sum(one["transfers"] for one in status["real_servers"])) == (1, 1)
        assert download.is_whole()


def test_many_who_ask_at_once_get_their_own_answers(house: House) -> None:
    house.write(top="workers = 2")
    with director(house.file) as it:
        held = [house.ftp() for _ in range(3)]
        answers: list[int] = []

        def ask() -> None:
            answers.append(it.status()["virtual_servers"][0]["sessions"])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == [3] * 8
        for ftp in held:
            ftp.close()


def test_sessions_are_frozen_by_no_reload(house: House) -> None:
    """What lives while the file is read again is given back later: the worker's memory does not grow by reloads."""
    with director(house.file) as it:
        (worker,) = it.workers()

        def memory_kib() -> int:
            lines = Path(f"/proc/{worker}/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

        def turn() -> None:
            held = [house.ftp() for _ in range(40)]
            assert ftpdirector("reload", "--socket", it.socket).returncode == 0
            for ftp in held:
                ftp.close()
            it.until(lambda: it.status()["virtual_servers"][0]["sessions"] == 0, "they end")

        for _ in range(3):
            turn()
        before = memory_kib()
        for _ in range(6):
            turn()
        assert memory_kib() - before < 6 * 40, "less than 1 KiB a session (2.1 KiB when they were frozen)"


def test_an_end_that_is_told_before_the_director_serves_waits_for_no_worker(house: House, tmp_path: Path) -> None:
    house.write(top="workers = 2")
    it = Director(house.file, tmp_path / "s")
    loading: list[int] = []
    try:
        it.wait_for("start")
        # Stopped once it is a program of its own: the supervisor itself waits for that moment.
        it.until(lambda: loading.extend(workers_loading(it)) or loading, "a worker is started")
        for pid in loading:
            os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        assert it.end() == 0
        assert time.monotonic() - begin < SOON_S
        assert it.events[-1]["event"] == "stopped"
        it.until(lambda: not any(map(is_there, loading)), "no worker is left")
        assert not (tmp_path / "s").exists()
    finally:
        for pid in loading:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        it.process.kill()
        it.wait()
        assert it.process.stderr is not None
        it.process.stderr.close()


def workers_loading(it: Director) -> list[int]:
    return [pid for pid in it.workers() if b"daemon.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_pages_that_are_asked_for_while_a_worker_hangs_share_one_wait(house: House) -> None:
    port = quiet_port()
    house.write(top=f'workers = 2\n[status]\nlisten = "127.0.0.1:{port}"')
    took: list[float] = []

    def get() -> None:
        begin = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/status", timeout=30) as answer:
            answer.read()
        took.append(time.monotonic() - begin)

    with director(house.file) as it, stopped(it.workers()[0]):
        readers = [threading.Thread(target=get) for _ in range(12)]
        for one in readers:
            one.start()
        for one in readers:
            one.join(30)
        # Two rounds of one second at most; one after the other they took 4.5 s, until the worker was ended.
        assert len(took) == 12
        assert max(took) < 3.5, took


def test_workers_whose_supervisor_is_killed_while_they_load_say_nothing(house: House, tmp_path: Path) -> None:
    house.write(top="workers = 2")
    it = Director(house.file, tmp_path / "s")
    try:
        it.until(lambda: len(workers_loading(it)) == 2, "workers are started")
    finally:
        it.process.kill()
        it.wait()  # until the last worker has let go of standard error
        assert it.process.stderr is not None
        it.process.stderr.close()
    assert [line for line in it.text.splitlines() if not line.startswith("{")] == []
    assert not [one for one in it.events if one["level"] != "info" and one["event"] != "supervisor_gone"]
