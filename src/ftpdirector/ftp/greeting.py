"""A real server's greeting: ready, full, or not for us.

This module knows no socket and no other real server.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from ftpdirector.ftp.replies import LARGEST_REPLY_BYTES, ReplyReader

FULL_CODE: Final = 421


class Welcome(Enum):
    """What a greeting comes to."""

    WAITING = auto()
    """Nothing yet, or 120: ready in so many minutes (RFC 959 section 5.4)."""
    READY = auto()
    FULL = auto()
    """421: it has as many sessions as it takes."""
    REFUSED = auto()
    """4xx, 5xx, or no end of talking."""


class Greeting:
    """Collects what a real server says before anybody asked it something."""

    __slots__ = ("_replies", "data", "reason")

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._replies = ReplyReader()
        self.data = b""
        """All that was said, as it came: lines without a code too, as clients read them."""
        self.reason = ""

    def feed(self, data: bytes) -> Welcome:
        """The real server said this."""
        self.data += data
        if len(self.data) > LARGEST_REPLY_BYTES:
            self.reason = "the greeting does not end"
            return Welcome.REFUSED
        replies = self._replies.feed(data)
        if 200 <= self._replies.doubt < 300:
            # `220-` ... `230 `: clients take it for the end. If it is not, the rest is passed on like all that follows.
            replies.append(self._replies.settle())
        for reply in replies:
            if reply.code == FULL_CODE:
                self.reason = reply.text
                return Welcome.FULL
            if reply.code >= 400:
                self.reason = reply.text
                return Welcome.REFUSED
            if reply.code >= 200:
                return Welcome.READY
        return Welcome.WAITING
