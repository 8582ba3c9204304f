"""Any change of any cluster, carried out on the fake: accepted, and left as a boot would have made it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftpdirector.change.setup import TABLE
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.model import Cluster
from ftpdirector.nft.objects import Table
from ftpdirector.nft.transaction import boot_file, transaction
from ftpdirector.state import Override
from ftpdirector.wanted import Wanted, want
from tests.engines.nftables.clusters import wanteds
from tests.nft.fake import Element, Fake, RefusedError, boot
from tests.nft.language import UnknownError


@st.composite
def histories(draw: st.DrawFn) -> tuple[Wanted, ...]:
    """Drains and returns of one cluster, with another cluster between them now and then."""
    first = draw(wanteds())
    keys = list(first.offers)
    steps: list[Wanted] = [first]
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.integers(0, 2)):
            drained = draw(st.sets(st.sampled_from(keys)))
            steps.append(want(first.cluster, {}, dict.fromkeys(drained, Override.DRAIN)))
        else:
            steps.append(draw(wanteds()))
    return tuple(steps)


def state_of(fake: Fake) -> object:
    return fake.tables[TABLE].state()


@settings(deadline=None, max_examples=25)
@given(histories())
def test_any_history_leaves_what_was_wanted_last(history: Sequence[Wanted]) -> None:
    tables = [compile_table(one) for one in history]
    fake = boot(boot_file(tables[0]))
    fake.tables[TABLE].sets["admitted_v4"].elements[(1, 1), (2, 2)] = Element()
    for before, after in itertools.pairwise(tables):
        fake.load(transaction(before, after))
        assert state_of(fake) == state_of(boot(boot_file(after)))
    assert list(fake.tables[TABLE].sets["admitted_v4"].elements) == [((1, 1), (2, 2))]  # what packets fill stays


@settings(deadline=None, max_examples=15)
@given(wanteds(), wanteds())
def test_two_who_change_one_state_cannot_both_succeed(one: Wanted, other: Wanted) -> None:
    before, first = compile_table(one), compile_table(other)
    second: Table = compile_table(want(one.cluster, {}, dict.fromkeys(one.offers, Override.DRAIN)))
    change, late = transaction(before, first), transaction(before, second)
    if not change or not late:
        return
    fake = boot(boot_file(before))
    fake.load(change)
    stands = state_of(fake)
    with pytest.raises(RefusedError):
        fake.load(late)
    assert state_of(fake) == stands


@pytest.mark.parametrize(
    "command",
    [
        "insert rule inet ftpdirector gate drop",
        "create chain inet ftpdirector new",
        "add rule inet ftpdirector gate limit rate 5/second drop",
        "add rule inet ftpdirector gate ip saddr & 255.0.0.0 map @active_v4 drop",
        "add rule inet ftpdirector gate meta mark set 0x1",
        "add rule inet ftpdirector gate dnat to 192.0.2.1",
        "add chain inet ftpdirector new { type route hook output priority filter; policy accept; }",
        "add chain inet ftpdirector new { type filter hook input priority filter; policy drop; }",
    ],
)
def test_what_it_does_not_know_it_does_not_judge(command: str) -> None:
    fake = boot(boot_file(compile_table(Wanted(Cluster(), {}))))
    stands = state_of(fake)
    with pytest.raises(UnknownError):
        fake.load(f"delete chain inet ftpdirector peers_of_nobody\n{command}\n".partition("\n")[2])
    assert state_of(fake) == stands
