"""The director itself lacks descriptors, ports, a route or time: no real server is judged for that."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ftpdirector.health.probe import probe
from ftpdirector.health.verdict import ProbeOutcome
from ftpdirector.model import Endpoint, HealthCheck
from tests.directors import Director, cluster_file, director, ftpdirector
from tests.loopback.running_proxy import FtpClient, quiet_port, real_server

pytestmark = pytest.mark.long

CHECK = '[virtual_server.health_check]\ninterval = "1s"\ntimeout = "1s"\nfall = 1\nrise = 1\n'
_NEW_NETWORK = 0x40000000
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of one's own wants root")


@contextlib.contextmanager
def own_network(*lines: str) -> Iterator[None]:
    """This thread, and what it starts, stand in a network of their own with these lines of ip(8) carried out."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before:
        assert libc.unshare(_NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
        try:
            subprocess.run(["ip", "-batch", "-"], input="\n".join(("link set lo up", *lines)), text=True, check=True)
            yield
        finally:
            assert libc.setns(before.fileno(), _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())


def healths(it: Director) -> list[str]:
    return [str(one["now"]) for one in it.events if one.get("event") == "verdict"]


def undecided(it: Director, name: str = "alpha") -> dict[str, int]:
    return dict(it.real_server(name)["verdict"]["undecided_total"])


def test_out_of_descriptors_verdicts_stay_and_it_is_said_once_and_counted(tmp_path: Path) -> None:
    port, page = quiet_port(), quiet_port()
    with real_server("alpha", tmp_path / "a") as alpha, real_server("bravo", tmp_path / "b") as bravo:
        file = cluster_file(
            tmp_path / "cluster.toml",
            [(one.name, "127.0.0.1", one.endpoint.port) for one in (alpha, bravo)],
            port=port,
            top=f'[status]\nlisten = "127.0.0.1:{page}"',
            virtual=CHECK,
        )
        with director(file) as it:
            for name in ("alpha", "bravo"):
                it.wait_for("verdict", real_server=name, now="up")
            pid = it.process.pid
            limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, limit[1]))  # no new descriptor
            for name in ("alpha", "bravo"):
                said = it.wait_for("probe_undecided", real_server=name)
                assert (said["level"], said["health"]) == ("warning", "up")
                assert said["reason"] == "connect: too many open files (on the director itself)"
            time.sleep(2.5)  # two probes more
            with FtpClient(("127.0.0.1", port)) as line:
                assert line.reply().startswith("220"), "clients are served meanwhile"
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
            it.wait_for("probe_decided_again", number=2)
            assert undecided(it)["open_files"] >= 3
            assert len([one for one in it.events if one.get("event") == "probe_undecided"]) == 2
            assert healths(it) == ["up", "up"]
            with urllib.request.urlopen(f"http://127.0.0.1:{page}/metrics", timeout=20) as answer:
                metrics = answer.read().decode()
            line = 'ftpdirector_probes_undecided_total{cause="open_files",real_server="alpha",virtual_server="ftp"}'
            assert line in metrics


def test_slow_clients_of_the_page_take_nothing_from_probes_and_commands(tmp_path: Path) -> None:
    page = quiet_port()
    with real_server("alpha", tmp_path / "a") as alpha, contextlib.ExitStack() as slow:
        file = cluster_file(
            tmp_path / "cluster.toml",
            [("alpha", "127.0.0.1", alpha.endpoint.port)],
            port=quiet_port(),
            top=f'[status]\nlisten = "127.0.0.1:{page}"',
            virtual=CHECK,
        )
        with director(file) as it:
            it.wait_for("verdict", now="up")
            pid = it.process.pid
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (110, 110))
            for _ in range(200):
                sock = slow.enter_context(socket.socket())
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(("127.0.0.1", page))
                sock.setblocking(True)
                sock.settimeout(5)
                with contextlib.suppress(OSError):
                    sock.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
            end_s = time.monotonic() + 3
            most = 0
            while time.monotonic() < end_s:
                most = max(most, len(list(Path(f"/proc/{pid}/fd").iterdir())))
                time.sleep(0.02)
            assert 64 <= most < 105, most
            assert it.status()["virtual_servers"][0]["real_servers"][0]["verdict"]["undecided_total"] == {}
            with urllib.request.urlopen(f"http://127.0.0.1:{page}/healthz", timeout=20) as answer:
                assert answer.read() == b"ok\n"
            assert healths(it) == ["up"]


@pytest.mark.real
@needs_root
def test_without_a_local_port_or_a_route_that_may_be_used_verdicts_stay(tmp_path: Path) -> None:
    with own_network("route add prohibit 198.51.100.9"), contextlib.ExitStack() as held:
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40003")
        listener = held.enter_context(socket.create_server(("127.0.0.1", 2100)))
        _greet(listener)
        file = cluster_file(
            tmp_path / "cluster.toml",
            [("alpha", "127.0.0.1", 2100), ("bravo", "198.51.100.9", 21)],
            port=2121,
            virtual=CHECK,
        )
        with director(file) as it:
            it.wait_for("verdict", real_server="alpha", now="up")
            bravo = it.wait_for("probe_undecided", real_server="bravo")
            assert (bravo["health"], bravo["reason"]) == (
                "unknown",
                "connect: permission denied (on the director itself)",
            )
            taken: list[socket.socket] = []
            end_s = time.monotonic() + 20
            while len(taken) < 4 and time.monotonic() < end_s:
                with contextlib.suppress(OSError):
                    taken.append(held.enter_context(socket.create_connection(("127.0.0.1", 2100), 5)))
            said = it.wait_for("probe_undecided", real_server="alpha")
            assert said["reason"] == "connect: cannot assign requested address (on the director itself)"
            it.until(lambda: undecided(it).get("local_ports", 0) >= 3, "no probe more")
            assert it.real_server("alpha")["verdict"]["health"] == "up"
            assert it.real_server("alpha")["effective_weight"] == 1
            assert "on the director itself" in it.ask("status").stdout
            for one in taken:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.close()
            it.wait_for("probe_decided_again", real_server="alpha")
            assert undecided(it, "bravo")["permission"] >= 3
            assert healths(it) == ["up"]


def _greet(listener: socket.socket) -> None:
    def serve() -> None:
        kept: list[socket.socket] = []
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                break
            client.sendall(b"220 hi\r\n")
            kept.append(client)
            for one in kept[:]:
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError, ConnectionResetError):
                    if one.recv(100):
                        one.sendall(b"221 bye\r\n")
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.close()
                    kept.remove(one)

    threading.Thread(target=serve, daemon=True).start()


def test_a_director_that_did_not_run_blames_nobody() -> None:
    async def play(blocked_s: float) -> tuple[ProbeOutcome, str]:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            server = Endpoint(ip_address("127.0.0.1"), silent.getsockname()[1])
            asyncio.get_running_loop().call_later(0.1, time.sleep, blocked_s)
            result = await probe(server, HealthCheck(timeout_s=0.5))
            return result.outcome, result.cause

    assert asyncio.run(play(2.0)) == (ProbeOutcome.UNDECIDED, "late")
    assert asyncio.run(play(0.0)) == (ProbeOutcome.DOWN, "")


@pytest.fixture
def with_password(tmp_path: Path) -> Path:
    file = cluster_file(
        tmp_path / "cluster.toml",
        [("alpha", "127.0.0.1", 2100)],
        port=quiet_port(),
        virtual=CHECK + f'probe = "login"\nuser = "user"\npassword_file = "{tmp_path}/secret"\n',
    )
    (tmp_path / "secret").write_text("secret\n")
    return file


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "cannot be read: No such file or directory"),
        (lambda path: path.write_text(""), "has no password in its first line"),
        (lambda path: path.write_text("\nsecret"), "has no password in its first line"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a regular file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not a regular file"),
        (lambda path: (path.unlink(), path.symlink_to("/proc/self/nothing")), "cannot be read: No such file"),
    ],
    ids=["missing", "empty", "blank", "folder", "pipe", "link"],
)
def test_a_password_file_that_cannot_be_used_is_refused_before_anything_runs(
    with_password: Path, spoil: object, said: str
) -> None:
    secret = with_password.parent / "secret"
    assert ftpdirector("check", with_password).returncode == 0
    assert callable(spoil)
    spoil(secret)
    for words in (("check", with_password), ("run", with_password, "--socket", secret.with_suffix(".sock"))):
        done = ftpdirector(*words)
        assert done.returncode == 1
        assert f'virtual_server "ftp": health_check: password_file: {secret} {said}' in done.stderr
        assert "good" not in done.stdout
    assert ftpdirector("check", with_password, "--no-host").returncode == 0
    for words in (
        ("probe", "127.0.0.1:1", "--password-file", secret),
        ("verify", "127.0.0.1:1", "--password-file", secret),
        ("verify", with_password),
    ):
        if said != "is not a regular file":
            done = ftpdirector(*words)
            assert done.returncode in (1, 64)
            assert str(secret) in done.stderr


def test_a_password_file_that_vanishes_later_decides_nothing_and_a_reload_names_it(tmp_path: Path) -> None:
    with real_server("alpha", tmp_path / "a") as alpha:
        secret = tmp_path / "secret"
        secret.write_text("secret\n")
        file = cluster_file(
            tmp_path / "cluster.toml",
            [("alpha", "127.0.0.1", alpha.endpoint.port)],
            port=quiet_port(),
            virtual=CHECK + f'probe = "login"\nuser = "user"\npassword_file = "{secret}"\n',
        )
        with director(file) as it:
            it.wait_for("verdict", now="up")
            secret.rename(tmp_path / "away")
            said = it.wait_for("probe_undecided")
            assert said["reason"] == f"password_file {secret} cannot be read: No such file or directory"
            it.until(lambda: undecided(it).get("password_file", 0) >= 2, "no probe more")
            assert it.real_server("alpha")["verdict"]["health"] == "up"
            refused = it.ask("reload")
            assert refused.returncode == 1
            assert str(secret) in refused.stderr
            (tmp_path / "away").rename(secret)
            it.wait_for("probe_decided_again")
            assert it.ask("reload").returncode == 0
            assert healths(it) == ["up"]


def test_check_and_run_name_an_address_that_is_nowhere_and_a_page_for_everybody(tmp_path: Path) -> None:
    file = cluster_file(
        tmp_path / "cluster.toml",
        [("alpha", "127.0.0.1", 1)],
        port=quiet_port(),
        address='"192.0.2.77"',
        top=f'[status]\nlisten = "0.0.0.0:{quiet_port()}"',
    )
    done = ftpdirector("check", file)
    assert done.returncode == 0
    for words in ("no interface of this host has 192.0.2.77", "shows addresses, names and verdicts to everybody"):
        assert words in done.stderr
    assert "no interface" not in ftpdirector("check", file, "--no-host").stderr
    with director(file) as it:
        rules = {str(one["rule"]) for one in it.events if one.get("event") == "cluster_file"}
        assert {"address-nowhere", "status-open"} <= rules
