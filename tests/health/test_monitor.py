"""Looks on time: one at a time, a shared one for a server behind two addresses, sooner when sessions fail."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import pytest

from ftpdirector.health.monitor import Monitor
from ftpdirector.health.probe import Secret
from ftpdirector.model import Cluster, HealthCheck, ProbeKind, RealServer, VirtualServer
from ftpdirector.state import Health, Verdict
from ftpdirector.wanted import Key


class Clock:
    def now_s(self) -> float:
        return time.time()


class Counted:
    """A server that greets, and remembers when it was looked at."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.greeting = b"220 hi\r\n"
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.times.append(asyncio.get_running_loop().time())
        writer.write(self.greeting)
        await reader.read(100)
        writer.close()


@contextlib.asynccontextmanager
async def counted() -> AsyncIterator[Counted]:
    it = Counted()
    async with await asyncio.start_server(it.serve, "127.0.0.1", 0) as server:
        it.port = server.sockets[0].getsockname()[1]
        yield it


def cluster(port: int, names: tuple[str, ...] = ("ftp",), **check: Any) -> Cluster:
    made: dict[str, Any] = {"probe": ProbeKind.BANNER, "interval_s": 1.0, "timeout_s": 1.0, "fall": 2}
    return Cluster(
        virtual_servers=tuple(
            VirtualServer(
                name=name,
                addresses=(ip_address(f"192.0.2.{place}"),),
                health_check=HealthCheck(**(made | check)),
                real_servers=(RealServer(name="alpha", address=ip_address("127.0.0.1"), port=port),),
            )
            for place, name in enumerate(names, 10)
        )
    )


def monitor(told: list[tuple[Key, Health, str]]) -> Monitor:
    def on_verdict(key: Key, before: Verdict, now: Verdict) -> None:
        if before.health is not now.health:
            told.append((key, now.health, now.reason))

    def read_password(path: str) -> Secret:
        raise FileNotFoundError(2, "No such file or directory", path)

    return Monitor(clock=Clock(), chance=random.Random(1), read_password=read_password, on_verdict=on_verdict)


async def until(holds: Any, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


async def watched(it: Monitor, what: Cluster, during: Any) -> None:
    it.watch(what)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(it.run())
        await during()
        running.cancel()


def test_a_server_behind_two_addresses_is_looked_at_once_and_judged_for_both() -> None:
    told: list[tuple[Key, Health, str]] = []

    async def play() -> None:
        async with counted() as server:
            await watched(monitor(told), cluster(server.port, ("ftp", "two")), lambda: until(lambda: len(told) == 2))
            assert len(server.times) == 1

    asyncio.run(play())
    assert {(key, health) for key, health, _ in told} == {
        (("ftp", "alpha"), Health.UP),
        (("two", "alpha"), Health.UP),
    }


@pytest.mark.long
def test_failing_sessions_bring_the_next_look_forward_but_not_more_than_one_a_second() -> None:
    async def play() -> None:
        async with counted() as server:
            it = monitor([])

            async def fail() -> None:
                await until(lambda: len(server.times) == 1)
                end = asyncio.get_running_loop().time() + 2.5
                while asyncio.get_running_loop().time() < end:
                    it.session_failed(("ftp", "alpha"), "connect")
                    await asyncio.sleep(0.01)

            await watched(it, cluster(server.port, interval_s=60.0), fail)
            gaps = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
            assert len(gaps) == 2
            assert min(gaps) > 0.9

    asyncio.run(play())


def test_a_session_that_meets_421_makes_it_full_and_a_good_look_ends_that() -> None:
    told: list[tuple[Key, Health, str]] = []

    async def play() -> None:
        async with counted() as server:
            it = monitor(told)

            async def fill() -> None:
                await until(lambda: len(told) == 1)
                it.session_failed(("ftp", "alpha"), "full")
                await until(lambda: len(told) == 3)

            await watched(it, cluster(server.port), fill)

    asyncio.run(play())
    assert [health for _, health, _ in told] == [Health.UP, Health.FULL, Health.UP]
    assert told[1][2] == "a client's session was told 421"


def test_a_changed_file_keeps_verdicts_and_forgets_who_is_gone() -> None:
    async def play() -> None:
        async with counted() as server:
            it = monitor([])

            async def change() -> None:
                await until(lambda: it.verdicts[("ftp", "alpha")].health is Health.UP)
                it.watch(cluster(server.port, interval_s=30.0))
                assert it.verdicts[("ftp", "alpha")].health is Health.UP
                it.watch(cluster(server.port, ("other",)))
                assert set(it.verdicts) == {("other", "alpha")}

            await watched(it, cluster(server.port), change)

    asyncio.run(play())


def test_a_password_file_that_cannot_be_read_is_a_reason() -> None:
    told: list[tuple[Key, Health, str]] = []

    async def play() -> None:
        async with counted() as server:
            what = cluster(server.port, probe=ProbeKind.LOGIN, password_file="/none")
            await watched(monitor(told), what, lambda: until(lambda: bool(told)))

    asyncio.run(play())
    assert told[0][1:] == (Health.DOWN, "password_file /none cannot be read: No such file or directory")
