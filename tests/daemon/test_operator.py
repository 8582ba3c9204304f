"""The operator's commands act on the cluster that is meant, and errors at start are one good line."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.test_run import House, house, reals
from tests.directors import director, ftpdirector
from tests.loopback.running_proxy import quiet_port

pytestmark = pytest.mark.long

__all__ = ["house", "reals"]
ROOT = Path(__file__).parents[2]
DEBIANS = Path("/usr/bin/python3")


def test_commands_that_name_a_file_act_on_no_other_cluster(house: House, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(house.file.read_text())
    link = tmp_path / "link.toml"
    link.symlink_to(house.file)
    with director(house.file) as it:
        for words in (["drain", "alpha"], ["enable", "alpha"], ["reload"], ["reopen"], ["status"]):
            done = it.ask(*words, str(other))
            assert done.returncode == 1, words
            assert f"runs {house.file}, not {other}" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        assert it.real_server("alpha")["override"] == "none"
        for words in (["drain", "alpha"], ["enable", "alpha"], ["reload"], ["status"]):
            for file in (house.file, link):
                assert it.ask(*words, str(file)).returncode == 0, words


def test_the_socket_may_be_named_by_the_environment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with director(house.file) as it:
        monkeypatch.setenv("FTPDIRECTOR_SOCKET", str(it.socket))
        assert ftpdirector("drain", "alpha").returncode == 0
        monkeypatch.setenv("FTPDIRECTOR_SOCKET", "/nonexistent/socket")
        assert ftpdirector("status").returncode == 1
        assert "/nonexistent/socket" in ftpdirector("status").stderr


def test_a_socket_in_use_says_by_whom(house: House, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(house.file.read_text().replace(f"port = {house.port}", f"port = {quiet_port()}"))
    with director(house.file) as it:
        done = ftpdirector("run", other, "--socket", it.socket)
        assert done.returncode == 1
        assert f"process {it.process.pid}, {house.file}" in done.stderr
        it.signal(signal.SIGSTOP)
        hangs = ftpdirector("run", other, "--socket", it.socket)
        it.signal(signal.SIGCONT)
        assert (hangs.returncode, "a director runs already" in hangs.stderr) == (1, True)


def test_a_dead_directors_socket_is_in_nobodys_way_and_a_long_name_works(house: House, tmp_path: Path) -> None:
    path = tmp_path / ("s" * (107 - len(str(tmp_path)) - 1))
    for _ in range(2):
        with director(house.file, socket=path) as it:
            assert it.ask("status").returncode == 0
            it.signal(signal.SIGKILL)
            it.wait()
    assert path.exists()


ODD = {
    "deep arrays": "a=" + "[" * 5000,
    "bad bytes": b"\xff\xfe\x00",
    "huge number": "workers = " + "9" * 5000,
    "gone": None,
}


@pytest.mark.parametrize("kind", ODD)
def test_no_file_ends_a_director_that_runs(house: House, kind: str) -> None:
    text = ODD[kind]
    with director(house.file) as it:
        ftp = house.ftp()
        if text is None:
            house.file.unlink()
        else:
            house.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        refused = it.ask("reload")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        it.signal(signal.SIGHUP)
        it.wait_for("reload_refused", 2)
        assert it.status()["config_error"]
        assert ftp.pwd() == "/"
        ftp.quit()
        assert {house.who() for _ in range(2)} == {"alpha", "bravo"}


@pytest.mark.parametrize("python", [sys.executable, str(DEBIANS)])
@pytest.mark.parametrize("mistake", ["address", "account", "nobody to take over from", "socket"])
def test_errors_at_start_are_one_line(house: House, tmp_path: Path, python: str, mistake: str) -> None:
    """With the Python of the distribution as well: 3.11.2 has `except*` that wraps what is raised in it."""
    if not Path(python).exists():
        pytest.skip(f"there is no {python}")
    libraries = next(Path(one) for one in sys.path if one.endswith("site-packages"))
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
    if version.split(".")[:2] != f"Python {sys.version}".split(".")[:2]:
        pytest.skip(f"{python} is {version.strip()}: the libraries here are for another one")
    options = {"account": ["--user", "no-such-account"], "nobody to take over from": ["--take-over"]}.get(mistake, [])
    path = tmp_path / "s"
    if mistake == "socket":
        path.write_text("a file")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if mistake == "address":
            house.port = taken.getsockname()[1]
            house.write()
        done = subprocess.run(
            [python, "-m", "ftpdirector", "run", str(house.file), "--socket", str(path), *options],
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{libraries}"},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("ftpdirector: ")]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert shutil.which("ftpdirector") is None or said[0] != "ftpdirector: "
