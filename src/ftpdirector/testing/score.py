"""Bytes turned into the events of a session, so that a fuzzer, or hypothesis, can play one.

This module knows no rule of FTP; the referee judges what follows.
"""

from __future__ import annotations

from typing import Final

from ftpdirector.ftp.actions import Action, Direction
from ftpdirector.ftp.session import Side
from ftpdirector.model import DataToServer, Endpoint
from ftpdirector.testing.playbook import CLIENT, SERVER, VIRTUAL, Playbook
from ftpdirector.testing.referee import Referee

CLIENT_LINES: Final = tuple(
    """USER ann|PASS x|PASV|EPSV|PORT 203,0,113,5,117,49|EPRT @1@203.0.113.5@30001@|RETR f|STOR f|LIST|APPE f|REST 5
    |ABOR|STAT|QUIT|NOOP|FEAT|REIN|XFER f|EPSV ALL|MODE B|AUTH TLS|STAT /|SITE x""".replace("\n    ", "").split("|")
)
SERVER_LINES: Final = tuple(
    """229 Ok (!!!30001!)|227 (1,2,3,4,117,49)|150 Go|125 Go|226 Done|250 Ok|200 Ok|225 Ok|426 Cut|425 No|550 No
    |500 What|502 No|530 Login|331 ?|230 In|211 x|211-x|213 x|226-x|226 x|421 Bye|221 Bye|220 Hi|350 Ok|120 Wait|x
    |229 Ok (!!!22!)""".replace("\n    ", "").split("|")
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
        if kind % _EVENTS == 14:
            referee.data_ended(list(Direction)[what % 3])
        _event(book, kind % _EVENTS, what)
        referee.judge(book.last)
        played += book.last
    return played


def _event(book: Playbook, kind: int, what: int) -> None:
    """The first kinds come most often: lines of both sides."""
    session = book.session
    if kind < 4:
        book.client(CLIENT_LINES[what % len(CLIENT_LINES)].replace("@", "|"))
    elif kind < 8:
        book.server(SERVER_LINES[what % len(SERVER_LINES)].replace("!", "|"))
    else:
        events = (
            lambda: session.listening(_LEASE) if what % 4 else session.listen_failed("none"),
            session.client_data_open,
            lambda: session.client_data_failed("refused"),
            session.server_data_open,
            lambda: session.server_data_failed("refused"),
            lambda: session.listening_for_server(_FOR_SERVER) if what % 4 else session.listen_for_server_failed("none"),
            lambda: session.data_ended(list(Direction)[what % 3]),
            lambda: session.data_broken(list(Side)[what % 2], "reset"),
            session.data_timed_out,
            lambda: session.client_lost() if what % 8 == 0 else session.client_data_open(),
            lambda: session.server_lost() if what % 8 == 0 else session.server_data_open(),
            lambda: (session.idle_timed_out, session.shutting_down)[what % 2]() if what % 8 == 0 else [],
        )
        book.last = events[kind - 8]()
