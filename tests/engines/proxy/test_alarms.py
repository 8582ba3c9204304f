"""Calls that come due within a millisecond, in order, once, and not at all when they are cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import uvloop

from ftpdirector.engines.proxy.alarms import Alarms
from ftpdirector.engines.proxy.readiness import Readiness

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)


def run(
    new_loop: Callable[[], asyncio.AbstractEventLoop], use: Callable[[Alarms], None], calls: list[str], until: int
) -> None:
    async def work() -> None:
        bugs: list[Exception] = []
        readiness = Readiness(asyncio.get_running_loop(), lambda _watcher, bug: bugs.append(bug))
        alarms = Alarms(readiness, time.monotonic)
        use(alarms)
        async with asyncio.timeout(10):
            while len(calls) < until:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        alarms.close()
        alarms.close()
        readiness.close()
        assert not bugs

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(work())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_in_order_of_their_time_and_once(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    calls: list[str] = []

    def use(alarms: Alarms) -> None:
        alarms.after(0.03, lambda: calls.append("third"))
        alarms.after(0.0005, lambda: calls.append("first"))
        alarms.after(0.01, lambda: calls.append("second"))
        alarms.after(0, lambda: calls.append("at once"))

    run(new_loop, use, calls, 4)
    assert calls == ["at once", "first", "second", "third"]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_cancelled_one_is_not_called(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    calls: list[str] = []

    def use(alarms: Alarms) -> None:
        cancelled = alarms.after(0.001, lambda: calls.append("cancelled"))
        alarms.after(0.002, lambda: calls.append("called"))
        cancelled.cancel()
        cancelled.cancel()

    run(new_loop, use, calls, 1)
    assert calls == ["called"]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_call_may_set_the_next_and_none_comes_early(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    calls: list[str] = []
    took: list[float] = []

    def use(alarms: Alarms) -> None:
        began = time.monotonic()

        def again() -> None:
            nonlocal began
            took.append(time.monotonic() - began)
            calls.append("called")
            began = time.monotonic()
            if len(calls) < 50:
                alarms.after(0.0005, again)

        alarms.after(0.0005, again)

    run(new_loop, use, calls, 50)
    assert min(took) >= 0.0005
    assert min(took) < 0.001, "whole milliseconds"
