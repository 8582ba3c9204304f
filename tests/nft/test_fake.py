"""What the fake does not know it does not judge; and changes to try on it and on the kernel (tests/netns/test_fake.py).

That any change is accepted, and leaves what a boot makes, is shown on the kernel alone (tests/netns/test_accepted.py).
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from ftpdirector.change.setup import TABLE
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.model import Cluster
from ftpdirector.nft.transaction import boot_file
from ftpdirector.state import Override
from ftpdirector.wanted import Wanted, want
from tests.engines.nftables.clusters import wanteds
from tests.nft.fake import Fake, boot
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
