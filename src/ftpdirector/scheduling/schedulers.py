"""The schedulers: candidates and a client in, the name of a real server out. Names as in ipvsadm(8).

    rr    each in turn
    wrr   each in turn, by weight, interleaved
    lc    the fewest sessions
    wlc   the fewest sessions for its weight
    sh    by the client's network: a line as long as the weights
    mh    by the client's network: Maglev's table, so that few clients move when the file gains or loses a server

This module knows no limit and no health: who must not be chosen is marked so by the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from math import gcd
from typing import Final, Protocol

MAGLEV_TABLE_SIZE: Final = 4093
"""Slots of Maglev's table: a prime (Eisenbud et al., NSDI 2016, section 3.4), far above the servers one expects."""
_HASH_BYTES: Final = 8
_HASHED_AT_MOST: Final = 64
"""With half of the weight not open, one client in 2^64 comes to the end of it."""


Network = tuple[int, int]
"""IP version, and the address without the bits that persistence_granularity leaves out."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A real server of the file: its weight there, its sessions now, and whether it may be chosen now."""

    name: str
    weight: int
    sessions: int
    open: bool = True


class Scheduler(Protocol):
    """Chooses one of the candidates, or None when none is open."""

    def choose(self, candidates: Sequence[Candidate], client: Network) -> str | None:
        """The name of the real server that this client gets; never one of weight 0."""
        ...


class RoundRobin:
    """`rr`: each in turn."""

    def __init__(self) -> None:
        """The first one first."""
        self._last = ""

    def choose(self, candidates: Sequence[Candidate], client: Network) -> str | None:
        """The one behind the one that was chosen last, in the order of the file."""
        del client
        offered = [candidate.name for candidate in candidates if candidate.open and candidate.weight]
        if not offered:
            return None
        place = offered.index(self._last) + 1 if self._last in offered else 0
        self._last = offered[place % len(offered)]
        return self._last


class WeightedRoundRobin:
    """`wrr`: by weight and interleaved: weights 3 and 1 give a a b a, never one server for as long as its weight."""

    def __init__(self) -> None:
        """Nobody is owed anything."""
        self._credit: dict[str, int] = {}

    def choose(self, candidates: Sequence[Candidate], client: Network) -> str | None:
        """Everybody earns its weight; the richest is chosen and pays the sum of the weights."""
        del client
        total = sum(candidate.weight for candidate in candidates if candidate.open)
        if not total:
            return None
        # Who is not open earns nothing meanwhile, and returns without a hoard.
        credit = {
            candidate.name: self._credit.get(candidate.name, 0) + candidate.weight
            for candidate in candidates
            if candidate.open and candidate.weight
        }
        chosen = max(credit, key=credit.__getitem__)
        credit[chosen] -= total
        self._credit = credit
        return chosen


class LeastConnections:
    """`lc`: the fewest sessions; the first of the file among equals."""

    def choose(self, candidates: Sequence[Candidate], client: Network) -> str | None:
        """Weights do not count, but for 0."""
        del client
        best = min(
            (candidate for candidate in candidates if candidate.open and candidate.weight),
            key=lambda one: one.sessions,
            default=None,
        )
        return best.name if best else None


class WeightedLeastConnections:
    """`wlc`: the fewest sessions for its weight."""

    def choose(self, candidates: Sequence[Candidate], client: Network) -> str | None:
        """The one that would be least loaded *with* this client; compared without division."""
        del client
        best: Candidate | None = None
        for candidate in candidates:
            if (candidate.open and candidate.weight) and (
                best is None or (candidate.sessions + 1) * best.weight < (best.sessions + 1) * candidate.weight
            ):
                best = candidate
        return best.name if best else None


class SourceHash:
    """`sh`: the client's network picks a place on a line as long as the sum of the weights."""

    def choose(self, candidates: Sequence[Candidate], client: Network) -> str | None:
        """Its server; while that one is not open only its own clients go elsewhere."""
        common = reduce(gcd, (one.weight for one in candidates), 0)
        return _by_hash(candidates, client, lambda number: _on_the_line(candidates, common, number)) if common else None


def _on_the_line(candidates: Sequence[Candidate], common: int, number: int) -> str:
    place = number % sum(candidate.weight // common for candidate in candidates)
    for candidate in candidates:
        place -= candidate.weight // common
        if place < 0:
            return candidate.name
    raise AssertionError("a place beyond the sum of the weights")


class Maglev:
    """`mh`: Maglev hashing with `MAGLEV_TABLE_SIZE` slots, built anew only when the file's servers change."""

    def __init__(self) -> None:
        """No table yet."""
        self._members: tuple[tuple[str, int], ...] = ()
        self._table: list[str] = []

    def choose(self, candidates: Sequence[Candidate], client: Network) -> str | None:
        """What stands in the slot of the client's network; while that one is not open only its clients go elsewhere."""
        members = tuple((candidate.name, candidate.weight) for candidate in candidates if candidate.weight)
        if not members:
            return None
        if members != self._members:
            self._members, self._table = members, maglev_table(members)
        return _by_hash(candidates, client, lambda number: self._table[number % MAGLEV_TABLE_SIZE])


def _by_hash(candidates: Sequence[Candidate], client: Network, at: Callable[[int], str]) -> str | None:
    """What the client's hash points at; hashed once more, so that the rest is shared, where that is not open."""
    offered = {candidate.name for candidate in candidates if candidate.open and candidate.weight}
    if not offered:
        return None
    for attempt in range(_HASHED_AT_MOST):
        name = at(_hash(b"%d %d %d" % (*client, attempt)))
        if name in offered:
            return name
    return min(offered)


def maglev_table(members: Sequence[tuple[str, int]]) -> list[str]:
    """The table for names and weights: servers take slots in turn, each along a permutation of its own.

    A server takes as many turns a round as its weight allows (weights are reduced by their greatest common divisor, and
    by the greatest weight where that exceeds 1: one slot of credit a round at most).
    """
    size = MAGLEV_TABLE_SIZE
    heaviest = max(weight for _, weight in members)
    order = sorted(members)
    starts = [_hash(b"offset" + name.encode()) % size for name, _ in order]
    steps = [_hash(b"skip" + name.encode()) % (size - 1) + 1 for name, _ in order]
    credit = [0] * len(order)
    table = [""] * size
    free = size
    while True:
        for place, (name, weight) in enumerate(order):
            credit[place] += weight
            if credit[place] < heaviest:
                continue
            credit[place] -= heaviest
            slot = starts[place]
            while table[slot]:
                slot = (slot + steps[place]) % size
            table[slot] = name
            starts[place] = (slot + steps[place]) % size
            free -= 1
            if not free:
                return table


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=_HASH_BYTES).digest(), "big")


_MAKERS: Final[dict[str, Callable[[], Scheduler]]] = {
    "rr": RoundRobin,
    "wrr": WeightedRoundRobin,
    "lc": LeastConnections,
    "wlc": WeightedLeastConnections,
    "sh": SourceHash,
    "mh": Maglev,
}


def make_scheduler(kind: str) -> Scheduler:
    """A scheduler by its name in the cluster file, which `config` has checked (`model.PROXY_SCHEDULERS`)."""
    return _MAKERS[kind]()
