"""Real servers and clients that do what the field does, with plain sockets on both sides of the engine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from ftpdirector.model import Endpoint, Timeouts
from tests.loopback.running_proxy import IMPATIENT, FtpClient, director, read_all, virtual_server


@dataclass
class Scripted:
    """A real server: what it says to a verb is in `says`; what is not there is 200. None: it says nothing."""

    says: dict[bytes, bytes | Callable[[ScriptedSession], None] | None] = field(default_factory=dict)
    heard: list[bytes] = field(default_factory=list)
    port: int = 0
    greeting: bytes = b"220 hi"


class ScriptedSession:
    """One session of it."""

    def __init__(self, state: Scripted, sock: socket.socket) -> None:
        self.state = state
        self.sock = sock
        self._listener: socket.socket | None = None

    def say(self, text: bytes) -> None:
        """A reply."""
        self.sock.sendall(text + b"\r\n")

    def listen(self) -> int:
        """Where the data connection is awaited."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        return int(self._listener.getsockname()[1])

    def data(self) -> socket.socket:
        """The data connection."""
        assert self._listener is not None
        self._listener.settimeout(10)
        with self._listener:
            return self._listener.accept()[0]

    def forget(self) -> None:
        """Close the door on whoever knocked."""
        if self._listener is not None:
            self._listener.close()

    def serve(self) -> None:
        """Until the other side goes."""
        self.say(self.state.greeting)
        with self.sock.makefile("rb") as lines:
            for line in lines:
                self.state.heard.append(line.rstrip(b"\r\n"))
                verb = line.split()[0].upper() if line.split() else b""
                match self.state.says.get(verb, _USUAL.get(verb, b"200 ok")):
                    case None:
                        pass
                    case bytes(text):
                        self.say(text)
                    case call:
                        call(self)

    def epsv(self) -> None:
        self.say(b"229 ok (|||%d|)" % self.listen())

    def pasv(self) -> None:
        self.say(b"227 ok (127,0,0,1,%d,%d)" % divmod(self.listen(), 256))

    def retr(self) -> None:
        self.say(b"150 go")
        with self.data() as data:
            data.sendall(b"whole")
        self.say(b"226 done")


_USUAL: dict[bytes, bytes | Callable[[ScriptedSession], None]] = {
    b"USER": b"331 ?", b"PASS": b"230 in", b"QUIT": b"221 bye",
    b"EPSV": ScriptedSession.epsv, b"PASV": ScriptedSession.pasv, b"RETR": ScriptedSession.retr,
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[Scripted]:
    state = Scripted()
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50))
        state.port = int(door.getsockname()[1])

        def serve_one(sock: socket.socket) -> None:
            session = ScriptedSession(state, sock)
            with sock, contextlib.suppress(OSError):
                session.serve()
            session.forget()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve_one, args=(door.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield state
        door.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def through(server: Scripted, *, idle_timeout_s: float = 60.0, **timeouts: float) -> Iterator[FtpClient]:
    """A client that has greeted; clocks as told."""
    clocks: Timeouts = replace(IMPATIENT, **timeouts)
    endpoint = Endpoint(ip_address("127.0.0.1"), server.port)
    front = virtual_server([("alpha", endpoint)], idle_timeout_s=idle_timeout_s, timeouts=clocks)
    with director(front) as house, FtpClient(house.address) as line:
        greeting = b"".join(iter(lambda: line.sock.recv(1), b"\n"))
        assert greeting == server.greeting.splitlines()[0] + b"\r"
        yield line


def logged_in(line: FtpClient) -> FtpClient:
    assert line.ask("USER u").startswith("331")
    assert line.ask("PASS p").startswith("230")
    return line


def test_a_command_without_a_reply_ends_after_the_time_for_replies(server: Scripted) -> None:
    server.says[b"SITE"] = None
    with through(server, reply_s=0.5) as line:
        assert logged_in(line).ask("SITE x").startswith("421")


def test_without_that_time_it_lasts_longer_than_the_idle_time(server: Scripted) -> None:
    def late(session: ScriptedSession) -> None:
        time.sleep(1.0)
        session.say(b"250 abc")

    server.says[b"XSHA256"] = late
    with through(server, idle_timeout_s=0.3) as line:
        assert logged_in(line).ask("XSHA256 f") == "250 abc"
        assert line.reply().startswith("421"), "and idle it ends"


def test_who_does_not_log_in_is_sent_away(server: Scripted) -> None:
    with through(server, login_s=0.5) as line:
        assert line.ask("USER u").startswith("331")
        assert line.reply().startswith("421")


def test_who_has_logged_in_stays(server: Scripted) -> None:
    with through(server, login_s=0.5, reply_s=3.0) as line:
        logged_in(line)
        line.sock.settimeout(1.0)
        with pytest.raises(TimeoutError):
            line.reply()


@pytest.mark.parametrize("asked", ["EPSV", "PASV"])
def test_a_question_that_is_not_answered_is_put_otherwise(server: Scripted, asked: str) -> None:
    server.says[asked.encode()] = None
    with through(server, answer_s=0.5) as line:
        reply = logged_in(line).ask(asked)
        assert reply[:3] == ("229" if asked == "EPSV" else "227")
        assert line.ask("NOOP").startswith("200")


def test_none_answered_is_425_with_the_reason(server: Scripted) -> None:
    server.says |= {b"EPSV": None, b"PASV": None}
    with through(server, answer_s=0.5) as line:
        reply = logged_in(line).ask("EPSV")
        assert reply.startswith("425")
        assert "does not answer" in reply
        assert line.ask("PWD") == "200 ok"


@pytest.mark.parametrize("before", [b"150 go", b""])
def test_a_client_that_connects_behind_150_is_served(server: Scripted, before: bytes) -> None:
    with through(server, early_command_s=0.2, data_connection_s=5.0) as line:
        port = logged_in(line).passive_port()
        if before:
            assert line.ask("RETR f").startswith("150")
        else:
            line.say("RETR f")
        with socket.create_connection((line.sock.getpeername()[0], port), 5) as data:
            assert read_all(data) == b"whole"
        if not before:
            assert line.reply().startswith("150")
        assert line.reply().startswith("226")


def test_nobody_there_is_425_and_the_session_is_in_step(server: Scripted) -> None:
    with through(server, early_command_s=0.2, data_connection_s=0.5) as line:
        logged_in(line).passive_port()
        assert line.ask("RETR f").startswith("150")
        assert line.reply().startswith("425")
        assert line.ask("PWD") == "200 ok"


def test_an_empty_listing_that_nobody_connected_for(server: Scripted) -> None:
    def nothing(session: ScriptedSession) -> None:
        session.forget()
        session.say(b"226 nothing to list")

    server.says[b"NLST"] = nothing
    with through(server, early_command_s=0.2, data_connection_s=5.0) as line:
        logged_in(line).passive_port()
        assert line.ask("NLST") == "226 nothing to list"


def test_a_listing_that_nobody_fetched_is_not_said_to_be_complete(server: Scripted) -> None:
    def something(session: ScriptedSession) -> None:
        session.say(b"150 go")
        with session.data() as data:
            data.sendall(b"name\r\n")
        session.say(b"226 done")

    server.says[b"NLST"] = something
    with through(server, early_command_s=0.1, data_connection_s=0.5) as line:
        logged_in(line).passive_port()
        assert line.ask("NLST").startswith("150")
        assert line.reply().startswith("425")
        assert line.ask("PWD") == "200 ok"


def test_a_greeting_that_ends_in_another_code(server: Scripted) -> None:
    server.greeting = b"220-hi\r\n230 ready"
    with through(server) as line:
        assert line.reply() == "230 ready"
        assert line.ask("PWD") == "200 ok"


@pytest.mark.parametrize("number", range(5))
def test_an_empty_end_and_a_refusal_come_in_either_order(server: Scripted, number: int) -> None:
    def missing(session: ScriptedSession) -> None:
        session.say(b"150 go")
        data = session.data()
        if number % 2:
            session.say(b"450 none")
            data.close()
        else:
            data.close()
            session.say(b"450 none")

    server.says[b"LIST"] = missing
    with through(server) as line, logged_in(line).passive() as data:
        line.say("LIST x")
        assert read_all(data) == b""
        assert [line.reply()[:3], line.reply()] == ["150", "450 none"]


def test_half_a_stream_and_a_refusal_are_a_reset(server: Scripted) -> None:
    def half(session: ScriptedSession) -> None:
        session.say(b"150 go")
        with session.data() as data:
            data.sendall(b"half")
        session.say(b"451 disk")

    server.says[b"LIST"] = half
    with through(server) as line, logged_in(line).passive() as data:
        line.say("LIST x")
        with pytest.raises(ConnectionResetError):
            read_all(data)
        assert [line.reply()[:3], line.reply()] == ["150", "451 disk"]


def test_noop_in_a_transfer_is_answered_at_once(server: Scripted) -> None:
    def slow(session: ScriptedSession) -> None:
        session.say(b"150 go")
        with session.data() as data:
            time.sleep(1.0)
            data.sendall(b"whole")
        session.say(b"226 done")

    server.says[b"RETR"] = slow
    with through(server) as line, logged_in(line).passive() as data:
        assert line.ask("RETR f").startswith("150")
        began = time.monotonic()
        assert line.ask("NOOP").startswith("200")
        assert time.monotonic() - began < 0.5
        assert read_all(data) == b"whole"
        assert line.reply().startswith("226")
    assert b"NOOP" not in server.heard


def test_noop_before_150_does_not_pass_for_it(server: Scripted) -> None:
    with through(server) as line, logged_in(line).passive() as data:
        line.sock.sendall(b"RETR f\r\nNOOP\r\n")
        assert [line.reply()[:3] for _ in range(3)] in (["150", "200", "226"], ["150", "226", "200"])
        assert read_all(data) == b"whole"


def test_a_data_port_that_nobody_arranged_never_reaches_the_client(server: Scripted) -> None:
    server.says[b"XPASV"] = b"227 ok (127,0,0,1,200,1)"
    with through(server) as line:
        assert logged_in(line).ask("XPASV").startswith("502")
        assert line.ask("PASV\t").startswith("500")
        assert line.ask("NOOP") == "200 ok"
    assert b"PASV\t" not in server.heard


def test_a_half_closed_client_gets_what_is_due(server: Scripted) -> None:
    with through(server) as line:
        line.sock.sendall(b"USER u\r\nPASS p\r\nPWD\r\n")
        line.sock.shutdown(socket.SHUT_WR)
        assert [line.reply()[:3] for _ in range(3)] == ["331", "230", "200"]
        assert line.sock.recv(1) == b""
