"""One probe, of real servers and of servers of plain sockets that misbehave in one way each."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ftpdirector.health.probe import ANONYMOUS, Secret, probe
from ftpdirector.health.verdict import ProbeOutcome, ProbeResult
from ftpdirector.model import Endpoint, HealthCheck, ProbeKind, ProxyProtocol
from tests.loopback.running_proxy import Real, real_server

LOGIN = {"user": "user"}
SECRET = Secret("secret")


def probed(server: Endpoint, kind: str, password: Secret = SECRET, proxy: str = "off", **check: Any) -> ProbeResult:
    made = HealthCheck(probe=ProbeKind(kind), **({"timeout_s": 3.0} | LOGIN | check))
    return asyncio.run(probe(server, made, password, ProxyProtocol(proxy)))


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    root = tmp_path_factory.mktemp("alpha")
    with real_server("alpha", root, auth_failed_timeout=0.1) as real:
        (root / "probe.txt").write_bytes(b"x" * 1000)
        yield real


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("connect", "accepts connections"),
        ("banner", "greets with 220"),
        ("login", "lets user log in"),
        ("list", "LIST gave"),
        ("transfer", "RETR /probe.txt gave 1000 bytes"),
    ],
)
def test_a_server_that_works_is_up(alpha: Real, kind: str, reason: str) -> None:
    found = probed(alpha.endpoint, kind, path="/probe.txt" if kind == "transfer" else None)
    assert found.outcome is ProbeOutcome.UP, found
    assert found.reason.startswith(reason)
    assert found.banner == ("" if kind == "connect" else "alpha ready")


def test_a_wrong_password_or_a_missing_file_is_down_in_the_servers_words(alpha: Real) -> None:
    wrong = probed(alpha.endpoint, "login", Secret("wrong-one"))
    assert (wrong.outcome, wrong.reason) == (ProbeOutcome.DOWN, "login of user: 530 Authentication failed.")
    missing = probed(alpha.endpoint, "transfer", path="/none.txt")
    assert (missing.outcome, missing.reason[:24]) == (ProbeOutcome.DOWN, "RETR /none.txt: 550 No s")


def test_nobody_there_is_down_in_the_systems_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = probed(Endpoint(ip_address("127.0.0.1"), port), "banner")
    assert (found.outcome, found.reason) == (ProbeOutcome.DOWN, "connect: connection refused")


def test_a_transfer_of_no_file_is_a_mistake_of_the_caller(alpha: Real) -> None:
    with pytest.raises(ValueError, match="path"):
        probed(alpha.endpoint, "transfer")


@contextlib.contextmanager
def scripted(answers: dict[str, bytes], greeting: bytes = b"220 hi\r\n", data: bytes = b"x" * 10) -> Iterator[Endpoint]:
    """A server of plain sockets: an answer a verb; {port} becomes a data port that gives `data` and closes."""
    with socket.create_server(("127.0.0.1", 0)) as control, socket.create_server(("127.0.0.1", 0)) as passive:
        port = passive.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError), control.accept()[0] as client:
                client.sendall(greeting)
                held = b""
                while part := client.recv(4096):
                    held += part
                    while b"\n" in held:
                        line, held = held.split(b"\n", 1)
                        verb = line.split()[0].decode().upper() if line.split() else ""
                        answer = answers.get(verb, b"")
                        client.sendall(answer.replace(b"{port}", str(port).encode()))
                        if verb in ("RETR", "LIST"):
                            with passive.accept()[0] as sender:
                                sender.sendall(data)
                            client.sendall(b"226 done\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Endpoint(ip_address("127.0.0.1"), control.getsockname()[1])
        for listener in (control, passive):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


GOOD = {
    "USER": b"331 pw\r\n", "PASS": b"230 in\r\n", "TYPE": b"200 ok\r\n", "SIZE": b"213 10\r\n",
    "EPSV": b"229 ok (|||{port}|)\r\n", "RETR": b"150 go\r\n", "LIST": b"150 go\r\n", "QUIT": b"221 bye\r\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "greeting", "kind", "outcome", "reason"),
    [
        ({}, b"220 hi\r\n", "transfer", "UP", "RETR /f gave 10 bytes"),
        ({"SIZE": b"213 11\r\n"}, b"220 hi\r\n", "transfer", "DOWN", "RETR /f gave 10 bytes, SIZE says 11"),
        ({"SIZE": b"550 no\r\n"}, b"220 hi\r\n", "transfer", "UP", "RETR /f gave 10 bytes"),
        ({"QUIT": b""}, b"220 hi\r\n", "login", "UP", "lets user log in"),
        ({"EPSV": b"229 \xff\xfe (|||{port}|)\r\n"}, b"220 hi\r\n", "transfer", "UP", "RETR /f gave 10 bytes"),
        ({"EPSV": b"229 \xff\xfe\r\n"}, b"220 hi\r\n", "list", "DOWN", "not FTP: The real server's 229 names no port"),
        ({"PASS": b"530 no, secret is bad\r\n"}, b"220 hi\r\n", "login", "DOWN", "login of user: 530 no, ... is bad"),
        ({}, b"421 too many\r\n", "banner", "FULL", "greeting: 421 too many"),
        ({"PASS": b"421 too many\r\n"}, b"220 hi\r\n", "login", "FULL", "login of user: 421 too many"),
        ({}, b"530 too many from you\r\n", "banner", "CLOSED", "greeting: 530 too many from you"),
        ({"PASS": b"530 Sorry, the maximum number of allowed clients (5) already connected.\r\n"}, b"220 hi\r\n",
         "login", "CLOSED",
         "login of user: 530 Sorry, the maximum number of allowed clients (5) already connected."),
        ({}, b"500 OOPS: cannot fork\r\n", "banner", "DOWN", "greeting: 500 OOPS: cannot fork"),
        ({"PASS": b"530 Anmeldung ung\xfcltig \x1b[31m\r\n"}, b"220 hi\r\n", "login", "DOWN",
         "login of user: 530 Anmeldung ung\\xfcltig \\x1b[31m"),
        ({}, b"HTTP/1.1 400\r\n", "banner", "DOWN", "not FTP: The real server sent what is no FTP reply"),
        ({}, b"220-hi\r\n230 ready\r\n", "banner", "UP", "greets with 220"),
        ({}, b"120 soon\r\n220 now\r\n", "banner", "UP", "greets with 220"),
        ({}, b"", "banner", "DOWN", "the greeting took longer than 1 s"),
        ({"USER": b""}, b"220 hi\r\n", "login", "DOWN", "the reply to USER user took longer than 1 s"),
        ({"PASS": b""}, b"220 hi\r\n", "login", "DOWN", "the reply to PASS took longer than 1 s"),
    ],
)  # fmt: skip
def test_each_misbehaviour_has_its_verdict_and_its_words(
    changed: dict[str, bytes], greeting: bytes, kind: str, outcome: str, reason: str
) -> None:
    with scripted(GOOD | changed, greeting) as server:
        found = probed(server, kind, path="/f" if kind == "transfer" else None, timeout_s=1.0)
    assert (found.outcome.name, found.reason) == (outcome, reason)


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize(
    ("first", "outcome", "waited_for"),
    [(b"", ProbeOutcome.CLOSED, "the greeting"), (b"220 hi\r\n", ProbeOutcome.DOWN, "the reply to USER user")],
)
def test_hanging_up_is_told_apart_by_whether_it_greeted(
    by_reset: bool, first: bytes, outcome: ProbeOutcome, waited_for: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as client:
                if first:
                    client.sendall(first)
                    client.recv(100)
                if by_reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=serve)
        thread.start()
        found = probed(Endpoint(ip_address("127.0.0.1"), listener.getsockname()[1]), "login")
        thread.join(10)
    words = f"{waited_for}: connection reset by peer" if by_reset else f"closed the connection before {waited_for}"
    assert (found.outcome, found.reason) == (outcome, words)


def test_a_password_shows_itself_nowhere() -> None:
    assert "secret" not in repr(SECRET)
    with scripted(GOOD, b"220 secret welcome\r\n") as server:
        assert "secret" not in probed(server, "login").banner
    assert ANONYMOUS.reveal()


@pytest.mark.parametrize(
    ("version", "header"), [("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")]
)
def test_the_proxy_header_says_that_the_director_speaks_for_itself(version: str, header: bytes) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as client:
                while len(heard[0] if heard else b"") < len(header):
                    heard[:] = [b"".join(heard) + client.recv(4096)]
                client.sendall(b"220 hi\r\n")
                client.recv(4096)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        endpoint = Endpoint(ip_address("127.0.0.1"), server.getsockname()[1])
        assert probed(endpoint, "banner", proxy=version).outcome is ProbeOutcome.UP
        thread.join(10)
    assert heard[0].startswith(header)


def test_a_file_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with real_server("alpha", tmp_path) as real:
        with (tmp_path / "large").open("wb") as file:
            file.truncate(65 << 20)
        found = probed(real.endpoint, "transfer", path="/large", timeout_s=20.0)
    assert (found.outcome, "name a small file" in found.reason) == (ProbeOutcome.DOWN, True)
