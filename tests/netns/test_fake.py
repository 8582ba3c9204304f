"""The fake and the kernel say yes to the same transactions and no to the same, of those that are wrong in one place.

The fake is frozen, so that only another kernel can make a difference: for `make test-all`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from lab.netns.hosts import Host, missing

from ftpdirector.change.setup import TABLE
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.nft.listing import parse_table
from ftpdirector.nft.transaction import boot_file, transaction
from tests.nft.fake import Fake, RefusedError, boot
from tests.nft.language import UnknownError
from tests.nft.test_fake import histories

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

BASE = """\
add table inet t
delete table inet t
table inet t {
	counter seen {
	}
	counter spare {
	}
	ct helper reader {
		type "ftp" protocol tcp
	}
	map go {
		type ipv4_addr . inet_service : verdict
		elements = {
			192.0.2.1 . 21 : goto first,
		}
	}
	map slices {
		type ipv4_addr . inet_service : mark
		flags interval
		elements = {
			192.0.2.1 . 10-20 : 0x1,
		}
	}
	set ports {
		type inet_service
		flags interval
		elements = {
			10-20,
		}
	}
	map to {
		type mark : ipv4_addr . inet_service
		elements = {
			0x1 : 198.51.100.1 . 21,
		}
	}
	map active {
		type ipv4_addr : ipv4_addr
		elements = {
			198.51.100.1 : 192.0.2.1,
		}
	}
	set marks {
		type mark
	}
	set two {
		type mark
		size 2
	}
	map turns {
		typeof numgen inc mod 1024 : ct mark
		elements = {
			0 : 0x1,
		}
	}
	set known {
		type ipv4_addr
		size 10
		flags dynamic,timeout
	}
	chain first {
		ct mark set numgen inc mod 2 map @turns meta l4proto tcp dnat ip to ct mark map @to
	}
	chain second {
		counter name "seen" reject with tcp reset
	}
	chain spare {
	}
	chain choose {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr . tcp dport vmap @go
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		tcp dport @ports goto second
	}
}
"""

TRANSACTIONS = (
    # Elements.
    "add element inet t go { 192.0.2.1 . 21 : goto first }",
    "add element inet t go { 192.0.2.1 . 21 : goto spare }",
    "add element inet t go { 192.0.2.1 . 22 : goto spare }",
    "add element inet t go { 192.0.2.1 . 22 : goto nowhere }",
    "add element inet t go { 192.0.2.1 . 22 : goto forward }",
    "add element inet t go { 192.0.2.1 . 22 : goto second }",
    "add element inet t go { 2001:db8::1 . 22 : goto first }",
    "add element inet t go { 192.0.2.1 : goto first }",
    "add element inet t go { 192.0.2.1 . 22 }",
    "add element inet t go { 192.0.2.1 . 65536 : goto first }",
    "add element inet t marks { 0x1 }\nadd element inet t marks { 0x1 }",
    "add element inet t marks { 0x1 : 0x2 }",
    "add element inet t marks { 192.0.2.1 }",
    "add element inet t marks { 0x100000000 }",
    "add element inet t marks { 1-3 }",
    "add element inet t two { 0x1, 0x2 }",
    "add element inet t two { 0x1, 0x2, 0x3 }",
    "add element inet t turns { 1 : 0x7, 2 : 0x8 }",
    "add element inet t turns { 1 : 0x7, 1 : 0x8 }",
    "add element inet t known { 192.0.2.1 }",
    "add element inet t nowhere { 0x1 }",
    "delete element inet t go { 192.0.2.1 . 21 : goto first }",
    "delete element inet t go { 192.0.2.1 . 21 : goto spare }",
    "delete element inet t go { 192.0.2.1 . 22 : goto first }",
    "delete element inet t to { 0x2 : 198.51.100.1 . 21 }",
    "delete element inet t to { 0x1 : 198.51.100.1 . 21 }\nadd element inet t to { 0x1 : 198.51.100.2 . 21 }",
    "add element inet t to { 0x1 : 198.51.100.2 . 21 }\ndelete element inet t to { 0x1 : 198.51.100.1 . 21 }",
    "add element inet t to { 0x2 : 198.51.100.2 . 21 }\ndelete element inet t to { 0x2 : 198.51.100.2 . 21 }",
    "delete element inet t marks { 0x1 }",
    # Ranges.
    "add element inet t slices { 192.0.2.1 . 10-20 : 0x1 }",
    "add element inet t slices { 192.0.2.1 . 10-20 : 0x2 }",
    "add element inet t slices { 192.0.2.1 . 15-25 : 0x2 }",
    "add element inet t slices { 192.0.2.1 . 5-12 : 0x2 }",
    "add element inet t slices { 192.0.2.1 . 12-14 : 0x2 }",
    "add element inet t slices { 192.0.2.1 . 5-30 : 0x2 }",
    "add element inet t slices { 192.0.2.1 . 21-30 : 0x2 }",
    "add element inet t slices { 192.0.2.2 . 10-20 : 0x2 }",
    "add element inet t slices { 192.0.2.1 . 40-30 : 0x2 }",
    "add element inet t ports { 10-20 }",
    "add element inet t ports { 21-30 }",
    "add element inet t ports { 15-25 }",
    "add element inet t ports { 5-30 }",
    "add element inet t ports { 15 }",
    "add element inet t ports { 70000 }",
    "add element inet t ports { 40, 40 }",
    "add element inet t ports { 40-45, 42-43 }",
    "delete element inet t ports { 10-15 }",
    "delete element inet t ports { 10-20 }\nadd element inet t ports { 10-25 }",
    "delete element inet t slices { 192.0.2.1 . 10-20 : 0x1 }\nadd element inet t slices { 192.0.2.1 . 10-25 : 0x1 }",
    # What is still named.
    "delete chain inet t first",
    "delete chain inet t second",
    "delete chain inet t spare",
    "delete chain inet t forward",
    "delete chain inet t forward\ndelete chain inet t second",
    "delete chain inet t spare\ndelete chain inet t spare",
    "delete chain inet t nowhere",
    "flush chain inet t choose\ndelete map inet t go\ndelete chain inet t first",
    "flush chain inet t choose\ndelete chain inet t first\ndelete map inet t go",
    "delete element inet t go { 192.0.2.1 . 21 : goto first }\ndelete chain inet t first",
    "delete map inet t go",
    "delete map inet t slices",
    "delete map inet t turns",
    "delete map inet t to",
    "delete set inet t ports",
    "delete set inet t nowhere",
    "flush chain inet t forward\ndelete set inet t ports",
    "delete counter inet t seen",
    "delete counter inet t spare",
    "delete counter inet t nowhere",
    "flush chain inet t second\ndelete counter inet t seen",
    "delete ct helper inet t reader",
    'add rule inet t spare ct helper set "reader"\ndelete ct helper inet t reader',
    "delete ct helper inet t nowhere",
    "delete table inet nowhere",
    "flush chain inet t nowhere",
    "flush chain inet t spare\nflush chain inet t spare",
    "delete table inet t",
    "delete table inet t\nflush chain inet t spare",
    # Rules.
    "add rule inet t nowhere drop",
    "add rule inet t spare drop",
    "add rule inet t spare drop accept",
    "add rule inet t spare goto nowhere",
    "add rule inet t spare goto forward",
    "add rule inet t spare goto second",
    "add rule inet t spare goto spare",
    "add rule inet t second goto spare\nadd rule inet t spare goto second",
    "add rule inet t spare goto first\nadd element inet t go { 192.0.2.1 . 30 : goto spare }",
    "add rule inet t first ip daddr . tcp dport vmap @go",
    'add rule inet t spare counter name "nowhere"',
    'add rule inet t spare ct helper set "nowhere"',
    "add rule inet t spare ip saddr @nowhere drop",
    "add rule inet t spare ip saddr @active drop",
    "add rule inet t spare ip saddr @marks drop",
    "add rule inet t spare ip6 saddr @known drop",
    "add rule inet t spare ip saddr . tcp dport @ports drop",
    "add rule inet t spare ip saddr vmap @go",
    "add rule inet t spare ip saddr vmap @active",
    "add rule inet t spare ct mark set ip saddr map @active",
    "add rule inet t spare ct mark set ip daddr . tcp dport map @slices",
    "add rule inet t spare ct mark set numgen inc mod 2 map @marks",
    "add rule inet t spare ct mark set jhash ip saddr mod 7 seed 0x1 map @turns",
    "add rule inet t spare dnat ip to ip saddr map @active",
    "add rule inet t spare dnat ip to ct mark map @to",
    "add rule inet t spare meta l4proto tcp dnat ip to ct mark map @to",
    "add rule inet t choose dnat ip to ip saddr map @active",
    "add rule inet t choose snat ip to ip saddr map @active",
    "add rule inet t choose masquerade",
    "add rule inet t forward dnat ip to ip saddr map @active",
    "add rule inet t second dnat ip to ip saddr map @active",
    "add rule inet t spare update @known { ip saddr timeout 5s }",
    "add rule inet t spare update @known { ip6 saddr timeout 5s }",
    "add rule inet t spare update @known { ip saddr timeout 5s : ct mark }",
    "add rule inet t spare ip saddr 2001:db8::1 drop",
    # What is there already.
    "add chain inet t spare",
    "add chain inet t choose",
    "add chain inet t choose { type nat hook prerouting priority dstnat; policy accept; }",
    "add chain inet t choose { type nat hook prerouting priority mangle; policy accept; }",
    "add chain inet t spare { type filter hook forward priority filter; policy accept; }",
    "add chain inet t other { type nat hook forward priority filter; policy accept; }",
    "add set inet t marks { type mark; }",
    "add set inet t marks { type inet_service; }",
    "add map inet t marks { type mark : mark; }",
    "add set inet t other { type nonsense; }",
    "add counter inet t seen",
    "delete chain inet t spare\nadd chain inet t spare",
    "flush chain inet t choose\ndelete map inet t go\nadd map inet t go { type mark : verdict; }",
    "flush chain inet t choose\ndelete map inet t go\nadd map inet t go { type mark : verdict; }\n"
    "add rule inet t choose ip daddr . tcp dport vmap @go",
)  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    made = Host(f"fd{os.getpid()}-fake")
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", made.name], check=True)


def kernel_takes(host: Host, text: str) -> bool:
    return not host.run("nft", "--file", "-", given=text, check=False).returncode


def fake_takes(fake: Fake, text: str) -> bool:
    try:
        fake.load(text)
    except RefusedError:
        return False
    return True


@pytest.mark.parametrize("text", TRANSACTIONS)
def test_both_say_the_same(host: Host, text: str) -> None:
    fake = Fake()
    assert kernel_takes(host, BASE)
    assert fake_takes(fake, BASE)
    assert fake_takes(fake, text) == kernel_takes(host, text)


def test_the_list_has_enough_of_both() -> None:
    taken = [fake_takes(boot(BASE), text) for text in TRANSACTIONS]
    assert sum(taken) > 35
    assert len(taken) - sum(taken) > 70


@st.composite
def slips(draw: st.DrawFn) -> tuple[str, str]:
    """A boot and a change of it in which one thing went wrong: a line lost, twice, moved or another."""
    before, after = map(compile_table, draw(histories())[:2])
    lines = transaction(before, after).splitlines(keepends=True)
    assume(lines)
    place = draw(st.integers(0, len(lines) - 1))
    line = lines.pop(place)
    match draw(st.sampled_from(("lost", "twice", "moved", "other"))):
        case "twice":
            lines[place:place] = [line, line]
        case "moved":
            lines.insert(draw(st.integers(0, len(lines))), line)
        case "other":
            old, new = draw(st.sampled_from((("_v4", "_v6"), ("0x", "0x1"), ("add ", "delete "), (" 198", " 197"))))
            lines.insert(place, line.replace(old, new, 1))
        case _:
            pass
    return boot_file(before), "".join(lines)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slips())
def test_both_say_the_same_to_a_change_with_a_slip_in_it(host: Host, texts: tuple[str, str]) -> None:
    """And both have the same then: what was there before, or what the change with its slip comes to."""
    before, change = texts
    fake = boot(before)
    host.nft(before)
    try:
        taken = fake_takes(fake, change)
    except UnknownError:
        event("no word of ours")
        return
    event("taken" if taken else "refused")
    assert taken == kernel_takes(host, change)
    listed = parse_table(host.run("nft", "--stateless", "list", "table", *TABLE.split()).stdout)
    there = fake.tables[TABLE]
    assert {one.name: len(one.rules) for one in listed.chains} == {
        name: len(one.rules) for name, one in there.chains.items()
    }
    bare = replace(listed, chains=tuple(replace(one, rules=()) for one in listed.chains))
    for chain in there.chains.values():
        chain.rules.clear()
    assert boot(boot_file(bare)).tables[TABLE].state() == there.state()
