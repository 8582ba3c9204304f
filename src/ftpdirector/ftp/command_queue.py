"""Commands that wait for those before them, in a bounded queue.

This module knows no meaning of a command but that of QUIT.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MOST_HELD_BYTES: Final = 65536
_HELD_LINE_BYTES: Final = 64
"""What a held line costs besides its bytes: a flood of short lines is a flood too."""


class CommandQueue:
    """Lines in the order in which they are due; None stands for one that was too long."""

    __slots__ = ("_bytes", "_lines", "count")

    def __init__(self) -> None:
        """Nobody waits."""
        self._lines: deque[bytes | None] = deque()
        self._bytes = 0
        self.count = 0
        """How many wait."""

    def __bool__(self) -> bool:
        """Whether somebody waits."""
        return self.count > 0

    @property
    def has_room(self) -> bool:
        """False while too much is held back: the client is not read meanwhile."""
        return self._bytes <= MOST_HELD_BYTES

    @property
    def has_quit(self) -> bool:
        """Whether the client said QUIT, and goes in good order."""
        return any(line is not None and line.rstrip(b" ").upper() == b"QUIT" for line in self._lines)

    def has_first(self, word: bytes) -> bool:
        """Whether the next one is this verb alone."""
        line = self._lines[0] if self._lines else None
        return line is not None and line.rstrip(b" ").upper() == word

    def hold(self, line: bytes | None) -> None:
        """Behind all others."""
        self._lines.append(line)
        self.count += 1
        self._bytes += len(line or b"") + _HELD_LINE_BYTES

    def hold_first(self, line: bytes) -> None:
        """Before all others."""
        self._lines.appendleft(line)
        self.count += 1
        self._bytes += len(line) + _HELD_LINE_BYTES

    def take(self) -> bytes | None:
        """The next one; IndexError when there is none."""
        line = self._lines.popleft()
        self.count -= 1
        self._bytes -= len(line or b"") + _HELD_LINE_BYTES
        return line

    def clear(self) -> None:
        """The session has ended."""
        self._lines.clear()
        self._bytes = self.count = 0
