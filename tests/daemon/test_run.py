"""The running director: it serves, listens to its operator, and starts, reloads, stops and is replaced without harm."""

from __future__ import annotations

import contextlib
import ftplib
import hashlib
import io
import os
import signal
import socket
import stat
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.directors import cluster_file, director, ftpdirector
from tests.loopback.running_proxy import FtpClient, Real, quiet_port, read_all, real_server

pytestmark = pytest.mark.long

PASSIVE = 'passive_ports = "23000-23999"'
BIG = os.urandom(1 << 20) * 24


@pytest.fixture
def reals(tmp_path: Path) -> Iterator[dict[str, Real]]:
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(real_server(name, tmp_path / name)) for name in ("alpha", "bravo")}
        for name, real in servers.items():
            (real.root / "who.txt").write_text(name)
            (real.root / "big.bin").write_bytes(BIG)
        yield servers


class House:
    """Two real servers and the cluster file before them."""

    def __init__(self, reals: dict[str, Real], below: Path) -> None:
        self.reals = reals
        self.port = quiet_port()
        self.file = below / "cluster.toml"
        self.write()

    def write(
        self, virtual: str = 'scheduler = "rr"', top: str = "", names: tuple[str, ...] = ("alpha", "bravo")
    ) -> None:
        cluster_file(
            self.file,
            [(name, str(self.reals[name].endpoint.address), self.reals[name].endpoint.port) for name in names],
            port=self.port,
            top=top,
            virtual=f"{PASSIVE}\n{virtual}",
        )

    def ftp(self) -> ftplib.FTP:
        ftp = ftplib.FTP(timeout=20)
        ftp.connect("127.0.0.1", self.port)
        ftp.login("user", "secret")
        return ftp

    def who(self) -> str:
        answer = io.BytesIO()
        with self.ftp() as ftp:
            ftp.retrbinary("RETR who.txt", answer.write)
        return answer.getvalue().decode()


@pytest.fixture
def house(reals: dict[str, Real], tmp_path: Path) -> House:
    return House(reals, tmp_path)


def slow_download(house: House, chunks: list[bytes], begun: threading.Event, go_on: threading.Event) -> str:
    """Reads a little, waits for `go_on`, then the rest; the final reply."""
    ftp = house.ftp()
    ftp.voidcmd("TYPE I")
    with contextlib.closing(ftp), ftp.transfercmd("RETR big.bin") as data:
        data.settimeout(20)
        chunks.append(data.recv(65536))
        begun.set()
        assert go_on.wait(30)
        chunks.append(read_all(data))
        return ftp.voidresp()


class Download:
    """A download that stands in the middle until it is let go."""

    def __init__(self, house: House) -> None:
        self._begun, self._go_on = threading.Event(), threading.Event()
        self._chunks: list[bytes] = []
        self._reply: list[object] = []
        self._thread = threading.Thread(target=self._run, args=(house,), daemon=True)
        self._thread.start()
        assert self._begun.wait(20)

    def _run(self, house: House) -> None:
        try:
            self._reply.append(slow_download(house, self._chunks, self._begun, self._go_on))
        except Exception as error:
            self._reply.append(error)

    def finish(self) -> tuple[object, bytes]:
        self._go_on.set()
        self._thread.join(30)
        return self._reply[0], b"".join(self._chunks)

    def is_whole(self) -> bool:
        reply, content = self.finish()
        return str(reply).startswith("226") and hashlib.sha256(content).digest() == hashlib.sha256(BIG).digest()


def test_clients_are_spread_over_the_real_servers(house: House) -> None:
    with director(house.file) as it:
        assert sorted(house.who() for _ in range(4)) == ["alpha", "alpha", "bravo", "bravo"]
        assert it.end() == 0


@pytest.mark.long
def test_a_drained_server_gets_no_new_session_and_keeps_its_own(house: House) -> None:
    with director(house.file) as it:
        ftp = house.ftp()
        answer = io.BytesIO()
        ftp.retrbinary("RETR who.txt", answer.write)
        name = answer.getvalue().decode()
        assert it.ask("drain", name).returncode == 0
        assert {house.who() for _ in range(4)} == {"alpha", "bravo"} - {name}
        it.until(lambda: it.real_server(name)["sessions"] == 1, "its session is counted")
        late = it.ask("drain", name, "--wait", "--timeout", "1s")
        assert (late.returncode, "1 session left" in late.stderr + late.stdout) == (1, True)
        ftp.retrbinary("RETR who.txt", answer.write)
        ftp.quit()
        done = it.ask("drain", f"ftp/{name}", "--wait", "--timeout", "20s", "--json")
        assert (done.returncode, '"sessions": 0' in done.stdout) == (0, True), done
        assert it.ask("enable", name).returncode == 0
        assert {house.who() for _ in range(4)} == {"alpha", "bravo"}
        wrong = it.ask("drain", "delta")
        assert wrong.returncode == 1
        assert "known: alpha, bravo" in wrong.stderr


def test_a_sorry_server_stands_in_while_nobody_else_is_there(house: House) -> None:
    living = house.file.read_text().replace('name = "bravo"', 'name = "bravo"\nsorry = true')
    with socket.create_server(("127.0.0.1", 0)) as dead:
        port = dead.getsockname()[1]
    house.file.write_text(living.replace(f"port = {house.reals['alpha'].endpoint.port}", f"port = {port}"))
    with director(house.file) as it:
        assert house.who() == "bravo", "the very first client, whom alpha does not answer"
        it.wait_for("verdict", real_server="alpha", now="down")
        assert house.who() == "bravo"
        held = house.ftp()
        house.file.write_text(living)
        assert it.ask("reload").returncode == 0
        it.wait_for("verdict", real_server="alpha", now="up")
        assert {house.who() for _ in range(4)} == {"alpha"}
        assert held.pwd() == "/"
        held.quit()
        assert it.real_server("bravo")["sorry"]


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_reload_keeps_sessions_and_transfers(house: House, how: str) -> None:
    with director(house.file) as it:
        download = Download(house)
        idle = house.ftp()
        house.write(names=("bravo",))
        if how == "command":
            assert it.ask("reload").stdout == "reloaded\n"
        else:
            it.signal(signal.SIGHUP)
        it.wait_for("reloaded")
        assert {house.who() for _ in range(4)} == {"bravo"}
        assert idle.pwd() == "/"
        assert download.is_whole()
        idle.quit()


def test_a_broken_file_keeps_the_old_configuration_and_says_why(house: House) -> None:
    with director(house.file) as it:
        house.write(virtual="weigth = 3")
        refused = it.ask("reload")
        assert refused.returncode == 1
        assert 'virtual_server "ftp": weigth: is not a key' in refused.stderr
        it.signal(signal.SIGHUP)
        it.wait_for("reload_refused", 2)
        assert "weigth" in it.status()["config_error"]
        assert {house.who() for _ in range(4)} == {"alpha", "bravo"}
        house.write()
        assert it.ask("reload").returncode == 0
        assert it.status()["config_error"] == ""


def test_a_virtual_server_may_come_and_go_by_reload(house: House) -> None:
    with director(house.file) as it:
        old, house.port = house.port, quiet_port()
        house.write()
        assert it.ask("reload").returncode == 0
        assert house.who() in ("alpha", "bravo")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", old), 5)


def test_a_reload_that_cannot_listen_changes_nothing(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, director(house.file) as it:
        old, house.port = house.port, taken.getsockname()[1]
        house.write()
        refused = it.ask("reload")
        assert refused.returncode == 1
        assert f"cannot listen on 127.0.0.1:{house.port}" in refused.stderr
        house.port = old
        assert {house.who() for _ in range(2)} == {"alpha", "bravo"}


def test_sigterm_lets_transfers_finish_and_tells_idle_sessions_421(house: House) -> None:
    with director(house.file) as it:
        download = Download(house)
        with FtpClient(("127.0.0.1", house.port)) as idle:
            idle.login()
            it.signal(signal.SIGTERM)
            assert idle.reply().startswith("421")
            with pytest.raises(ConnectionError):
                socket.create_connection(("127.0.0.1", house.port), 5)
        assert it.process.poll() is None
        assert download.is_whole()
        assert it.wait() == 0
        assert not it.socket.exists()


def test_a_second_sigterm_ends_it_now_and_no_file_passes_for_whole(house: House) -> None:
    with director(house.file) as it:
        download = Download(house)
        it.signal(signal.SIGTERM)
        it.wait_for("stopping")
        it.signal(signal.SIGTERM)
        assert it.wait() == 0
        reply, _ = download.finish()
        assert isinstance(reply, Exception)


def test_transfers_are_bounded_by_the_stop_timeout(house: House) -> None:
    with director(house.file, "--stop-timeout", "1s") as it:
        download = Download(house)
        it.signal(signal.SIGTERM)
        assert it.wait() == 0
        reply, _ = download.finish()
        assert isinstance(reply, Exception)


def test_a_take_over_refuses_no_connection_and_breaks_no_transfer(house: House) -> None:
    house.write(top="workers = 2")
    answers: list[str] = []
    failures: list[Exception] = []
    end = threading.Event()

    def visit() -> None:
        while not end.is_set():
            try:
                answers.append(house.who())
            except Exception as error:
                failures.append(error)

    with director(house.file) as old:
        download = Download(house)
        visitors = [threading.Thread(target=visit, daemon=True) for _ in range(3)]
        for one in visitors:
            one.start()
        before = len(answers)
        with director(house.file, "--take-over", socket=old.socket) as new:
            old.wait_for("stopping")
            seen = len(answers)
            new.until(lambda: len(answers) > seen + 20, "visits go on")
            end.set()
            for one in visitors:
                one.join(30)
            assert old.process.poll() is None, "it waits for its transfer"
            assert download.is_whole()
            assert old.wait() == 0
            assert not failures
            assert len(answers) > before + 20
            new.until(lambda: new.status()["virtual_servers"][0]["sessions_total"] > 0, "sessions are counted")
            assert new.end() == 0


def test_a_second_director_on_the_same_socket_is_refused(house: House) -> None:
    with director(house.file) as it:
        other = ftpdirector("run", house.file, "--socket", it.socket)
        assert other.returncode == 1
        assert "a director runs already" in other.stderr
        assert "Traceback" not in other.stderr
        assert it.status()


def test_a_take_over_without_a_predecessor_says_so(house: House, tmp_path: Path) -> None:
    done = ftpdirector("run", house.file, "--take-over", "--socket", tmp_path / "nobody")
    assert (done.returncode, "no director answers" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_a_killed_worker_is_replaced_and_no_file_passes_for_whole(house: House) -> None:
    with director(house.file) as it:
        download = Download(house)
        (worker,) = it.workers()
        os.kill(worker, signal.SIGKILL)
        it.wait_for("worker_died")
        reply, _ = download.finish()
        assert isinstance(reply, Exception)
        it.until(lambda: it.workers() not in ([], [worker]), "a new worker")
        assert {house.who() for _ in range(2)} == {"alpha", "bravo"}
        it.until(lambda: sum(it.real_server(name)["sessions"] for name in ("alpha", "bravo")) == 0, "nobody is counted")


def test_workers_end_when_their_supervisor_is_killed(house: House) -> None:
    with director(house.file) as it:
        (worker,) = it.workers()
        house.who()
        it.signal(signal.SIGKILL)
        it.wait()
        it.until(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker), "the worker ended")
    with director(house.file) as again:  # its stale socket is in nobody's way
        assert house.who() in ("alpha", "bravo")
        assert again.end() == 0


def test_a_dead_server_is_told_by_the_first_session_and_by_probes(house: House, reals: dict[str, Real]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dead:
        port = dead.getsockname()[1]
    living = reals["bravo"].endpoint
    cluster_file(
        house.file,
        [("alpha", "127.0.0.1", port), ("bravo", "127.0.0.1", living.port)],
        port=house.port,
        virtual=PASSIVE,
    )
    with director(house.file) as it:
        assert {house.who() for _ in range(4)} == {"bravo"}
        verdict = it.wait_for("verdict", real_server="alpha", now="down")
        assert "connect" in verdict["reason"]
        assert it.real_server("alpha")["effective_weight"] == 0


def test_the_status_page_metrics_and_json_agree(house: House) -> None:
    status_port = quiet_port()
    house.write(top=f'[status]\nlisten = "127.0.0.1:{status_port}"')
    with director(house.file) as it:
        house.who()
        it.until(lambda: it.status()["virtual_servers"][0]["sessions_total"] == 1, "the session is counted")
        page = _get(status_port, "/")
        assert "alpha" in page
        assert "<script" not in page
        assert 'ftpdirector_sessions_opened_total{real_server="alpha",virtual_server="ftp"} 1.0' in _get(
            status_port, "/metrics"
        )
        assert '"sessions_total":1' in _get(status_port, "/api/v1/status").replace(" ", "")
        assert _get(status_port, "/healthz") == "ok\n"


def test_transfers_stand_in_the_transfer_log(house: House, tmp_path: Path) -> None:
    log = tmp_path / "xferlog"
    house.write(top=f'transfer_log = "{log}"')
    with director(house.file) as it:
        house.who()
        it.wait_for("transfer")
        assert it.end() == 0
    fields = log.read_text().split()
    assert fields[6:18] == ["127.0.0.1", "5", "who.txt", "b", "_", "o", "r", "user", "ftp@alpha", "0", "*", "c"]
    assert stat.S_IMODE(log.stat().st_mode) & 0o007 == 0


def test_the_operators_socket_is_for_its_owner_only(house: House) -> None:
    with director(house.file) as it:
        assert stat.S_IMODE(it.socket.stat().st_mode) == 0o600


def test_a_probes_password_is_in_no_log_and_no_process_list(house: House, tmp_path: Path) -> None:
    secret = tmp_path / "probe.password"
    secret.write_text("secret\n")
    house.write(
        virtual='[virtual_server.health_check]\nprobe = "transfer"\nuser = "user"\npath = "/who.txt"\n'
        f'interval = "1s"\ntimeout = "1s"\npassword_file = "{secret}"'
    )
    with director(house.file) as it:
        it.wait_for("verdict", real_server="alpha", now="up")
        it.wait_for("verdict", real_server="bravo", now="up")
        for pid in [it.process.pid, *it.workers()]:
            assert b"secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert "secret" not in it.text.replace(str(secret), "")


@pytest.mark.long
def test_hundreds_of_virtual_servers_start(house: House) -> None:
    """More listening sockets than a socket pair holds at a time are handed to each worker."""
    real = house.reals["alpha"].endpoint
    text = "workers = 2\n"
    for number in range(600):
        text += (
            f'[[virtual_server]]\nname = "v{number}"\naddress = "127.1.{number // 250}.{number % 250 + 1}"\n'
            f'port = {house.port}\n[virtual_server.health_check]\ninterval = "1h"\n'
            f'[[virtual_server.real_server]]\nname = "alpha"\naddress = "127.0.0.1"\nport = {real.port}\n'
        )
    house.file.write_text(text)
    with director(house.file) as it:
        for address in ("127.1.0.1", "127.1.2.100"):
            with FtpClient((address, house.port)) as line:
                line.login()
        assert it.ask("reload").returncode == 0
        assert it.end() == 0


@pytest.mark.long
def test_an_address_that_is_not_here_yet_can_be_served(house: House) -> None:
    """A standby director waits with the floating address (IP_FREEBIND)."""
    house.file.write_text(house.file.read_text().replace('address = "127.0.0.1"', 'address = "192.0.2.10"', 1))
    with director(house.file) as it:
        assert it.status()["virtual_servers"][0]["endpoints"] == [f"192.0.2.10:{house.port}"]


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True
