"""Weights -> the table that the kernel looks a new client up in: a slot holds the place of a real server in the file.

`numgen inc` walks a table slot by slot, so that a server's slots must lie apart; `jhash` falls on any of them. This
module knows no address and no nft.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from hashlib import blake2b
from math import gcd
from typing import Final

MAGLEV_TABLE_SIZE: Final = 1021
"""A prime. With 10 equal real servers shares differ by less than a hundredth; a slot costs some 100 bytes of kernel."""
LONGEST_TABLE: Final = 1024
"""Weights whose sum is longer (after division by what they have in common) are scaled down to it."""


@lru_cache(maxsize=1024)
def interleaved(weights: tuple[int, ...]) -> tuple[int, ...]:
    """As many slots for each as its weight, each as far from its next as can be; empty when all weights are 0.

    A server is never followed by itself more often than its share demands: the smooth weighted round robin.
    """
    shares = _shares(weights)
    total = sum(shares)
    credit = [0] * len(shares)
    slots: list[int] = []
    for _ in range(total):
        for place, share in enumerate(shares):
            credit[place] += share
        best = max(range(len(shares)), key=credit.__getitem__)
        credit[best] -= total
        slots.append(best)
    return tuple(slots)


def hashed(names: Sequence[str], weights: Sequence[int], offered: Sequence[int]) -> tuple[int, ...]:
    """`sh`: slots by the weights of the file; those of a server that is not offered are shared by the others."""
    del names
    return _filled(interleaved(tuple(weights)), interleaved(_where(weights, offered)))


def maglev(names: Sequence[str], weights: Sequence[int], offered: Sequence[int]) -> tuple[int, ...]:
    """`mh`: a Maglev table by the weights of the file; those slots alone move whose server is not offered."""
    return _filled(
        _maglev(tuple(names), tuple(weights)),
        _maglev(tuple(names), _where(weights, offered)),
    )


def _where(weights: Sequence[int], offered: Sequence[int]) -> tuple[int, ...]:
    # A weight of the file that is 0 and an offer that is not: someone raised it, and it counts.
    return tuple((weight or offer) if offer else 0 for weight, offer in zip(weights, offered, strict=True))


def _filled(table: Sequence[int], others: Sequence[int]) -> tuple[int, ...]:
    if not others:
        return ()
    offered = set(others)
    if not table:
        return tuple(others)
    return tuple(place if place in offered else others[slot % len(others)] for slot, place in enumerate(table))


def _shares(weights: Sequence[int]) -> list[int]:
    """As many slots for each: those of a table that was made of weights are its shares once more."""
    shares = _in_lowest_terms(weights)
    total = sum(shares)
    if total <= LONGEST_TABLE:
        return shares
    most = LONGEST_TABLE - len(shares)  # each that has a weight gets one slot at least
    return _in_lowest_terms([max(1, share * most // total) if share else 0 for share in shares])


def _in_lowest_terms(numbers: Sequence[int]) -> list[int]:
    common = reduce(gcd, numbers, 0)
    return [number // common for number in numbers] if common else []


@lru_cache(maxsize=256)
def _maglev(names: tuple[str, ...], weights: tuple[int, ...]) -> tuple[int, ...]:
    """Servers take slots in turn, each along a permutation of its own, as often as its weight allows.

    Eisenbud et al., Maglev (NSDI 2016), section 3.4; weights as credit: one slot a round at most.
    """
    size = MAGLEV_TABLE_SIZE
    heaviest = max(weights, default=0)
    if not heaviest:
        return ()
    order = sorted((name, place) for place, name in enumerate(names) if weights[place])
    at = [_hash(f"offset {name}") % size for name, _ in order]
    steps = [_hash(f"skip {name}") % (size - 1) + 1 for name, _ in order]
    credit = [0] * len(order)
    table = [-1] * size
    free = size
    while True:
        for turn, (_, place) in enumerate(order):
            credit[turn] += weights[place]
            if credit[turn] < heaviest:
                continue
            credit[turn] -= heaviest
            while table[at[turn]] >= 0:
                at[turn] = (at[turn] + steps[turn]) % size
            table[at[turn]] = place
            free -= 1
            if not free:
                return tuple(table)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
