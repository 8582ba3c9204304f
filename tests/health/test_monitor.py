"""Probes on time: one at a time, a shared one for a server behind two addresses, sooner when sessions fail."""

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
        if self.greeting:
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


def monitor(told: list[tuple[Key, Health, str]], sessions: int = 0, verdicts: list[Verdict] | None = None) -> Monitor:
    def on_verdict(key: Key, before: Verdict, now: Verdict) -> None:
        if verdicts is not None:
            verdicts.append(now)
        if before.health is not now.health:
            told.append((key, now.health, now.reason))

    def read_password(path: str) -> Secret:
        raise FileNotFoundError(2, "No such file or directory", path)

    return Monitor(
        clock=Clock(),
        chance=random.Random(1),
        read_password=read_password,
        on_verdict=on_verdict,
        sessions=lambda _: sessions,
    )


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


def test_a_password_file_that_cannot_be_read_decides_nothing() -> None:
    told: list[tuple[Key, Health, str]] = []
    verdicts: list[Verdict] = []

    async def play() -> None:
        async with counted() as server:
            what = cluster(server.port, probe=ProbeKind.LOGIN, password_file="/none", fall=1)
            await watched(monitor(told, verdicts=verdicts), what, lambda: until(lambda: len(verdicts) == 2))
            assert server.times == []

    asyncio.run(play())
    assert told == []
    assert verdicts[-1] == Verdict(
        undecided="password_file /none cannot be read: No such file or directory", undecided_total={"password_file": 2}
    )


@pytest.mark.parametrize(
    ("cause", "sessions", "health"),
    [
        ("connect", 7, Health.DOWN),
        ("greeting", 7, Health.DOWN),
        ("closed", 7, Health.FULL),
        ("full", 0, Health.FULL),
        ("shortage", 0, Health.UP),
        ("shortage", 7, Health.UP),
    ],
)
def test_what_a_session_met_is_judged_beside_the_sessions_that_live_there(
    cause: str, sessions: int, health: Health
) -> None:
    verdicts: list[Verdict] = []

    async def play() -> None:
        async with counted() as server:
            it = monitor([], sessions, verdicts)

            async def fail() -> None:
                await until(lambda: len(verdicts) == 1)
                it.session_failed(("ftp", "alpha"), cause)

            await watched(it, cluster(server.port, fall=1, interval_s=60.0), fail)

    asyncio.run(play())
    assert [one.health for one in verdicts] == [Health.UP, health]
    assert (verdicts[-1].undecided != "", verdicts[-1].undecided_total) == (
        (True, {"shortage": 1}) if cause == "shortage" else (False, {})
    )


@pytest.mark.long
def test_a_session_that_is_hung_up_on_where_none_is_counted_lets_a_probe_decide() -> None:
    told: list[tuple[Key, Health, str]] = []
    counted_there = [0]

    async def play() -> None:
        async with counted() as server:
            it = Monitor(
                clock=Clock(),
                chance=random.Random(1),
                read_password=Secret,
                on_verdict=lambda key, _, now: told.append((key, now.health, now.reason)),
                sessions=lambda _: counted_there[0],
            )

            async def close() -> None:
                await until(lambda: len(told) == 1)
                server.greeting = b""
                it.session_failed(("ftp", "alpha"), "closed")
                assert len(told) == 1
                await until(lambda: len(server.times) == 2)
                counted_there[0] = 30  # the workers' report comes behind the probe
                await until(lambda: len(told) == 2)

            await watched(it, cluster(server.port, fall=1, interval_s=60.0), close)

    asyncio.run(play())
    assert [health for _, health, _ in told] == [Health.UP, Health.FULL]


@pytest.mark.long
def test_a_full_server_is_left_alone_for_an_interval_and_then_tried() -> None:
    told: list[tuple[Key, Health, str]] = []
    spent: list[float] = []

    async def play() -> None:
        async with counted() as server:
            it = monitor(told)
            clock = asyncio.get_running_loop().time

            async def fill() -> None:
                await until(lambda: len(told) == 1)
                await asyncio.sleep(1.2)  # most of the interval is over: the next probe would be due
                full_s = clock()
                for _ in range(3):
                    it.session_failed(("ftp", "alpha"), "full")  # of sessions that were on their way
                    await asyncio.sleep(0.2)
                await until(lambda: len(told) == 3)
                spent.append(clock() - full_s)

            await watched(it, cluster(server.port, interval_s=2.0), fill)

    asyncio.run(play())
    assert [health for _, health, _ in told] == [Health.UP, Health.FULL, Health.UP]
    assert 1.7 < spent[0] < 2.7


@pytest.mark.long
@pytest.mark.parametrize(("sessions", "health"), [(0, Health.DOWN), (1, Health.FULL)])
def test_a_probe_that_is_hung_up_on_is_full_where_sessions_live(sessions: int, health: Health) -> None:
    told: list[tuple[Key, Health, str]] = []

    async def play() -> None:
        async with counted() as server:
            it = monitor(told, sessions)

            async def close() -> None:
                await until(lambda: len(told) == 1)
                server.greeting = b""
                await until(lambda: len(told) == 2)

            await watched(it, cluster(server.port, fall=1, interval_s=1.0), close)

    asyncio.run(play())
    assert told[1][1] is health
    assert told[1][2].startswith("closed the connection before the greeting")
