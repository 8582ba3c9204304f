"""What must hold in every session, whatever happens: judges each event and the actions that followed.

This module knows no reason for an action, only which ones may never follow which events.
"""

from __future__ import annotations

from ftpdirector.ftp.actions import (
    Action,
    Close,
    Direction,
    Finish,
    Side,
    StartRelay,
    ToClient,
    ToServer,
    TransferEnded,
)
from ftpdirector.ftp.commands import LISTINGS, TRANSFERS
from ftpdirector.ftp.lines import SYNCH_URGENT
from ftpdirector.ftp.session import NOOP_REPLY


class Referee:
    """Keeps of a session only what its invariants speak of."""

    def __init__(self) -> None:
        """Before the first event."""
        self._closed = False
        self._direction: Direction | None = None
        self._listing = False
        self._relaying = self._aborted = self._ended = self._empty = self._broken = self._nothing = False
        self._preliminary = False

    def data_ended(self, direction: Direction, *, empty: bool) -> None:
        """To be told before the session is: the sender's end."""
        if self._relaying and direction in (Direction.DOWNLOAD, Direction.UPLOAD) and not self._broken:
            self._empty = self._empty or (empty and not self._ended and direction is Direction.DOWNLOAD)
            self._ended = self._ended or self._direction in (direction, Direction.BOTH)

    def data_broken(self, side: Side, *, empty: bool) -> None:
        """To be told before the session is: a data connection broke; the real server's before the first byte?"""
        if self._direction is not None and not self._ended:
            self._nothing = self._nothing or (empty and side is Side.SERVER and not self._broken)
            self._broken = True

    def nothing_came(self) -> None:
        """To be told before the session is: a clock ran out, or the real server did not take its data connection."""
        self._nothing = True

    def judge(self, actions: list[Action]) -> None:
        """Raises AssertionError for what may never be.

        After the end there is nothing; a transfer's 2xx is given to the client only behind the end of its data, unless
        the client itself said ABOR, or a listing had not one byte; the client's data connection is ended well only
        together with that 2xx, or when there was not one byte.
        """
        finished = False
        for action in actions:
            _insist(not self._closed, "an action after Close")
            if isinstance(action, ToServer):
                self._to_server(action.data)
            elif isinstance(action, ToClient):
                ends_well = self._to_client(action.data)
                finished = finished and not ends_well
            elif isinstance(action, StartRelay):
                _insist(not self._relaying, "a second relay")
                self._direction, self._relaying = action.direction, True
            elif isinstance(action, Finish):
                self._finish(action.side)
                finished = action.side is Side.CLIENT
            elif isinstance(action, TransferEnded):
                self._forget()
            elif isinstance(action, Close):
                self._closed = True
        _insist(not finished, "a good end without a reply")

    def _forget(self) -> None:
        self._direction = None
        self._listing = False
        self._relaying = self._aborted = self._ended = self._empty = self._broken = self._nothing = False
        self._preliminary = False

    @property
    def _had_nothing(self) -> bool:
        return self._listing and (self._nothing or not self._preliminary)

    def _finish(self, side: Side) -> None:
        whole = self._ended or (side is Side.CLIENT and self._had_nothing)
        _insist(whole and not self._aborted, "a good end without the sender's")

    def _to_client(self, data: bytes) -> bool:
        """Whether this is a reply that may follow a good end."""
        if self._direction is None:
            return False
        if data[:1] == b"2":
            allowed = self._ended or self._aborted or data[:3] in _STATUS or self._had_nothing or data == NOOP_REPLY
            _insist(allowed, "a 2xx for a file that is not whole")
            return True
        self._preliminary = self._preliminary or data[:1] == b"1"
        return self._empty and data[:1] in (b"4", b"5")

    def _to_server(self, data: bytes) -> None:
        verb = data.split()[0].upper() if data.split() else b""
        if data == SYNCH_URGENT or (verb == b"ABOR" and self._direction is not None):
            self._aborted = True
        elif verb in TRANSFERS:
            _insist(self._direction is None, "a transfer inside a transfer")
            self._direction = TRANSFERS[verb]
            self._listing = verb in LISTINGS
        elif self._direction is not None:
            _insist(verb in (b"STAT", b"\xf2ABOR"), "a command inside a transfer")


_STATUS = (b"211", b"212", b"213")


def _insist(holds: bool, what: str) -> None:  # noqa: FBT001 - as assert takes it
    if not holds:
        raise AssertionError(what)
