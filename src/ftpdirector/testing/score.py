"""Bytes turned into the events of a session, so that a fuzzer, or hypothesis, can play one.

This module knows no rule of FTP; the referee judges what follows.
"""

from __future__ import annotations

from typing import Final

from ftpdirector.ftp.actions import Action, Clock, Direction, Side
from ftpdirector.model import DataToServer, Endpoint
from ftpdirector.testing.playbook import CLIENT, SERVER, VIRTUAL, Playbook
from ftpdirector.testing.referee import Referee

CLIENT_LINES: Final = tuple(
    """USER ann|PASS x|PASV|EPSV|PORT 203,0,113,5,117,49|EPRT @1@203.0.113.5@30001@|RETR f|STOR f|LIST|APPE f|REST 5
    |ABOR|STAT|QUIT|NOOP|FEAT|REIN|XFER f|EPSV ALL|MODE B|AUTH TLS|STAT /|SITE x
    ||~NOOP|NLST|CWD d|CDUP|TYPE I""".replace("\n    ", "").split("|")
)
SERVER_LINES: Final = tuple(
    """229 Ok (!!!30001!)|227 (1,2,3,4,117,49)|150 Go|125 Go|226 Done|250 Ok|200 Ok|225 Ok|426 Cut|425 No|550 No
    |500 What|502 No|530 Login|331 ?|230 In|211 x|211-x|213 x|226-x|226 x|421 Bye|221 Bye|220 Hi|350 Ok|120 Wait|x
    |229 Ok (!!!22!)|215 Unix|no code|229 Ok (!!9!)|257 "/d"|200OK""".replace("\n    ", "").split("|")
)
_EVENTS: Final = 20
_LEASE: Final = Endpoint(VIRTUAL.address, 10001)
_FOR_SERVER: Final = Endpoint(SERVER.address, 20001)


def play(notes: bytes) -> list[Action]:
    """Play two bytes an event: which one, and what is said; returns all actions, or raises what the referee says."""
    policy = list(DataToServer)[notes[0] % 3] if notes else DataToServer.PASSIVE
    book = Playbook(client=CLIENT, data_to_server=policy)
    referee = Referee()
    played: list[Action] = []
    for kind, what in zip(notes[1::2], notes[2::2], strict=False):
        _tell(referee, kind % _EVENTS, what)
        _event(book, kind % _EVENTS, what)
        referee.judge(book.all)
        played += book.all
    return played


def _tell(referee: Referee, kind: int, what: int) -> None:
    match kind:
        case 14 if what & 56 != 8:
            referee.data_ended(list(Direction)[what % 3], empty=what & 4 == 4)
        case 14:
            referee.data_broken(Side.SERVER, empty=False)
        case 15:
            referee.data_broken(list(Side)[what % 2], empty=what & 4 == 4)
        case 12 | 16:
            referee.nothing_came()
        case _:
            pass


def _event(book: Playbook, kind: int, what: int) -> None:
    """The first kinds come most often: lines of both sides."""
    session = book.session
    if kind < 4:
        book.client(CLIENT_LINES[what % len(CLIENT_LINES)].replace("@", "|").replace("~", "\t"))
    elif kind < 8:
        book.server(SERVER_LINES[what % len(SERVER_LINES)].replace("!", "|"))
    else:
        events = (
            lambda: session.listening(Side.CLIENT, _LEASE) if what % 4 else session.listen_failed(Side.CLIENT, "none"),
            lambda: session.data_open(Side.CLIENT),
            lambda: session.data_failed(Side.CLIENT, "refused"),
            lambda: session.data_open(Side.SERVER),
            lambda: session.data_failed(Side.SERVER, "refused"),
            lambda: (
                session.listening(Side.SERVER, _FOR_SERVER) if what % 4 else session.listen_failed(Side.SERVER, "none")
            ),
            lambda: session.data_ended(list(Direction)[what % 3], empty=what & 4 == 4, whole=what & 56 != 8),
            lambda: session.data_broken(list(Side)[what % 2], "reset", empty=what & 4 == 4),
            lambda: session.clock_ran_out(list(Clock)[what % len(Clock)]),
            lambda: session.client_lost(reset=what & 8 == 8) if what % 8 == 0 else session.data_open(Side.CLIENT),
            lambda: session.server_lost() if what % 8 == 0 else session.data_open(Side.SERVER),
            lambda: (
                (session.idle_timed_out, session.shutting_down, session.silence, session.not_replied)[what % 4]()
                if what % 4 == 2 or what < 32
                else []
            ),
        )
        book.all = events[kind - 8]()
