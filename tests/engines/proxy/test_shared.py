"""Counts hold across workers, exactly, whatever order they are written in."""

import os
import random

from ftpdirector.engines.proxy.shared import SharedCounts


def test_every_worker_sees_the_sum() -> None:
    shared = SharedCounts(3)
    first, second, third = (shared.worker(index) for index in range(3))
    assert first.add("client", 1) == 1
    assert second.add("client", 1) == 2
    assert second.add("client", 1) == 3
    assert third.total("client") == 3
    assert second.add("client", -2) == 1
    assert third.total("client") == 1
    assert third.own("client") == 0


def test_one_worker_needs_no_shared_memory() -> None:
    counts = SharedCounts(1).worker(0)
    assert counts.add("a", 2) == 2
    assert counts.add("a", -2) == 0
    assert counts.total("a") == 0


def test_a_worker_that_died_leaves_nothing_behind() -> None:
    shared = SharedCounts(2)
    survivor, lost = shared.worker(0), shared.worker(1)
    lost.add("client", 5)
    assert survivor.total("client") == 5
    shared.worker(1)
    assert survivor.total("client") == 0


def test_sums_are_those_of_a_plain_dictionary_also_in_a_crowded_table() -> None:
    """Keys come and go; entries of keys that fell to zero are used again."""
    shared = SharedCounts(2, entries=256)
    workers = [shared.worker(0), shared.worker(1)]
    chance = random.Random(2)
    truth: dict[str, list[int]] = {}
    for step in range(5_000):
        live = [name for name, counts in truth.items() if any(counts)]
        name = f"client {chance.randrange(10_000)}" if len(live) < 100 else chance.choice(live)
        counts = truth.setdefault(name, [0, 0])
        which = chance.randrange(2)
        change = 1 if len(live) < 100 else -counts[which]
        counts[which] += change
        assert workers[which].add(name, change) == sum(counts), step
    assert all(workers[0].total(name) == sum(counts) for name, counts in truth.items())


def test_counts_cross_a_fork() -> None:
    shared = SharedCounts(2)
    own = shared.worker(0)
    child = os.fork()
    if not child:
        shared.worker(1).add("client", 7)
        os._exit(0)
    os.waitpid(child, 0)
    assert own.total("client") == 7
