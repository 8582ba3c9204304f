"""The table of jobs is what the session does: no other step is ever made, and every step of it is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ftpdirector.ftp import session
from ftpdirector.ftp.actions import Clock, Direction, Side
from ftpdirector.ftp.job import NEXT, Job
from ftpdirector.testing import playbook
from ftpdirector.testing.playbook import Playbook
from ftpdirector.testing.score import play

seen: set[tuple[Job, Job]] = set()
_slot = session.Session._job


class Watched(session.Session):
    """A session that notes each step from one job to another."""

    __slots__ = ()

    @property
    def _job(self) -> Job:
        return _slot.__get__(self)

    @_job.setter
    def _job(self, job: Job) -> None:
        before = _slot.__get__(self) if hasattr(self, "_verb") else job
        if before is not job:
            seen.add((before, job))
        _slot.__set__(self, job)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(playbook, "Session", Watched)
    seen.clear()
    return


PRELUDE = [(0, 3), (8, 1), (4, 0), (11, 0), (9, 0)]
LISTED = {(before, after) for before, following in NEXT.items() for after in following}


def test_no_step_is_made_that_the_table_does_not_list(watched: None) -> None:
    chance = random.Random(7)
    for _ in range(4000):
        notes = bytearray([chance.randrange(3)])
        if chance.random() < 0.7:
            for pair in PRELUDE:
                notes += bytes(pair)
            notes += bytes((0, chance.choice([6, 7, 8, 9, 17, 25])))
        play(bytes(notes + chance.randbytes(2 * chance.randrange(40))))
    conversations()
    assert sorted(seen - LISTED) == [], "steps that the table does not list"
    assert sorted(LISTED - seen) == [], "steps that are never made"


def ready() -> Playbook:
    return Playbook().logged_in()


def conversations() -> None:
    """Steps that chance finds too rarely."""
    ready().client("EPSV").listening("192.0.2.10:10001").ran_out(Clock.ANSWER).ran_out(Clock.ANSWER)
    ready().client("FEAT").ran_out(Clock.ANSWER).server("211 x").client("PWD").shutting_down()
    ready().client("FEAT").shutting_down()
    ready().client("XSHA256 f").client("ABOR").server("250 a").server("225 b")
    ready().client("XSHA256 f\r\nPWD").silence().server("250 a").client_lost(reset=True)
    ready().passive().client("XFER f").server("150 Go").client("ABOR").server("426 a").server("226 b")
    port = ready().client("PORT 203,0,113,5,117,49").server("227 (1,1,1,1,117,49)").data_open(Side.SERVER)
    port.client("LIST").data_open(Side.CLIENT).server("150 Go").data_ended(Direction.DOWNLOAD).server("226 Done")
    port.client("REST 1").server("227 (1,1,1,1,117,50)").server("350 Ok")
    port.data_failed(Side.SERVER).client("LIST").server("500 No")
    port.client("LIST").ran_out(Clock.ANSWER).server("227 (1,1,1,1,117,50)")
    for answers in (["500 No"], []):
        again = ready().client("PORT 203,0,113,5,117,49").server("227 (1,1,1,1,117,49)").data_open(Side.SERVER)
        again.client("LIST").data_open(Side.CLIENT).server("150 Go").data_ended(Direction.DOWNLOAD).server("226 Done")
        again.client("LIST")
        for answer in answers:
            again.server(answer).server(answer)
        while Clock.ANSWER in again.clocks:
            again.ran_out(Clock.ANSWER)
    again = ready().client("EPSV").listening("192.0.2.10:10001").server("229 Ok (|||30001|)").data_open(Side.CLIENT)
    again.client("RETR f").data_failed(Side.SERVER).server("227 (1,1,1,1,117,49)").data_open(Side.SERVER)
