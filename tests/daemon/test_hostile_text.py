"""What a real server or a client says, through every output of the director: nothing acts, nothing breaks."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.directors import COMMAND, cluster_file, director, ftpdirector
from tests.loopback.running_proxy import quiet_port, real_server

pytestmark = pytest.mark.long

HOSTILE = {
    "latin-1": "Anmeldung ungültig".encode("latin-1"),
    "markup": b"[/]Login incorrect [bold",
    "link": b"[link=http://evil/]click[/link]",
    "escape": b"\x1b]0;owned\x07\x1b[2J\x1b[31mALL GOOD",
    "c1": b"\x9b31m \xc2\x9b31m",
    "html": b"<script>alert(1)</script>",
    "cr": b"x\ry all up",
    "lines": "a\u2028level=error\u2029b\x85c".encode(),
    "bidi": "\u202egood\u202c \u2066x".encode(),
    "nul": b"a\x00b\x7fc",
}
_ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(output: bytes) -> str:
    """The text of an output, which is UTF-8 and in which nothing but a line feed acts."""
    text = output.decode()
    assert not _ACTS.search(text), ascii(text)
    return text


@contextlib.contextmanager
def refusing(said: bytes) -> Iterator[int]:
    """A real server that greets, and refuses each login in these words."""

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.sendall(b"220 " + said + b"\r\n")
            for line in client.makefile("rb"):
                client.sendall(
                    b"331 " + said + b"\r\n" if line.upper().startswith(b"USER") else b"530 " + said + b"\r\n"
                )

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def fetch(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        assert answer.status == 200
        return harmless(answer.read())


def on_a_terminal(*words: str | Path) -> bytes:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([COMMAND, *map(str, words)], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            part = os.read(ours, 65536)
            if not part:
                break
            said += part
    except OSError:
        pass  # the terminal's end: the command has ended
    finally:
        os.close(ours)
        process.wait(20)
    return said


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    return path


def test_the_words_of_real_servers_do_nothing_in_any_view_of_the_director(tmp_path: Path, secret: Path) -> None:
    page = quiet_port()
    with contextlib.ExitStack() as servers:
        reals = [(kind, "127.0.0.1", servers.enter_context(refusing(said))) for kind, said in HOSTILE.items()]
        file = cluster_file(
            tmp_path / "cluster.toml",
            reals,
            port=quiet_port(),
            top=f'[status]\nlisten = "127.0.0.1:{page}"',
            virtual='[virtual_server.health_check]\nprobe = "login"\nuser = "u"\ninterval = "1s"\ntimeout = "1s"\n'
            f'fall = 1\npassword_file = "{secret}"\n',
        )
        with director(file) as it:
            for kind in HOSTILE:
                it.wait_for("verdict", real_server=kind, now="down")
            html = fetch(page, "/")
            assert "<script>alert" not in html
            assert html.count("login of u: 530") == len(HOSTILE)
            told = json.loads(fetch(page, "/api/v1/status"))
            assert all("530" in one["verdict"]["reason"] for one in told["virtual_servers"][0]["real_servers"])
            assert "ftpdirector_real_server_health" in fetch(page, "/metrics")
            for words in (("status",), ("status", "--json")):
                done = subprocess.run([COMMAND, *words, "--socket", it.socket], capture_output=True, check=False)
                assert (done.returncode, done.stderr) == (0, b"")
                assert harmless(done.stdout).count("login of u: 530") == len(HOSTILE)
            shown = on_a_terminal("status", "--socket", it.socket)
            assert b"530" in shown
            assert b"Traceback" not in shown
            for sequence in (b"\x1b]0;", b"\x1b[2J", b"\x9b31", b"\x07"):
                assert sequence not in shown
            harmless(it.text.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_words_of_a_real_server_do_nothing_in_probe_and_verify(kind: str, secret: Path) -> None:
    with refusing(HOSTILE[kind]) as port:
        target = f"127.0.0.1:{port}"
        probe = ["probe", target, "--probe", "login", "--user", "u", "--password-file", str(secret)]
        verify = ["verify", target, "--mode", "pasv", "--timeout", "2s"]
        for words in (probe, [*probe, "--json"], verify, [*verify, "--json"]):
            done = subprocess.run([COMMAND, *words], capture_output=True, check=False)
            assert done.returncode == 1
            assert "530" in harmless(done.stdout)
            assert "Traceback" not in harmless(done.stderr)


def test_the_words_of_a_client_do_nothing_in_the_log(tmp_path: Path) -> None:
    port = quiet_port()
    with real_server("alpha", tmp_path) as real:
        file = cluster_file(tmp_path / "cluster.toml", [("alpha", "127.0.0.1", real.endpoint.port)], port=port)
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = subprocess.Popen([COMMAND, "run", str(file), "--socket", str(tmp_path / "s")], stderr=output)
        try:
            for name in HOSTILE.values():
                _retrieve(port, name)
        finally:
            process.terminate()
            process.wait(30)
    said = harmless(log.read_bytes())
    assert "owned" in said
    assert not [line for line in said.splitlines() if not line.startswith("timestamp=")]


def _retrieve(port: int, name: bytes) -> None:
    for _ in range(200):
        try:
            control = socket.create_connection(("127.0.0.1", port), 20)
            break
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
    with control, control.makefile("rb") as replies:
        replies.readline()
        for line in (b"USER user", b"PASS secret", b"EPSV"):
            control.sendall(line + b"\r\n")
            reply = replies.readline()
        announced = re.search(rb"\|\|\|(\d+)\|", reply)
        assert announced, reply
        with socket.create_connection(("127.0.0.1", int(announced[1])), 20):
            control.sendall(b"RETR " + name.replace(b"\r", b"").replace(b"\x00", b"") + b"\r\n")
            replies.readline()
        control.sendall(b"QUIT\r\n")
        replies.read()


def test_a_file_name_does_nothing_in_check(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"\x1b[31m\xfc.toml")
    file.write_text("[[virtual_server]]\n")
    for more in ((), ("--json",)):
        done = subprocess.run([COMMAND, "check", file, *more], capture_output=True, check=False)
        assert done.returncode == 1
        assert "toml" in harmless(done.stdout) + harmless(done.stderr)
        assert b"Traceback" not in done.stderr
    assert ftpdirector("check", tmp_path / "\x1b[31m").stderr.count("\x1b") == 0
