"""Two directors in one guest are two hosts: own kernel tables, own files, and one virtual address that moves."""

from __future__ import annotations

from pathlib import Path

from lab.guest import run

from tests.guest.shared import NEEDS_GUEST

pytestmark = NEEDS_GUEST


def test_the_virtual_address_and_the_gateway_move_to_the_director_that_is_left() -> None:
    """By hand-written keepalived files, one in each director's own /etc; every mode works before and after."""
    told = run.scenario(Path(__file__).with_name("two_directors.py"), timeout_s=300)
    assert [one["works"] for one in told["before"]] == [True] * 4, told["before"]
    assert [one["works"] for one in told["after"]] == [True] * 4, told["after"]
    assert told["took_s"] < 10  # three adverts of one second and some
    assert told["files"] == {"director-a": True, "director-b": True}
