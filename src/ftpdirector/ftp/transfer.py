"""One transfer from its command at the real server to its final reply: when is a file whole?

The end of a stream proves nothing, since a killed sender gives a clean one. A download is whole when the sender's end
*and* the real server's 2xx are there; until then the client gets no FIN and no 2xx. This module knows no other command
and not how the data connections came about.
"""

from __future__ import annotations

from enum import Enum, auto

from ftpdirector.ftp.actions import (
    Action,
    Direction,
    DropClientData,
    DropServerData,
    FinishClientData,
    FinishServerData,
    Outcome,
    StartRelay,
    StopWaiting,
    ToClient,
    ToServer,
    TransferEnded,
    WaitForData,
)
from ftpdirector.ftp.commands import Command, printable
from ftpdirector.ftp.lines import DATA_MARK, SYNCH_URGENT
from ftpdirector.ftp.replies import Reply, format_reply


class Side(Enum):
    """Whose data connection."""

    CLIENT = auto()
    SERVER = auto()


class Transfer:
    """A transfer under way; every event appends actions, and returns True when the transfer is over."""

    __slots__ = (
        "_broken",
        "_command",
        "_direction",
        "_download_ended",
        "_relaying",
        "aborted",
        "final",
        "preliminary",
        "upload_ended",
    )

    def __init__(self, command: Command, direction: Direction, *, relaying: bool = False, broken: str = "") -> None:
        """`broken` from the start: there is no data connection, the real server may say so itself."""
        self._command = command
        self._direction = direction
        self._relaying = relaying
        self._broken = broken
        self._download_ended = False
        self.upload_ended = False
        self.preliminary = False
        self.aborted = False
        self.final: Reply | None = None

    def began(self, reply: Reply, out: list[Action]) -> bool:
        """The real server answered 1xx: an upload may flow now (RFC 959 section 5.4)."""
        out.append(ToClient(reply.data))
        self.preliminary = True
        if not (self._relaying or self.aborted or self._broken):
            self._relaying = True
            out.append(StartRelay(self._direction))
        return False

    def answered(self, reply: Reply, out: list[Action]) -> bool:
        """The real server's final reply; a 2xx is given to the client only for a file that is whole."""
        if self.aborted:
            out.append(ToClient(reply.data))
            return self.end(out, Outcome.ABORTED, reply.text)
        if not 200 <= reply.code < 300:
            self._drop(out)
            out.append(ToClient(reply.data))
            return self.end(out, Outcome.FAILED if self.preliminary else Outcome.REFUSED, reply.text)
        if self._broken:
            return self._fail(self._broken, out)
        if self.upload_ended or self._download_ended:
            return self._complete(reply, out)
        if self._direction is Direction.UPLOAD:
            return self._fail("the real server ended it before the file did", out)
        self.final = reply
        out.append(WaitForData())
        return False

    def data_ended(self, direction: Direction, out: list[Action]) -> bool:
        """The sender's end is here, and all before it was handed over."""
        if not self._relaying or self.aborted or self._broken or self.upload_ended or self._download_ended:
            return False
        if self._direction not in (direction, Direction.BOTH) or direction is Direction.BOTH:
            return False
        if direction is Direction.UPLOAD:
            self.upload_ended = True
            out.append(FinishServerData())
        else:
            self._download_ended = True
        if self.final is None:
            return False
        out.append(StopWaiting())
        return self._complete(self.final, out)

    def data_broken(self, side: Side, text: str, out: list[Action]) -> bool:
        """A data connection failed: the other one is reset, and no 2xx may follow."""
        if self.aborted or self._broken or self._download_ended:
            return False
        if side is Side.CLIENT and self.upload_ended:
            return False
        self._broken = text or "the data connection broke"
        if self.final is not None:
            out.append(StopWaiting())
            return self._fail(self._broken, out)
        self._drop(out)
        return False

    def timed_out(self, out: list[Action]) -> bool:
        """The real server said 2xx, but its data did not come to an end."""
        return self.final is not None and self._fail("the data did not come to its end in time", out)

    def abort(self, line: bytes, out: list[Action]) -> bool:
        """The client said ABOR; over at once when the real server's 2xx is here, and ABOR is then left to the caller.

        Replies that follow are the real server's own (RFC 959 section 4.1.3): 426 and 226, 226 and 226, 225 alone.
        """
        if self.final is not None:
            out.append(StopWaiting())
            self._drop(out)
            out.append(ToClient(format_reply(426, "Transfer aborted")))
            return self.end(out, Outcome.ABORTED, "aborted by the client")
        self.aborted = True
        out.append(ToServer(SYNCH_URGENT, urgent=True))
        out.append(ToServer(DATA_MARK + line + b"\r\n"))
        self._drop(out)
        return False

    def end(self, out: list[Action], outcome: Outcome, reply: str) -> bool:
        """Say for the log how it ended."""
        command = self._command
        out.append(
            TransferEnded(command.verb.decode("latin-1"), printable(command.argument), self._direction, outcome, reply)
        )
        return True

    def _complete(self, reply: Reply, out: list[Action]) -> bool:
        if self._download_ended:
            out.append(FinishClientData())
        out.append(ToClient(reply.data))
        return self.end(out, Outcome.COMPLETE, reply.text)

    def _fail(self, text: str, out: list[Action]) -> bool:
        self._drop(out)
        out.append(ToClient(format_reply(426, f"Transfer failed: {text}")))
        return self.end(out, Outcome.FAILED, text)

    def _drop(self, out: list[Action]) -> None:
        out.append(DropClientData())
        if not self.upload_ended:
            out.append(DropServerData())
