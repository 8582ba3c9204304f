"""Whatever happens, in whatever order: no session raises, and no file cut short is passed on as whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftpdirector.ftp.actions import (
    Direction,
    Finish,
    Side,
    StartRelay,
    ToClient,
    ToServer,
)
from ftpdirector.testing.playbook import Playbook
from ftpdirector.testing.referee import Referee
from ftpdirector.testing.score import play


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=120))
def test_any_events_in_any_order(notes: bytes) -> None:
    play(notes)


PRELUDE = [(0, 3), (8, 1), (4, 0), (11, 0), (9, 0)]
"""EPSV until both data connections stand."""


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from([6, 7, 8, 9, 17]), st.lists(st.tuples(st.integers(0, 19), st.integers(0, 255)), max_size=40))
def test_any_events_after_a_transfer_was_asked_for(verb: int, events: list[tuple[int, int]]) -> None:
    notes = bytes(byte for pair in [*PRELUDE, (0, verb), *events] for byte in pair)
    play(b"\0" + notes)


def test_the_prelude_reaches_a_transfer() -> None:
    notes = bytes(byte for pair in [*PRELUDE, (0, 6), (4, 2), (14, 0), (4, 4)] for byte in pair)
    played = play(b"\0" + notes)
    assert StartRelay(Direction.DOWNLOAD) in played
    assert Finish(Side.CLIENT) in played


@pytest.mark.parametrize(
    "actions",
    [
        [ToServer(b"RETR f\r\n"), StartRelay(Direction.DOWNLOAD), ToClient(b"226 Done\r\n")],
        [ToServer(b"RETR f\r\n"), StartRelay(Direction.DOWNLOAD), Finish(Side.CLIENT), ToClient(b"226 Done\r\n")],
        [ToServer(b"RETR f\r\n"), ToServer(b"NOOP\r\n")],
        [Finish(Side.CLIENT)],
    ],
)
def test_the_referee_sees_what_may_not_be(actions: list) -> None:
    with pytest.raises(AssertionError):
        Referee().judge(actions)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60))))
def test_any_bytes_from_either_side(said: list[tuple[bool, bytes]]) -> None:
    session = Playbook().session
    for by_client, data in said:
        (session.client_bytes if by_client else session.server_bytes)(data)
