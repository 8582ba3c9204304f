"""Replies that are due, and whose they are: parts of long ones, the tail behind ABOR and STAT, the fence.

How many replies come behind an aborted or broken transfer differs from server to server. When the next command waits,
a fence is sent: a command of the director's own whose reply can be no other's, so that what comes before it is theirs.
This module knows no transfer.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from ftpdirector.ftp.replies import Reply, ReplyLine, ReplyParts, format_reply

STATUS_REPLIES: Final = frozenset({211, 212, 213})
_NOT_OF_NOOP: Final = STATUS_REPLIES | {225, 226, 250}
"""What ends a transfer or answers ABOR or STAT; a NOOP is answered with 200."""
_SYST_REPLY: Final = 215


class Fate(Enum):
    """What becomes of replies in the tail."""

    SAY = auto()
    FAIL = auto()
    """Said, but a 2xx would pass for the good end of a transfer that had none: 426."""
    MUTE = auto()
    """The client has its reply already."""


class PendingReplies:
    """Collects the lines of a reply, and counts those that are due when nothing else is under way."""

    __slots__ = ("_parts", "due", "fate")

    def __init__(self) -> None:
        """Nothing is due."""
        self._parts = ReplyParts()
        self.due = 0
        self.fate = Fate.SAY

    def collect(self, line: ReplyLine) -> Reply | None:
        """The whole reply, if this line is its last."""
        if line.last and not self._parts:
            return Reply(line.code, line.data)
        self._parts.add(line)
        if not line.last:
            return None
        parts = self._parts.take()
        whole, last = b"".join(parts), parts[-2:-1]
        if whole[:1] == b"2" and not whole.startswith(b"%d" % line.code):
            whole = b"".join(last)  # Its last line has another code: who reads the first would take it for a good end.
        return Reply(line.code, whole)

    def expect(self, due: int, fate: Fate = Fate.SAY) -> None:
        """So many final replies may come, no more is known."""
        self.due = due
        self.fate = fate

    def tail(self, reply: Reply) -> bytes:
        """A reply that belongs there, as the client is to read it."""
        self.due -= reply.code >= 200
        if self.fate is Fate.SAY or reply.code == 421:
            return reply.data
        if self.fate is Fate.MUTE:
            return b""
        if 200 <= reply.code < 300:
            return format_reply(426, "Transfer failed: the data connection broke")
        return reply.data

    def fence_ended(self, code: int) -> bool:
        """Whether this reply is the fence's own: the last one that is due, or one that can be no other's."""
        return (self.due <= 1 and code >= 200) or (200 <= code < 300 and code not in _NOT_OF_NOOP)


def fence(verb: bytes) -> bytes:
    """A fence behind a passed command that is not answered; see `is_fence`."""
    return b"NOOP\r\n" if verb == b"SYST" else b"SYST\r\n"


def is_fence(verb: bytes, code: int) -> bool:
    """Whether a reply is the fence's, so that the passed command gets none."""
    return code == _SYST_REPLY and verb != b"SYST"
