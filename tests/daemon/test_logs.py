"""No log ends, holds up or refuses anything: full disks, vanished directories, readers that are dead or stand still."""

from __future__ import annotations

import contextlib
import ftplib
import io
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.test_run import Download, House, house, reals
from tests.directors import COMMAND, director, ftpdirector
from tests.loopback.running_proxy import quiet_port

pytestmark = pytest.mark.long

__all__ = ["house", "reals"]


def fetch(ftp: ftplib.FTP, name: str = "who.txt") -> bytes:
    answer = io.BytesIO()
    ftp.retrbinary(f"RETR {name}", answer.write)
    return answer.getvalue()


def dropped(house: House, socket: Path) -> dict[str, int]:
    told = ftpdirector("status", "--json", "--socket", socket)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)["log_lines_dropped_total"]


def test_a_transfer_log_on_a_full_disk_ends_no_session_and_is_counted(house: House) -> None:
    port = quiet_port()
    house.write(top=f'workers = 2\ntransfer_log = "/dev/full"\n[status]\nlisten = "127.0.0.1:{port}"')
    with director(house.file) as it:
        with house.ftp() as ftp:
            for _ in range(3):
                fetch(ftp)
            with pytest.raises(ftplib.error_perm):
                fetch(ftp, "nothing")
            assert ftp.pwd() == "/"
        it.until(lambda: it.status()["log_lines_dropped_total"]["transfer_log"] == 4, "four lines are counted")
        assert "transfer_log: 4 lines could not be written" in it.ask("status").stdout
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert 'ftpdirector_log_lines_dropped_total{log="transfer_log"} 4.0' in answer.read().decode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert "4 lines could not be written" in answer.read().decode()
        assert it.end() == 0


def test_a_vanished_directory_ends_nothing_at_a_drain_at_a_verdict_and_at_a_reload(
    house: House, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    house.write(top=f'workers = 2\ntransfer_log = "{folder}/xferlog"')
    with director(house.file) as it:
        sessions = [house.ftp() for _ in range(4)]
        workers = it.workers()
        shutil.rmtree(folder)
        assert it.ask("drain", "alpha").returncode == 0
        assert it.ask("enable", "alpha").returncode == 0
        refused = it.ask("reopen")
        assert (refused.returncode, "make the directory" in refused.stderr) == (1, True), refused
        assert it.ask("reload").returncode == 0
        it.wait_for("transfer_log_not_reopened")
        assert str(folder) in " ".join(it.status()["notes"])
        it.signal(signal.SIGHUP)
        it.wait_for("reloaded", 2)
        for ftp in sessions:
            fetch(ftp)
            ftp.quit()
        assert it.workers() == workers
        folder.mkdir()
        assert it.ask("reopen").returncode == 0
        house.who()
        it.until(lambda: "who.txt" in (folder / "xferlog").read_text(), "the new file is written to")
        assert it.status()["notes"] == []


def unopenable(tmp_path: Path, kind: str) -> str:
    match kind:
        case "no directory":
            return f"{tmp_path}/nope/xferlog"
        case "a directory":
            return str(tmp_path)
        case "nobody reads":
            os.mkfifo(tmp_path / "pipe")
            return f"{tmp_path}/pipe"
        case _:
            return "/tmp/\\u0000x"


KINDS = ["no directory", "a directory", "nobody reads", "NUL"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_cannot_be_opened_is_refused_at_start_in_one_line(house: House, tmp_path: Path, kind: str) -> None:
    house.write(top=f'transfer_log = "{unopenable(tmp_path, kind)}"')
    done = ftpdirector("run", house.file, "--socket", tmp_path / "s")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("ftpdirector: ")]
    assert len(said) == 1, done.stderr
    assert "transfer_log" in said[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_path_that_cannot_be_opened_is_refused_at_reload_and_changes_nothing(house: House, tmp_path: Path) -> None:
    good = tmp_path / "xferlog"
    house.write(top=f'transfer_log = "{good}"')
    with director(house.file) as it:
        download, workers = Download(house), it.workers()
        for kind in KINDS:
            house.write(top=f'transfer_log = "{unopenable(tmp_path, kind)}"')
            refused = it.ask("reload")
            assert refused.returncode == 1
            assert "transfer_log" in refused.stderr
            assert len(refused.stderr.splitlines()) == 1
        assert "transfer_log" in it.status()["config_error"]
        assert download.is_whole()
        assert it.workers() == workers
        it.until(lambda: "big.bin" in good.read_text(), "the log that was open is written on")
        house.write(top=f'transfer_log = "{good}2"')
        assert it.ask("reload").returncode == 0
        house.who()
        it.until(lambda: "who.txt" in Path(f"{good}2").read_text(), "the new one is in use")


@pytest.mark.parametrize("how", ["reopen", "reload", "signal", "signal, and a file that is refused"])
def test_a_log_that_was_moved_away_is_opened_anew(house: House, tmp_path: Path, how: str) -> None:
    log = tmp_path / "xferlog"
    house.write(top=f'workers = 2\ntransfer_log = "{log}"')
    with director(house.file) as it:
        download = Download(house)
        log.rename(tmp_path / "xferlog.1")
        match how:
            case "reopen" | "reload":
                assert it.ask(how).returncode == 0
            case "signal":
                it.signal(signal.SIGHUP)
                it.wait_for("reloaded")
            case _:
                house.file.write_text("weigth = 3")
                it.signal(signal.SIGHUP)
                it.wait_for("reload_refused")
        it.until(log.exists, "there is a new one")
        assert download.is_whole()
        it.until(lambda: "big.bin" in log.read_text(), "its line stands in the new one")
        assert (tmp_path / "xferlog.1").read_text() == ""


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed (lab/install.sh does it)")
def test_logrotate_loses_no_line(house: House, tmp_path: Path) -> None:
    """The file that is shipped, with this test's paths."""
    folder = tmp_path / "log"
    folder.mkdir(mode=0o755)
    log = folder / "xferlog"
    house.write(top=f'transfer_log = "{log}"')
    shipped = (Path(__file__).parents[2] / "packaging" / "ftpdirector.logrotate").read_text()
    with director(house.file) as it:
        config = tmp_path / "logrotate.conf"
        config.write_text(
            shipped.replace("/var/log/ftpdirector/xferlog", str(log)).replace(
                "/opt/ftpdirector/.venv/bin/ftpdirector reopen", f"{COMMAND} reopen --socket {it.socket}"
            )
        )
        config.chmod(0o644)
        count = 0
        for _ in range(3):
            with house.ftp() as ftp:
                for _ in range(5):
                    fetch(ftp)
                    count += 1
            done = subprocess.run(
                [shutil.which("logrotate") or "", "--force", "--state", str(tmp_path / "state"), str(config)],
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, ""), done
            assert log.exists()
        assert it.end() == 0
    subprocess.run(["gunzip", *map(str, folder.glob("*.gz"))], check=True)
    lines = [line for file in folder.iterdir() for line in file.read_text().splitlines()]
    assert len(lines) == count
    assert all("who.txt" in line for line in lines)


@contextlib.contextmanager
def running(house: House, socket: Path, stderr: int | None, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A director whose standard error is the test's."""
    close = ["bash", "-c", 'exec "$@" 2>&-', "bash"] if stderr is None else []
    process = subprocess.Popen(
        [*close, COMMAND, "run", str(house.file), "--socket", str(socket)], stderr=stderr, env=os.environ | more
    )
    try:
        end = time.monotonic() + 30
        while ftpdirector("status", "--socket", socket).returncode != 0:
            assert process.poll() is None
            assert time.monotonic() < end
        yield process
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_standard_error_that_nobody_reads_holds_nobody_up_and_loses_nothing(house: House, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with running(house, tmp_path / "s", writer) as process:
        os.close(writer)
        for _ in range(4):
            with house.ftp() as ftp:
                ftp.sock.settimeout(5)
                for _ in range(100):  # a pipe holds the lines of about 180 downloads
                    fetch(ftp)
        assert dropped(house, tmp_path / "s")["log"] == 0
        text: list[bytes] = []

        def read() -> None:
            while data := os.read(reader, 65536):
                text.append(data)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        process.terminate()
        process.wait(30)
        thread.join(20)
        os.close(reader)
    assert b"".join(text).count(b"event=transfer ") == 400
    assert b"event=stopped" in b"".join(text)


@pytest.mark.parametrize("what", ["dead reader", "full disk", "closed"])
def test_standard_error_that_takes_nothing_ends_nobody(house: House, tmp_path: Path, what: str) -> None:
    socket = tmp_path / "s"
    reader, writer = os.pipe()
    if what == "full disk":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    with running(house, socket, None if what == "closed" else writer):
        os.close(writer)
        os.close(reader)
        idle = house.ftp()
        workers = ftpdirector("status", "--json", "--socket", socket)
        assert json.loads(workers.stdout)["workers_running"] == 1
        for _ in range(5):
            assert house.who() in ("alpha", "bravo")
        assert ftpdirector("drain", "alpha", "--socket", socket).returncode == 0
        assert {house.who() for _ in range(3)} == {"bravo"}
        assert idle.pwd() == "/"
        idle.close()
        end = time.monotonic() + 20
        while not dropped(house, socket)["log"]:
            assert time.monotonic() < end


def test_journald_is_told_levels(house: House, tmp_path: Path) -> None:
    """A real server that goes down is a warning."""
    text = house.file.read_text().replace(f"port = {house.reals['alpha'].endpoint.port}", f"port = {quiet_port()}")
    house.file.write_text(text)
    with (tmp_path / "journal").open("wb+") as file:
        status = os.fstat(file.fileno())
        with running(house, tmp_path / "s", file.fileno(), JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}"):
            end = time.monotonic() + 30
            while b"now=down" not in (tmp_path / "journal").read_bytes():
                assert time.monotonic() < end
                time.sleep(0.05)
    lines = (tmp_path / "journal").read_text().splitlines()
    assert all(line.startswith("<") for line in lines)
    assert next(line for line in lines if "now=down" in line).startswith("<4>")
    assert next(line for line in lines if "event=ready" in line).startswith("<6>")


def test_a_clients_name_moves_no_cursor(house: House, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb+") as file, running(house, tmp_path / "s", file.fileno()):
        ftp = house.ftp()
        with pytest.raises(ftplib.error_perm):
            fetch(ftp, "\x1b[31mred")
        ftp.quit()
        end = time.monotonic() + 20
        while b"[31mred" not in (tmp_path / "log").read_bytes():
            assert time.monotonic() < end
            time.sleep(0.05)
    assert b"\x1b" not in (tmp_path / "log").read_bytes()
