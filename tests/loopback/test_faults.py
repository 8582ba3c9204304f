"""A file cut short is never passed on as complete, whoever dies, and nothing is left behind."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ftpdirector.model import Endpoint, PortRange, ProxyProtocol, Timeouts
from tests.loopback.dying_server import Death, DyingServer, dying_server
from tests.loopback.running_proxy import (
    IMPATIENT,
    FtpClient,
    RunningProxy,
    director,
    quiet_port,
    read_all,
    real_server,
    reset,
    virtual_server,
    wanted_of,
    with_server,
)

SEED = 20


@pytest.fixture
def server() -> Iterator[DyingServer]:
    with dying_server() as server:
        yield server


@pytest.fixture
def proxy(server: DyingServer) -> Iterator[RunningProxy]:
    with director(virtual_server([("alpha", server.endpoint)], max_sessions_per_client=0)) as proxy:
        yield proxy


@pytest.mark.parametrize("death", [Death.RST, Death.FIN, Death.FIN_DATA_FIRST, Death.REPLY_426])
@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 3_000_000])
def test_download_from_a_dying_server_ends_by_reset(
    proxy: RunningProxy, server: DyingServer, death: Death, size: int
) -> None:
    server.death = death
    server.part = random.Random(SEED).randbytes(size)
    with FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("RETR file.bin")
        if not size and death is Death.REPLY_426:
            assert not read_all(data), "where there was not one byte, the client sees what it would see directly"
        else:
            with pytest.raises(ConnectionResetError):
                read_all(data)
        replies = [line.reply(), line.reply()]
        assert replies[-1][:3] in {"421", "425", "426", "451"}, replies
        assert not [reply for reply in replies if reply.startswith("2")]
    proxy.no_sessions()
    assert [record.outcome for record in proxy.transfers] == ["failed"]


def test_download_dies_at_random_points(proxy: RunningProxy, server: DyingServer) -> None:
    """Fifty deaths, clean and unclean, sizes from nothing to megabytes: not one file is taken for complete."""
    chance = random.Random(SEED)
    for number in range(50):
        server.death = chance.choice([Death.RST, Death.FIN, Death.FIN_DATA_FIRST, Death.REPLY_426])
        server.part = bytes(int(2 ** chance.uniform(0, 22)))
        with FtpClient(proxy.address).login() as line, line.passive() as data:
            line.say("RETR file.bin")
            try:
                read_all(data)
            except ConnectionResetError:
                continue
            pytest.fail(f"death {number}: {server.death} after {len(server.part)} bytes looked complete")


def test_download_without_a_final_reply_is_reset_when_it_should_have_come(server: DyingServer) -> None:
    server.death = Death.SILENT
    server.part = b"x" * 1000
    timeouts = Timeouts(reply_s=0.3)
    front = virtual_server([("alpha", server.endpoint)], idle_timeout_s=0.1, timeouts=timeouts)
    with director(front) as proxy, FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("RETR file.bin")
        with pytest.raises(ConnectionResetError):
            read_all(data)


def test_complete_download_ends_cleanly_and_226_comes(proxy: RunningProxy, server: DyingServer) -> None:
    server.part = random.Random(SEED).randbytes(1_000_000)
    with FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("RETR file.bin")
        assert read_all(data) == server.part
        assert [line.reply()[:3], line.reply()[:3]] == ["150", "226"]
    proxy.no_sessions()
    assert [(record.outcome, record.bytes) for record in proxy.transfers] == [("complete", 1_000_000)]


@pytest.mark.parametrize("sent", [0, 1, 100_000])
@pytest.mark.parametrize("how", ["clean", "reset", "control only"])
def test_upload_from_a_dying_client_resets_the_server(
    proxy: RunningProxy, server: DyingServer, how: str, sent: int
) -> None:
    """Closed by hand, the control connection first; tests/real/test_killed.py has processes that are really killed."""
    line = FtpClient(proxy.address).login()
    data = line.passive()
    line.say("STOR file.bin")
    assert line.reply().startswith("150")
    data.sendall(bytes(sent))
    if how == "reset":
        reset(line.sock)
        reset(data)
    else:
        line.sock.close()
        if how == "clean":
            data.close()
    assert server.stored.acquire(timeout=10)
    assert server.uploads == [None]
    data.close()
    proxy.no_sessions()


def test_upload_dies_at_random_points(proxy: RunningProxy, server: DyingServer) -> None:
    chance = random.Random(SEED)
    for _ in range(50):
        line = FtpClient(proxy.address).login()
        data = line.passive()
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        data.sendall(bytes(int(2 ** chance.uniform(0, 20))))
        line.sock.close()
        data.close()
        assert server.stored.acquire(timeout=10)
        assert server.uploads[-1] is None


def test_complete_upload(proxy: RunningProxy, server: DyingServer) -> None:
    body = random.Random(SEED).randbytes(1_000_000)
    with FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        data.sendall(body)
        data.close()
        assert line.reply().startswith("226")
    assert server.uploads == [body]


@pytest.mark.parametrize("death", [Death.RST, Death.FIN])
def test_upload_to_a_dying_server_is_no_success(proxy: RunningProxy, server: DyingServer, death: Death) -> None:
    server.death = death
    with FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("STOR file.bin")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            data.sendall(bytes(100_000_000))
        replies = [line.reply(), line.reply()]
        assert replies[-1][0] == "4", replies


def test_client_that_closes_data_early_gets_no_226(proxy: RunningProxy, server: DyingServer) -> None:
    server.part = bytes(30_000_000)
    with FtpClient(proxy.address).login() as line:
        data = line.passive()
        line.say("RETR file.bin")
        assert data.recv(1000)
        reset(data)
        assert line.reply().startswith("150")
        assert line.reply()[0] == "4"


def test_abort(tmp_path: Path) -> None:
    with real_server("alpha", tmp_path) as alpha:
        (tmp_path / "big.bin").write_bytes(bytes(200_000_000))
        with director(virtual_server([("alpha", alpha.endpoint)])) as proxy, FtpClient(proxy.address).login() as line:
            data = line.passive()
            line.say("RETR big.bin")
            assert data.recv(1000)
            line.sock.sendall(b"\xff\xf4")
            line.sock.send(b"\xff", socket.MSG_OOB)
            line.sock.sendall(b"\xf2ABOR\r\n")
            with pytest.raises(ConnectionResetError):
                read_all(data)
            codes = [line.reply()[:3] for _ in range(3)]
            assert codes[1] == "426", codes
            assert codes[2] in {"225", "226"}, codes
            data.close()
            assert line.ask("NOOP").startswith("200"), "the session goes on"


def test_data_connection_never_opened(proxy: RunningProxy) -> None:
    with FtpClient(proxy.address).login() as line:
        line.passive_port()
        began = time.monotonic()
        assert line.ask("RETR file.bin").startswith("425")
        assert time.monotonic() - began < IMPATIENT.data_connection_s + 2
        assert line.ask("NOOP").startswith("200")


def test_foreign_peer_is_reset_and_the_client_still_served(proxy: RunningProxy, server: DyingServer) -> None:
    server.part = b"mine"
    with FtpClient(proxy.address).login() as line:
        port = line.passive_port()
        with socket.socket() as foreign:
            foreign.bind(("127.0.0.2", 0))
            with contextlib.suppress(ConnectionResetError):
                foreign.connect(("127.0.0.1", port))
                foreign.sendall(b"a stolen connection would take this")
                assert not read_all(foreign), "never reached: an end without reset"
                pytest.fail("a foreign peer was not reset")
        with socket.create_connection(("127.0.0.1", port), 10) as own:
            line.say("RETR file.bin")
            assert read_all(own) == b"mine"


@pytest.mark.parametrize("command", ["PORT 127,0,0,2,200,1", "EPRT |1|127.0.0.2|51201|", "PORT 127,0,0,1,0,80"])
def test_bounce_is_refused(proxy: RunningProxy, command: str) -> None:
    with FtpClient(proxy.address).login() as line:
        assert line.ask(command)[0] == "5"


def test_next_server_is_tried_before_the_client_sees_anything(server: DyingServer) -> None:
    """One refuses, one greets with 421, one says nothing, one hangs up: the client gets the last one's greeting."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = Endpoint(ip_address("127.0.0.1"), closed.getsockname()[1])
    with dying_server() as full, dying_server() as silent, dying_server() as rude:
        full.greeting = b"421 too many\r\n"
        silent.greeting = None
        rude.greeting = b""
        names = [("closed", nobody), ("full", full.endpoint), ("silent", silent.endpoint), ("rude", rude.endpoint)]
        front = virtual_server([*names, ("alpha", server.endpoint)], timeouts=Timeouts(connect_s=0.3, greeting_s=0.3))
        with director(front) as proxy:
            for _ in range(5):
                with FtpClient(proxy.address) as line:
                    assert line.reply() == "220 mortal ready"
            causes = {(name, cause) for _, name, cause in proxy.failures}
            assert causes == {("closed", "connect"), ("full", "full"), ("silent", "greeting"), ("rude", "closed")}
            proxy.no_sessions()
            counters = proxy.do(proxy.engine.snapshot_counters).virtual_servers["ftp"]
            assert {name: real.sessions for name, real in counters.real_servers.items()} == dict.fromkeys(
                ["closed", "full", "silent", "rude", "alpha"], 0
            )


def test_421_with_a_clear_text_when_no_server_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = Endpoint(ip_address("127.0.0.1"), closed.getsockname()[1])
    with director(virtual_server([("alpha", nobody)])) as proxy, FtpClient(proxy.address) as line:
        assert line.reply() == "421 No server is available for this address now, try again later."
        with pytest.raises(EOFError):
            line.reply()


@pytest.mark.parametrize("limit", ["max_sessions", "max_sessions_per_client"])
def test_limits(server: DyingServer, limit: str) -> None:
    front = virtual_server([("alpha", server.endpoint)], **{limit: 2})
    with director(front) as proxy:
        with FtpClient(proxy.address).login(), FtpClient(proxy.address).login():
            with FtpClient(proxy.address) as third:
                assert third.reply().startswith("421 Too many sessions")
            if limit == "max_sessions_per_client":
                with FtpClient(proxy.address, "127.0.0.2") as other:
                    other.login()
        proxy.no_sessions()
        with FtpClient(proxy.address) as line:
            line.login()


def test_idle_session_gets_421(server: DyingServer) -> None:
    front = virtual_server([("alpha", server.endpoint)], idle_timeout_s=0.2)
    with director(front) as proxy, FtpClient(proxy.address).login() as line:
        assert line.reply().startswith("421")
        proxy.no_sessions()


@pytest.mark.long
def test_slow_transfer_is_not_idle(server: DyingServer) -> None:
    """Idle time is counted without commands and without data."""
    front = virtual_server([("alpha", server.endpoint)], idle_timeout_s=1)
    with director(front) as proxy, FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        for _ in range(20):
            data.sendall(b"x")
            time.sleep(0.1)
        data.close()
        assert line.reply().startswith("226")
    assert server.uploads == [b"x" * 20]


@pytest.mark.parametrize(("version", "begins"), [(ProxyProtocol.V1, b"PROXY TCP4 127.0.0.1 127.0.0.1 ")])
def test_proxy_header_comes_first(server: DyingServer, version: ProxyProtocol, begins: bytes) -> None:
    with director(virtual_server([("alpha", server.endpoint)], proxy_protocol=version)) as proxy:
        with FtpClient(proxy.address) as line:
            assert line.reply() == "220 mortal ready"
        proxy.no_sessions()
    assert server.first_lines.get(timeout=10).startswith(begins)


def test_early_and_endless_talk_is_bounded(proxy: RunningProxy) -> None:
    """A client that floods, or trickles a line that never ends, costs bounded memory and harms nobody."""
    flooding = b"A" * 100_000_000
    with FtpClient(proxy.address) as flood, FtpClient(proxy.address).login() as other:
        flood.reply()
        flood.sock.settimeout(0.5)
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(TimeoutError, ConnectionError):
            flood.sock.sendall(memoryview(flooding))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 20_000, "KiB"
        assert other.ask("NOOP").startswith("200")


def test_reload_keeps_sessions_and_listens_anew(proxy: RunningProxy, server: DyingServer) -> None:
    server.part = b"x" * 100
    first = proxy.cluster.virtual_servers[0]
    with FtpClient(proxy.address).login() as line:
        again = virtual_server([("bravo", server.endpoint)], name="other", port=quiet_port())
        proxy.do(lambda: proxy.engine.apply(wanted_of(first, again)))
        assert len(proxy.engine.addresses) == 2
        with FtpClient((str(again.addresses[0]), again.port)) as second:
            second.login()
        proxy.do(lambda: proxy.engine.apply(wanted_of(with_server(first, name="renamed"))))
        assert len(proxy.engine.addresses) == 1
        with pytest.raises(ConnectionRefusedError):
            FtpClient((str(again.addresses[0]), again.port))
        with line.passive() as data:
            line.say("RETR file.bin")
            assert read_all(data) == server.part


def test_drain_lets_the_transfer_finish_and_ends_the_idle(proxy: RunningProxy, server: DyingServer) -> None:
    address = proxy.address
    with FtpClient(address).login() as idle, FtpClient(address).login() as busy, busy.passive() as data:
        busy.say("STOR file.bin")
        assert busy.reply().startswith("150")
        data.sendall(b"first")
        stopping = threading.Thread(target=lambda: proxy.wait(proxy.engine.drain_and_stop(10)))
        stopping.start()
        assert idle.reply().startswith("421")
        with pytest.raises(ConnectionRefusedError):
            FtpClient(address)
        data.sendall(b" last")
        data.close()
        assert busy.reply().startswith("226")
        assert busy.reply().startswith("421")
        stopping.join(10)
        assert not stopping.is_alive()
    assert server.uploads == [b"first last"]


def test_drain_is_bounded_and_resets_what_is_left(proxy: RunningProxy, server: DyingServer) -> None:
    with FtpClient(proxy.address).login() as line, line.passive() as data:
        line.say("STOR file.bin")
        assert line.reply().startswith("150")
        proxy.wait(proxy.engine.drain_and_stop(0.1))
        assert server.stored.acquire(timeout=10)
        assert server.uploads == [None]
        with pytest.raises(ConnectionResetError):
            read_all(data)


@pytest.mark.long
def test_nothing_is_left_behind(server: DyingServer) -> None:
    """300 sessions one after the other, then 50 at once, with faults among them: as many descriptors as before.

    Not with pyftpdlib: asked directly, without a director, it mixes up descriptors when many clients break off.
    """
    pipes = descriptors()["pipe"]
    server.part = bytes(100_000)
    front = virtual_server(
        [("alpha", server.endpoint)], max_sessions_per_client=0, passive_ports=PortRange(24000, 24007)
    )
    with director(front) as proxy:

        def session(number: int) -> None:
            line = FtpClient(proxy.address).login()
            with line.sock, line.passive() as data:
                line.say("RETR file.bin")
                if number % 5 == 4:
                    return
                assert len(read_all(data)) == 100_000

        def at_once() -> None:
            threads = [threading.Thread(target=_noting(session, number, errors)) for number in range(50)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)

        def settle() -> None:
            proxy.no_sessions()
            proxy.until(lambda: not len(proxy.engine.runtime.closings), "sockets linger")

        errors: list[BaseException] = []
        at_once()  # what is kept for re-use (ports, pipes) is there from now on
        settle()
        time.sleep(0.3)
        before = descriptors()
        for number in range(300):
            session(number)
        at_once()
        settle()
        end = time.monotonic() + 10
        while (descriptors() - before).keys() - {"pipe"} and time.monotonic() < end:
            time.sleep(0.02)  # the real server closes its side in its own time
        more = descriptors() - before
        del more["pipe"]  # how many transfers were spliced at once is chance; what is kept of them is bounded
        assert not more
        assert descriptors()["pipe"] - pipes <= 2 * 16
        assert all("425" in str(error) for error in errors), errors


def descriptors() -> Counter[str]:
    """What this process has open, by kind: `socket`, `pipe`, `anon_inode`, or a path."""
    kinds: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            kinds[str(link.readlink()).partition(":")[0]] += 1
    return kinds


def _noting(session: Callable[[int], None], number: int, errors: list[BaseException]) -> Callable[[], None]:
    def run() -> None:
        try:
            session(number)
        except BaseException as error:
            errors.append(error)

    return run
