"""Servers and clients of the field, made of plain sockets: each does what a public report tells of a real one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from ftpdirector.model import Endpoint, Timeouts
from tests.loopback.running_proxy import FtpClient, RunningProxy, director, read_all, reset, virtual_server

pytestmark = pytest.mark.long

CONTENT = bytes(range(256)) * 400
Hook = Callable[["Talk", str], object]


class Talk:
    """One session of the server; `hooks` stand in for what it does with a verb."""

    def __init__(self, sock: socket.socket, hooks: dict[str, Hook], log: list[bytes]) -> None:
        self.sock = sock
        self.hooks = hooks
        self.log = log
        self.listener: socket.socket | None = None
        self.stop = threading.Event()

    def serve(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.greet()
        with self.sock.makefile("rb") as lines:
            for line in lines:
                text = line.rstrip(b"\r\n")
                self.log.append(text)
                word, _, rest = text.partition(b" ")
                verb, argument = word.upper().decode("latin-1"), rest.decode("latin-1")
                hook = self.hooks.get(verb)
                own = getattr(self, "do_" + verb.lower(), None)
                if hook is not None:
                    hook(self, argument)
                elif own is not None:
                    own(argument)
                else:
                    self.say("502 unknown")

    def greet(self) -> None:
        hook = self.hooks.get("")
        if hook is not None:
            hook(self, "")
        else:
            self.say("220 fake")

    def say(self, text: str) -> None:
        self.sock.sendall(text.encode("latin-1") + b"\r\n")

    def listen(self) -> int:
        self.no_listener()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        return int(self.listener.getsockname()[1])

    def no_listener(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    def data(self) -> socket.socket:
        assert self.listener is not None
        sock, _ = self.listener.accept()
        self.no_listener()
        return sock

    def do_user(self, _: str) -> None:
        self.say("331 word?")

    def do_pass(self, _: str) -> None:
        self.say("230 in")

    def do_type(self, _: str) -> None:
        self.say("200 ok")

    def do_noop(self, _: str) -> None:
        self.say("200 noop")

    def do_syst(self, _: str) -> None:
        self.say("215 UNIX")

    def do_pwd(self, _: str) -> None:
        self.say('257 "/"')

    def do_pasv(self, _: str) -> None:
        port = self.listen()
        self.say(f"227 ok (127,0,0,1,{port >> 8},{port & 255})")

    def do_epsv(self, _: str) -> None:
        self.say(f"229 ok (|||{self.listen()}|)")

    def do_retr(self, _: str) -> None:
        self.say("150 here")
        with self.data() as data:
            data.sendall(CONTENT)
        self.say("226 done")

    def do_quit(self, _: str) -> None:
        self.say("221 bye")


@contextlib.contextmanager
def serving(
    hooks: dict[str, Hook], timeouts: Timeouts | None = None, **settings: Any
) -> Iterator[tuple[RunningProxy, list[bytes]]]:
    """Such a server with a director before it, and the lines that the server was sent."""
    log: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_sockets: list[socket.socket] = []

        def session(sock: socket.socket) -> None:
            with contextlib.suppress(OSError, ValueError), sock:
                Talk(sock, hooks, log).serve()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    open_sockets.append(sock)
                    threading.Thread(target=session, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        endpoint = Endpoint(ip_address("127.0.0.1"), listener.getsockname()[1])
        try:
            with director(virtual_server([("alpha", endpoint)], timeouts=timeouts or Timeouts(), **settings)) as proxy:
                yield proxy, log
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for sock in open_sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def pasv(line: FtpClient) -> socket.socket:
    numbers = line.ask("PASV").partition("(")[2].partition(")")[0].split(",")
    return socket.create_connection(("127.0.0.1", int(numbers[4]) * 256 + int(numbers[5])), 10)


def early(talk: Talk, _: str) -> None:
    """Pure-FTPd: a second 150 for a client that is gone, and nothing more."""
    talk.say("150 here")
    with contextlib.suppress(OSError), talk.data() as data:
        while True:
            data.sendall(bytes(1 << 16))
    talk.say("150 0.5 seconds (measured here)")


def test_a_download_that_the_client_ends_early_stops_nothing() -> None:
    with serving({"RETR": early}) as (proxy, _), FtpClient(proxy.address).login() as line:
        data = pasv(line)
        line.say("RETR f")
        assert line.reply().startswith("150")
        assert data.recv(1000)
        reset(data)
        assert line.reply() == "150 0.5 seconds (measured here)"
        assert line.ask("NOOP").startswith("200")
        assert line.ask("PWD").startswith("257")


def test_a_line_that_the_server_passes_over_stops_nothing() -> None:
    with serving({"\tNOOP": lambda *_: None}) as (proxy, _), FtpClient(proxy.address).login() as line:
        line.say("\tNOOP\r\nPWD")
        assert line.reply().startswith("257")


def test_a_slow_client_gets_all_behind_the_servers_226() -> None:
    """What lies in the buffers is more than the client takes in the time of any clock, the idle one too."""
    timeouts = Timeouts(data_connection_s=0.2, answer_s=0.2, early_command_s=0.1)
    size = 4_000_000

    def all_at_once(talk: Talk, _: str) -> None:
        talk.say("150 here")
        with talk.data() as data:
            data.sendall(bytes(size))
        talk.say("226 done")

    with (
        serving({"RETR": all_at_once}, timeouts, idle_timeout_s=0.5) as (proxy, _),
        FtpClient(proxy.address).login() as line,
    ):
        with pasv(line) as data:
            data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            line.say("RETR f")
            got = 0
            try:
                for _ in range(15):
                    got += len(data.recv(100_000))
                    time.sleep(0.1)
                got += len(read_all(data))
            except ConnectionResetError:
                pytest.fail(f"{got} of {size}: {[line.reply(), line.reply()]} {proxy.log.lines}")
        assert got == size
        assert [line.reply()[:3], line.reply()[:3]] == ["150", "226"]


def test_a_client_that_takes_nothing_is_idle_though_the_server_is_done() -> None:
    def endless(talk: Talk, _: str) -> None:
        talk.say("150 here")
        with contextlib.suppress(OSError), talk.data() as data:
            while True:
                data.sendall(bytes(1 << 16))

    with (
        serving({"RETR": endless}, idle_timeout_s=0.3) as (proxy, _),
        FtpClient(proxy.address).login() as line,
        pasv(line),
    ):
        line.say("RETR f")
        assert line.reply().startswith("150")
        assert line.reply().startswith("421")


@pytest.mark.parametrize("verb", ["XSHA256", "RETR", "STOR"])
def test_a_server_that_works_is_not_idle(verb: str) -> None:
    def slow(talk: Talk, _: str) -> None:
        if verb == "XSHA256":
            time.sleep(0.8)
            talk.say("250 abc")
            return
        talk.say("150 go")
        with talk.data() as data:
            if verb == "STOR":
                read_all(data)
            time.sleep(0.8)
            if verb == "RETR":
                data.sendall(b"late")
        talk.say("226 done")

    with serving({verb: slow}, idle_timeout_s=0.2) as (proxy, _), FtpClient(proxy.address).login() as line:
        if verb == "XSHA256":
            assert line.ask("XSHA256 f") == "250 abc"
            return
        with pasv(line) as data:
            assert line.ask(f"{verb} f").startswith("150")
            if verb == "STOR":
                data.sendall(b"x")
                data.close()
            else:
                assert read_all(data) == b"late"
            assert line.reply().startswith("226")


def test_a_login_that_does_not_come_and_a_reply_that_does_not() -> None:
    with serving({"SLOW": lambda *_: None}, Timeouts(login_s=0.3, reply_s=0.3)) as (proxy, _):
        with FtpClient(proxy.address) as line:
            assert line.reply().startswith("220")
            assert line.ask("USER ann").startswith("331")
            begun_s = time.monotonic()
            assert line.reply().startswith("421 Login timed out")
            assert time.monotonic() - begun_s < 2
        with FtpClient(proxy.address).login() as line:
            time.sleep(0.5)
            assert line.ask("NOOP").startswith("200"), "the clock of the login was stopped"
            assert line.ask("SLOW").startswith("421 ")


@pytest.mark.parametrize("verb", ["NLST", "RETR"])
def test_a_clean_end_without_a_byte_and_then_no(verb: str) -> None:
    def nothing(talk: Talk, _: str) -> None:
        talk.say("150 list")
        talk.data().close()
        talk.say("550 No files found")

    with serving({verb: nothing}) as (proxy, _), FtpClient(proxy.address).login() as line, pasv(line) as data:
        line.say(f"{verb} x")
        assert read_all(data) == b""
        assert [line.reply(), line.reply()] == ["150 list", "550 No files found"]


def test_half_a_file_and_then_no_is_a_reset() -> None:
    def half(talk: Talk, _: str) -> None:
        talk.say("150 here")
        with talk.data() as data:
            data.sendall(b"half")
        talk.say("550 Disk")

    with serving({"RETR": half}) as (proxy, _), FtpClient(proxy.address).login() as line, pasv(line) as data:
        line.say("RETR f")
        with pytest.raises(ConnectionResetError):
            read_all(data)
        assert [line.reply(), line.reply()] == ["150 here", "550 Disk"]


def test_a_listing_of_nothing_without_a_data_connection() -> None:
    def none(talk: Talk, _: str) -> None:
        talk.say("150 list")
        talk.no_listener()
        talk.say("226 nothing to list")

    with serving({"NLST": none}) as (proxy, _), FtpClient(proxy.address).login() as line, pasv(line) as data:
        line.say("NLST")
        assert [line.reply()[:3], line.reply()] == ["150", "226 nothing to list"]
        assert read_all(data) == b""


def closes(talk: Talk, _: str) -> None:
    talk.sock.shutdown(socket.SHUT_RDWR)


BROKEN_EPSV: dict[str, Hook] = {
    "closes": closes,
    "silent": lambda *_: None,
    "refused": lambda talk, _: talk.say("229 ok (|||1025|)"),
    "no delimiter": lambda talk, _: talk.say(f"229 ok (||{talk.listen()}|)"),
    **{code: (lambda talk, _, code=code: talk.say(f"{code} no")) for code in ("200", "425", "451", "530", "550")},
}


@pytest.mark.parametrize("way", BROKEN_EPSV)
def test_a_client_that_says_pasv_never_meets_a_broken_epsv(way: str) -> None:
    with (
        serving({"EPSV": BROKEN_EPSV[way]}) as (proxy, _),
        FtpClient(proxy.address).login() as line,
        pasv(line) as data,
    ):
        line.say("RETR f")
        assert read_all(data) == CONTENT


@pytest.mark.parametrize("way", BROKEN_EPSV)
def test_a_client_that_says_epsv_is_served_by_pasv(way: str) -> None:
    with serving({"EPSV": BROKEN_EPSV[way]}, Timeouts(answer_s=0.2)) as (proxy, log):
        for number in range(2):
            try:
                with FtpClient(proxy.address).login() as line, line.passive() as data:
                    line.say("RETR f")
                    assert read_all(data) == CONTENT
            except (AssertionError, EOFError):
                assert way == "closes", "this session is lost, but the real server is known from now on"
                assert number == 0
        of_one_session = 1 if way in ("425", "451") else 0
        assert log.count(b"EPSV") == 1 + of_one_session, "what is not for good is asked again in the next session"


def test_a_client_that_connects_when_it_has_read_150() -> None:
    with serving({}, Timeouts(early_command_s=0.1)) as (proxy, _), FtpClient(proxy.address).login() as line:
        port = line.passive_port()
        assert line.ask("RETR f").startswith("150")
        with socket.create_connection(("127.0.0.1", port), 10) as data:
            assert read_all(data) == CONTENT
        assert line.reply().startswith("226")


def test_a_listing_that_nobody_fetched_is_not_said_to_be_complete() -> None:
    def listing(talk: Talk, _: str) -> None:
        talk.say("150 here")
        with talk.data() as data:
            data.sendall(b"name\r\n")
        talk.say("226 done")

    timeouts = Timeouts(early_command_s=0.1, data_connection_s=0.4)
    with serving({"NLST": listing}, timeouts) as (proxy, _), FtpClient(proxy.address).login() as line:
        line.passive_port()
        assert [line.ask("NLST")[:3], line.reply()[:3]] == ["150", "425"]
        assert line.ask("PWD").startswith("257")


def test_noop_in_front_of_150_does_not_pass_for_it() -> None:
    with serving({}) as (proxy, _), FtpClient(proxy.address).login() as line, pasv(line) as data:
        line.sock.sendall(b"RETR f\r\nNOOP\r\n")
        assert line.reply() == "150 here"
        assert read_all(data) == CONTENT
        assert sorted(line.reply()[:3] for _ in range(2)) == ["200", "226"]


def test_a_greeting_that_ends_in_another_code() -> None:
    hooks: dict[str, Hook] = {"": lambda talk, _: talk.say("220-hi\r\n230 ready")}
    with serving(hooks) as (proxy, _), socket.create_connection(proxy.address, 10) as sock:
        sock.settimeout(10)
        sock.sendall(b"PWD\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b'220-hi\r\n230 ready\r\n257 "/"\r\n'


def test_a_client_that_never_connects_is_told_and_the_server_is_reset() -> None:
    ends: list[str] = []

    def store(talk: Talk, _: str) -> None:
        talk.say("150 go")
        try:
            with talk.data() as data:
                read_all(data)
            ends.append("whole")
        except ConnectionResetError:
            ends.append("reset")
        talk.say("426 cut")

    timeouts = Timeouts(early_command_s=0.1, data_connection_s=0.4)
    with serving({"STOR": store}, timeouts) as (proxy, _), FtpClient(proxy.address).login() as line:
        line.passive_port()
        assert [line.ask("STOR f")[:3], line.reply()] == [
            "150", "425 Can't open data connection: nobody connected in time",
        ]  # fmt: skip
        assert line.ask("PWD").startswith("257"), "what the server says of it is swallowed"
        assert ends == ["reset"]


@pytest.mark.parametrize("synch", [False, True])
def test_abor_reaches_the_server_as_the_client_sent_it(synch: bool) -> None:
    def until_told(talk: Talk, _: str) -> None:
        talk.say("150 here")
        data = talk.data()

        def send() -> None:
            with contextlib.suppress(OSError), data:
                while not talk.stop.wait(0.01):
                    data.sendall(bytes(100))
            talk.say("426 aborted")
            talk.say("226 abor ok")

        threading.Thread(target=send, daemon=True).start()

    def abor(talk: Talk, _: str) -> None:
        talk.stop.set()

    verb = "\xff\xf4\xff\xf2ABOR" if synch else "ABOR"
    with (
        serving({"RETR": until_told, verb: abor}) as (proxy, log),
        FtpClient(proxy.address).login() as line,
        pasv(line),
    ):
        assert line.ask("RETR f").startswith("150")
        line.sock.sendall(b"\xff\xf4\xff\xf2ABOR\r\n" if synch else b"ABOR\r\n")
        assert [line.reply(), line.reply()] == ["426 aborted", "226 abor ok"]
        assert log[-1] == verb.encode("latin-1")


def test_names_arrive_byte_for_byte() -> None:
    names = [name.encode("cp1251") for name in ("ярмарка", "дядяф", "пять")] + [
        bytes([0xFF, n]) * 3 for n in range(14, 256)
    ]
    with serving({"SIZE": lambda talk, _: talk.say("213 1")}) as (proxy, log), FtpClient(proxy.address).login() as line:
        for name in names:
            line.sock.sendall(b"SIZE " + name + b"\r\n")
            assert line.reply() == "213 1"
        assert log[-len(names) :] == [b"SIZE " + name for name in names]


def test_a_half_closed_client_gets_its_answers() -> None:
    with serving({}) as (proxy, _), FtpClient(proxy.address) as line:
        line.sock.sendall(b"USER ann\r\nPASS x\r\nPWD\r\n")
        line.sock.shutdown(socket.SHUT_WR)
        assert [line.reply()[:3] for _ in range(4)] == ["220", "331", "230", "257"]
        proxy.no_sessions()


def test_what_is_due_is_said_before_a_session_ends() -> None:
    def unfinished(talk: Talk, _: str) -> None:
        talk.sock.sendall(b"221-bye\r\n221 in 5 s")
        talk.sock.shutdown(socket.SHUT_RDWR)

    with serving({"QUIT": unfinished}) as (proxy, _), FtpClient(proxy.address).login() as line:
        line.say("QUIT")
        assert line.reply() == "221-bye\n221 in 5 s"
        with pytest.raises(EOFError):
            line.reply()


def test_the_final_reply_is_not_late() -> None:
    """Never more than 50 ms behind the real server's, whatever it is and whatever came before."""
    said: list[float] = []

    def broken(talk: Talk, argument: str) -> None:
        talk.say("150 here")
        data = talk.data()
        data.sendall(b"x" * int(argument))
        said.append(time.monotonic())
        talk.say("451 disk")  # and data stays open
        time.sleep(0.3)
        data.close()

    with serving({"RETR": broken}) as (proxy, _), FtpClient(proxy.address).login() as line:
        for size in (0, 100, 100_000):
            with pasv(line):
                line.say(f"RETR {size}")
                assert [line.reply()[:3], line.reply()[:3]] == ["150", "451"]
                late_s = time.monotonic() - said[-1]
                assert late_s < 0.1, "50 ms, and what a busy machine adds"


def test_a_stranger_on_the_data_port_is_told_of() -> None:
    with serving({}) as (proxy, _), FtpClient(proxy.address).login() as line:
        port = line.passive_port()
        line.say("RETR f")
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.3", 0))
            with contextlib.suppress(ConnectionResetError):
                stranger.connect(("127.0.0.1", port))
                read_all(stranger)
        begun_s = time.monotonic()
        replies = [line.reply()]
        if replies[-1].startswith("150"):
            replies.append(line.reply())
        assert "bad IP connecting, 127.0.0.3 " in replies[-1]
        assert replies[-1].startswith("425")
        assert time.monotonic() - begun_s < 5
        assert line.ask("PWD").startswith("257")


def test_a_refusal_says_why_in_the_log() -> None:
    with serving({}) as (proxy, _), FtpClient(proxy.address).login() as line:
        reply = line.ask("MODE B")
        assert reply.startswith("504 Only stream mode (MODE S) is offered here: ")
        proxy.until(lambda: "command_refused" in proxy.log.events(), "a line in the log")
        [(_, _, values)] = [entry for entry in proxy.log.lines if entry[1] == "command_refused"]
        assert (values["verb"], values["reply"]) == ("MODE", reply)


def test_the_transfer_log_has_whole_paths_and_types() -> None:
    with serving({"CWD": lambda talk, _: talk.say("250 ok")}) as (proxy, _), FtpClient(proxy.address).login() as line:
        line.ask("CWD /some where")
        for of_type in ("I", "A"):
            line.ask(f"TYPE {of_type}")
            with pasv(line) as data:
                line.say("RETR f")
                read_all(data)
                assert [line.reply()[:3], line.reply()[:3]] == ["150", "226"]
        proxy.until(lambda: len(proxy.transfers) == 2, "two transfers")
        assert [(record.path, record.binary) for record in proxy.transfers] == [
            ("/some where/f", True), ("/some where/f", False),
        ]  # fmt: skip
