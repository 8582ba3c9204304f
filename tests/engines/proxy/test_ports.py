"""Data ports on real sockets: who may connect, and which port comes next."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

import pytest

from ftpdirector.engines.proxy.ports import PortPool
from ftpdirector.engines.proxy.readiness import Readiness
from ftpdirector.errors import HostError
from ftpdirector.model import PortRange

HERE = ip_address("127.0.0.1")
SEED = 2


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@asynccontextmanager
async def pool_of(ports: PortRange) -> AsyncIterator[PortPool]:
    bugs: list[Exception] = []
    readiness = Readiness(asyncio.get_running_loop(), lambda _watcher, bug: bugs.append(bug))
    pool = PortPool(readiness, HERE, ports, random.Random(SEED))
    try:
        yield pool
    finally:
        pool.close()
        readiness.close()
    assert not bugs


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """The kernel completes the handshake without the loop, so that blocking is fine."""
    sock = socket.create_connection((str(HERE), port), source_address=(source, 0))
    sock.setblocking(False)
    return sock


async def is_reset(sock: socket.socket) -> bool:
    with sock:
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 1), 5) is None
        except ConnectionResetError:
            return True


def test_client_gets_its_connection_and_foreigners_are_reset(runner: asyncio.Runner) -> None:
    async def conversation() -> None:
        async with pool_of(PortRange(22000, 22031)) as pool:
            taken: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
            lease = pool.lease("127.0.0.1", taken.set_result)
            assert await is_reset(connect(lease.port, source="127.0.0.2"))
            own = connect(lease.port)
            with own, await taken as accepted:
                assert accepted.getpeername() == own.getsockname()
                assert await is_reset(connect(lease.port)), "a lease is for one connection"

    runner.run(conversation())


def test_a_connection_to_a_port_that_nobody_leases_is_reset(runner: asyncio.Runner) -> None:
    async def conversation() -> None:
        async with pool_of(PortRange(22000, 22031)) as pool:
            lease = pool.lease("127.0.0.1", lambda sock: sock.close())
            lease.release()
            assert await is_reset(connect(lease.port))

    runner.run(conversation())


def test_accept_queue_is_emptied_before_a_port_is_announced(runner: asyncio.Runner) -> None:
    """Who connected before the lease is not the one that it is for, even from the right address."""

    async def conversation() -> None:
        async with pool_of(PortRange(22040, 22040)) as pool:
            pool.lease("127.0.0.1", lambda sock: sock.close()).release()
            taken: list[socket.socket] = []
            with socket.create_connection((str(HERE), 22040)) as early:
                lease = pool.lease("127.0.0.1", taken.append)  # the loop had no turn in between
                early.setblocking(False)
                assert await is_reset(early)
            assert not taken
            assert lease.port == 22040

    runner.run(conversation())


def test_a_client_sees_a_port_again_as_late_as_possible(runner: asyncio.Runner) -> None:
    async def conversation() -> None:
        async with pool_of(PortRange(22100, 22119)) as pool:
            ports = []
            for _ in range(40):
                lease = pool.lease("127.0.0.1", lambda sock: sock.close())
                ports.append(lease.port)
                lease.release()
            assert len(set(ports[:20])) == 20
            assert ports[20:] == ports[:20], "the one that it had longest ago comes next"

    runner.run(conversation())


def test_ports_are_not_in_order(runner: asyncio.Runner) -> None:
    async def conversation() -> None:
        async with pool_of(PortRange(22100, 22199)) as pool:
            ports = [pool.lease("127.0.0.1", lambda sock: sock.close()).port for _ in range(60)]
            assert ports != sorted(ports)
            assert len(set(ports)) == 60

    runner.run(conversation())


def test_pool_grows_to_its_range_and_then_says_so(runner: asyncio.Runner) -> None:
    """A port in somebody else's hands is passed over, and found again when it is free."""

    async def conversation() -> None:
        with socket.socket() as other:
            other.bind((str(HERE), 22203))
            other.listen()
            async with pool_of(PortRange(22200, 22219)) as pool:
                leases = [pool.lease(f"127.0.0.{i + 1}", lambda sock: sock.close()) for i in range(19)]
                assert len(pool) == 19
                with pytest.raises(HostError, match="no data port is free"):
                    pool.lease("127.0.0.1", lambda sock: sock.close())
                other.close()
                assert pool.lease("127.0.0.1", lambda sock: sock.close()).port == 22203
                leases[4].release()
                assert pool.lease("127.0.0.1", lambda sock: sock.close()).port == leases[4].port

    runner.run(conversation())
