"""The command line as its user meets it: help, mistakes, exit codes."""

from __future__ import annotations

import contextlib
import ftplib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftpdirector import __version__
from ftpdirector.cli import COMMANDS
from tests.directors import COMMAND, cluster_file, ftpdirector
from tests.loopback.running_proxy import quiet_port, real_server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return cluster_file(tmp_path / "cluster.toml", [("alpha", "198.51.100.11", 21)], port=2121)


def test_the_help_lists_every_command_and_no_other() -> None:
    text = ftpdirector("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in text, name
    assert "diagnose" not in text
    assert ftpdirector("--version").stdout == f"ftpdirector {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    done = ftpdirector(name, "--help")
    assert done.returncode == 0
    assert f"ftpdirector {name}" in done.stdout.split("Example", 1)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "Did you mean 'run'"),
        (["run"], "FILE"),
        (["run", "x.toml", "--sokcet", "/x"], "--socket"),
        (["run", "x.toml", "--stop-timeout", "1 minute"], '"90s", "15m" or "1h"'),
        (["verify", "no.such.place"], "write an IP address"),
        (["drain"], "NAME"),
    ],
)
def test_wrong_usage_is_64_and_names_what_would_be_right(words: list[str], said: str) -> None:
    done = ftpdirector(*words)
    assert done.returncode == 64
    assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_probe_knows_only_0_and_1(tmp_path: Path) -> None:
    assert ftpdirector("probe", "nonsense").returncode == 1
    assert ftpdirector("probe", "--nonsense").returncode == 1
    assert ftpdirector("probe", "127.0.0.1:1", "--probe", "transfer").returncode == 1
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    down = ftpdirector("probe", f"127.0.0.1:{port}")
    assert (down.returncode, "connection refused" in down.stdout) == (1, True)
    with real_server("alpha", tmp_path) as real:
        up = ftpdirector("probe", str(real.endpoint), "--json")
    assert up.returncode == 0
    assert json.loads(up.stdout)["banner"] == "alpha ready"


def test_check_names_problems_and_warnings(file: Path) -> None:
    assert ftpdirector("check", file).stdout == f"{file}: good\n"
    file.write_text(file.read_text().replace("port = 2121", "prot = 2121"))
    done = ftpdirector("check", file)
    assert done.returncode == 1
    assert 'virtual_server "ftp": prot: is not a key of the cluster file; did you mean "port"?' in done.stderr
    told = json.loads(ftpdirector("check", file, "--json").stdout)
    assert [one["rule"] for one in told["problems"]] == ["unknown-key"]


def test_schema_is_json() -> None:
    assert json.loads(ftpdirector("schema").stdout)["title"] == "ftpdirector cluster file"


def test_run_with_a_broken_file_says_all_of_it(file: Path) -> None:
    file.write_text(file.read_text() + 'weight = "x"\nslise = 3\n')
    done = ftpdirector("run", file, "--socket", file.with_suffix(".sock"))
    assert done.returncode == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith(f"ftpdirector: {file}:")]) == 2


@pytest.mark.parametrize("words", [["status"], ["reload"], ["drain", "alpha"], ["enable", "alpha"]])
def test_without_a_director_the_commands_say_so(tmp_path: Path, words: list[str]) -> None:
    done = ftpdirector(*words, "--socket", tmp_path / "nobody")
    assert done.returncode == 1
    assert "is it running?" in done.stderr


def test_a_closed_pipe_is_no_traceback() -> None:
    with subprocess.Popen([COMMAND, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ftpdirector", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"ftpdirector {__version__}\n"


@pytest.mark.long
def test_the_demo_without_its_extra_says_what_to_install() -> None:
    """pyftpdlib is in the extra `demo` alone; every other command works without it."""
    without = "import sys; sys.modules['pyftpdlib'] = None; from ftpdirector.cli import execute; sys.exit(execute(%r))"
    done = subprocess.run(
        [sys.executable, "-c", without % ["demo", "--check"]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("pip install 'ftpdirector[demo]'")
    assert "Traceback" not in done.stderr
    done = subprocess.run([sys.executable, "-c", without % ["--help"]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_the_demo_verifies_every_mode_through_itself() -> None:
    done = ftpdirector("demo", "--check", "--port", str(quiet_port()), "--status-port", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 20 good" in done.stdout
    for name in ("alpha", "bravo", "charlie"):
        assert name in done.stdout


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = ftpdirector("demo", "--check", "--port", str(taken.getsockname()[1]), "--status-port", "0")
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_render_for_a_real_server_writes_its_files_and_knows_a_mistyped_name(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "ipvs-dr-slices.toml"
    done = ftpdirector("render", example, "--for", "alpha", "--out", tmp_path)
    assert done.returncode == 0
    lines = (tmp_path / "etc/vsftpd.conf.lines").read_text()
    assert "pasv_min_port=10001\n" in lines
    assert "ftp_data_port=10000\n" in lines
    assert "192.0.2.10/32" in (tmp_path / "etc/ftpdirector/real-server.sh").read_text()
    mistyped = ftpdirector("render", example, "--for", "alpa")
    assert mistyped.returncode == 1
    assert 'did you mean "alpha"?' in mistyped.stderr


def test_the_proxy_asks_nothing_of_a_real_server(file: Path) -> None:
    assert "needs nothing of a real server" in ftpdirector("render", file, "--for", "alpha").stdout


def test_keepalived_can_look_by_itself() -> None:
    example = Path(__file__).parents[2] / "examples" / "ipvs-nat-slices.toml"
    text = ftpdirector("render", example, "--keepalived-alone").stdout
    assert " probe 198.51.100.11:21 --probe banner --timeout 3s" in text
    assert "FILE_CHECK" not in text
    assert "track_file" not in text


@pytest.mark.long
def test_output_that_cannot_be_written_is_one_line_and_no_success(file: Path) -> None:
    for words in (["schema"], ["check", str(file)], ["explain", str(file)], ["--help"], ["--version"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run([COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert done.returncode == 1, words
            last = "ftpdirector: standard output: No space left on device"
            assert done.stderr.splitlines()[-1] == last, (words, done.stderr)
            assert "Traceback" not in done.stderr
            assert "Exception" not in done.stderr
            told = subprocess.run([COMMAND, *words, "--nonsense"], stdout=full, stderr=full, check=False)
            assert told.returncode == 64


@pytest.mark.long
def test_the_demo_serves_and_ends_though_nobody_reads_what_it_says() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    port = quiet_port()
    words = [COMMAND, "demo", "--port", str(port), "--status-port", "0"]
    process = subprocess.Popen(words, stdout=writer, stderr=writer)
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), ftplib.FTP(timeout=5) as ftp:
                ftp.connect("127.0.0.1", port)
                ftp.login()
                break
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)
