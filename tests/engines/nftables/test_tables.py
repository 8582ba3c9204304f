"""Scheduling tables: shares, no bursts, and who moves when a server goes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ftpdirector.engines.nftables.tables import LONGEST_TABLE, MAGLEV_TABLE_SIZE, hashed, interleaved, maglev

WEIGHTS = st.lists(st.integers(0, 20), min_size=1, max_size=8).map(tuple)
NAMES = [f"198.51.100.{number}" for number in range(10, 20)]


@settings(deadline=None)
@given(WEIGHTS)
def test_each_has_its_share_of_the_slots(weights: tuple[int, ...]) -> None:
    slots = interleaved(weights)
    for place, weight in enumerate(weights):
        assert slots.count(place) * sum(weights) == weight * len(slots)


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple))
def test_no_server_has_more_than_its_share_of_any_stretch(weights: tuple[int, ...]) -> None:
    """Also where the table begins anew: in a stretch of n slots a share of n, rounded up, and one for the phase."""
    slots = interleaved(weights)
    for length in range(1, len(slots) + 1):
        for first in range(len(slots)):
            stretch = Counter((slots + slots)[first : first + length])
            for place, count in stretch.items():
                assert count <= -(-weights[place] * length // sum(weights)) + 1


def test_the_heavier_half_never_comes_twice_where_it_need_not() -> None:
    assert interleaved((3, 1, 1)) == (0, 1, 0, 2, 0)


def test_long_weights_are_scaled_and_leave_nobody_out() -> None:
    slots = interleaved((65_535, 30_000, 1))
    assert len(slots) <= LONGEST_TABLE
    assert slots.count(2) == 1
    assert abs(slots.count(0) / slots.count(1) - 65_535 / 30_000) < 0.02


def test_a_maglev_table_is_fair() -> None:
    """Ten equal servers: within 2 % of a tenth each; weights count."""
    table = maglev(NAMES, [1] * 10, [1] * 10)
    assert len(table) == MAGLEV_TABLE_SIZE
    assert all(abs(count / MAGLEV_TABLE_SIZE - 0.1) < 0.002 for count in Counter(table).values())
    counts = Counter(maglev(NAMES[:2], [3, 1], [3, 1]))
    assert abs(counts[0] / MAGLEV_TABLE_SIZE - 0.75) < 0.01


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([hashed, maglev]), st.integers(0, 9), st.lists(st.integers(1, 5), min_size=10, max_size=10))
def test_only_the_slots_of_a_server_that_goes_move(fill: object, gone: int, weights: list[int]) -> None:
    assert callable(fill)
    offers = [0 if place == gone else weight for place, weight in enumerate(weights)]
    before, after = fill(NAMES, weights, weights), fill(NAMES, weights, offers)
    assert gone not in after
    assert all(new == old for old, new in zip(before, after, strict=True) if old != gone)


def test_few_slots_move_when_a_server_is_added() -> None:
    """Of ten servers one is new: a tenth of the slots must move, and little more does."""
    before, after = maglev(NAMES[:9], [1] * 9, [1] * 9), maglev(NAMES, [1] * 10, [1] * 10)
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    assert 0.1 - 0.002 <= moved / MAGLEV_TABLE_SIZE < 0.2


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([hashed, maglev]))
def test_nobody_offered_is_an_empty_table(fill: object) -> None:
    assert callable(fill)
    assert fill(NAMES[:2], [1, 1], [0, 0]) == ()
