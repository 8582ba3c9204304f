"""What must hold in every session, whatever happens: judges each event and the actions that followed.

This module knows no reason for an action, only which ones may never follow which events.
"""

from __future__ import annotations

from ftpdirector.ftp.actions import (
    Action,
    Close,
    Direction,
    FinishClientData,
    FinishServerData,
    StartRelay,
    ToClient,
    ToServer,
    TransferEnded,
)
from ftpdirector.ftp.commands import TRANSFERS
from ftpdirector.ftp.lines import SYNCH_URGENT


class Referee:
    """Keeps of a session only what its invariants speak of."""

    def __init__(self) -> None:
        """Before the first event."""
        self._direction: Direction | None = None
        self._relaying = False
        self._aborted = False
        self._ended = False
        self._closed = False

    def data_ended(self, direction: Direction) -> None:
        """To be told before the session is: the sender's end."""
        if self._relaying and direction in (Direction.DOWNLOAD, Direction.UPLOAD):
            self._ended = self._ended or self._direction in (direction, Direction.BOTH)

    def judge(self, actions: list[Action]) -> None:
        """Raises AssertionError for what may never be.

        After the end there is nothing; a transfer's 2xx is given to the client only behind the end of its data, unless
        the client itself said ABOR; the client's data connection is ended well only together with that 2xx.
        """
        finished = False
        for action in actions:
            _insist(not self._closed, "an action after Close")
            if isinstance(action, ToServer):
                self._to_server(action.data)
            elif isinstance(action, ToClient):
                if self._direction is not None and action.data[:1] == b"2":
                    _insist(
                        self._ended or self._aborted or action.data[:3] in _STATUS, "a 2xx for a file that is not whole"
                    )
                    finished = False
            elif isinstance(action, StartRelay):
                _insist(not self._relaying, "a second relay")
                self._direction, self._relaying = action.direction, True
            elif isinstance(action, FinishClientData):
                _insist(self._ended and not self._aborted, "a good end without the sender's")
                finished = True
            elif isinstance(action, FinishServerData):
                _insist(self._ended and not self._aborted, "a good end without the sender's")
            elif isinstance(action, TransferEnded):
                self._direction, self._relaying, self._aborted, self._ended = None, False, False, False
            elif isinstance(action, Close):
                self._closed = True
        _insist(not finished, "a good end without a 2xx")

    def _to_server(self, data: bytes) -> None:
        verb = data.split()[0].upper() if data.split() else b""
        if data == SYNCH_URGENT:
            self._aborted = True
        elif verb in TRANSFERS:
            _insist(self._direction is None, "a transfer inside a transfer")
            self._direction = TRANSFERS[verb]
        elif self._direction is not None:
            _insist(verb in (b"STAT", b"\xf2ABOR"), "a command inside a transfer")


_STATUS = (b"211", b"212", b"213")


def _insist(holds: bool, what: str) -> None:  # noqa: FBT001 - as assert takes it
    if not holds:
        raise AssertionError(what)
