"""Others have put something into our table, or taken our state directory away: no traceback, and `remove` removes.

The installed command, on a host of lab.netns, over the real kernel.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from lab.netns.hosts import Network, network

from ftpdirector.nft.listing import canonical
from tests.netns import director as here
from tests.netns.director import DirectorHost, director_host
from tests.netns.table import text_of

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(here.missing()), reason=here.missing())]

OTHERS = (
    "add quota inet ftpdirector monthly { over 25 mbytes ; }",
    "add limit inet ftpdirector slow { rate 5/second ; }",
    "add quota inet ftpdirector monthly { over 25 mbytes ; }\n"
    'add rule inet ftpdirector forward tcp dport 21 quota name "monthly" drop comment "a } and a # in it"',
    'add chain inet ftpdirector mine { comment "of somebody else" ; }\nadd counter inet ftpdirector hits',
    "add table inet ftpdirector { flags dormant ; }",
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    with network(1) as made:
        yield made


@pytest.fixture
def place(hosts: Network) -> Iterator[DirectorHost]:
    with director_host(hosts) as made:
        made.write(text_of((1,), (4,)))
        yield made
        hosts.director.nft("flush ruleset")


def said(place: DirectorHost, *words: str, code: int = 0) -> str:
    done = place.command(*words)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("text", OTHERS)
def test_what_others_put_into_our_table_is_shown_and_goes(hosts: Network, place: DirectorHost, text: str) -> None:
    place.apply()
    clean = hosts.director.run("nft", "--stateless", "list", "table", "inet", "ftpdirector").stdout
    hosts.director.nft(text + "\n")
    assert "change nft inet ftpdirector" in said(place, "plan", str(place.file), code=2)
    said(place, "apply", str(place.file))
    assert hosts.director.run("nft", "--stateless", "list", "table", "inet", "ftpdirector").stdout == clean
    assert said(place, "plan", str(place.file)) == "nothing to change\n"
    hosts.director.nft(text + "\n")
    said(place, "remove")
    assert hosts.director.run("nft", "list", "ruleset").stdout == ""


def test_an_apply_over_it_that_is_not_confirmed_puts_it_back(hosts: Network, place: DirectorHost) -> None:
    place.apply()
    hosts.director.nft(OTHERS[2] + "\n")
    before = hosts.director.run("nft", "--stateless", "list", "table", "inet", "ftpdirector").stdout
    place.write(text_of((1,), (4,), scheduler="sh"))
    said(place, "apply", str(place.file), "--confirm", "1s", code=1)
    after = hosts.director.run("nft", "--stateless", "list", "table", "inet", "ftpdirector").stdout
    assert canonical(after) == canonical(before)


def test_with_its_state_lost_remove_goes_by_our_name(hosts: Network, place: DirectorHost) -> None:
    place.apply()
    shutil.rmtree(place.work / "var/ftpdirector")
    assert "not known any more" in said(place, "remove")
    assert hosts.director.run("nft", "list", "ruleset").stdout == ""
    assert place.found() == []
    assert said(place, "remove") == "nothing of ours is here\n"


def test_with_its_state_lost_apply_does_not_take_ours_for_theirs(hosts: Network, place: DirectorHost) -> None:
    place.apply()
    shutil.rmtree(place.work / "var/ftpdirector")
    assert said(place, "apply", str(place.file)) == "nothing to change\n"
    said(place, "remove")
    assert hosts.director.run("nft", "list", "ruleset").stdout == ""
    assert place.found() == []


def test_a_copy_of_our_table_in_a_file_of_theirs_is_said(hosts: Network, place: DirectorHost) -> None:
    place.apply()
    theirs = place.work / "etc/nftables.conf"
    theirs.write_text(hosts.director.run("nft", "list", "ruleset").stdout)
    for words in (("apply", str(place.file)), ("remove",)):
        assert "/etc/nftables.conf has a copy of our table" in said(place, *words)
    theirs.unlink()
    assert "has a copy" not in said(place, "remove")
