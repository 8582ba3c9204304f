"""A client's bytes cut into command lines, with the Telnet commands taken out.

This module knows no FTP command.
"""

from __future__ import annotations

from typing import Final

LONGEST_LINE_BYTES: Final = 8192

IAC: Final = b"\xff"
_IAC: Final = 0xFF
_FIRST_TELNET_COMMAND: Final = 0xF0
_FIRST_TELNET_OPTION: Final = 0xFB
"""WILL, WONT, DO, DONT: each is followed by the number of an option (RFC 854)."""

_SYNCH: Final = frozenset({0xF4, 0xF2})
"""Interrupt Process, Data Mark."""

SYNCH_URGENT: Final = b"\xff\xf4\xff"
"""IAC IP, and the IAC before the Data Mark: sent as urgent data in front of ABOR (RFC 959 section 4.1.3)."""
DATA_MARK: Final = b"\xf2"


class Synched(bytes):
    """A line in front of which the client sent Telnet's Synch, or its IP alone."""

    __slots__ = ()


class LineReader:
    """Cuts a stream into lines without their CRLF, or bare LF, however the segments fall.

    All carriage returns at the end go: clients that write CR CR LF exist, and servers understand them. Telnet commands
    are taken out where they stand in front of a line, and only there: IP and Data Mark around ABOR, negotiations that
    nobody answers (RFC 959 section 4.1.3, RFC 1123 section 4.1.2.12), a 0xFF that is left of a Synch without its Data
    Mark. Inside a line all bytes stay as they came: in the names of clients that know no Telnet, which are nearly all,
    0xFF is a letter (in Windows-1251 a common one), whatever follows it.
    """

    __slots__ = ("_buffer", "_skipping")

    def __init__(self) -> None:
        """Start at the beginning of a line."""
        self._buffer = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that `data` completes; None stands for one that was longer than 8192 bytes, and was dropped."""
        if self._buffer:
            data = self._buffer + data
        elif data.find(b"\n") == len(data) - 1 and not self._skipping and self._is_plain(data):
            return [data[:-1].rstrip(b"\r")]  # what nearly every call is: one whole line
        *pieces, rest = data.split(b"\n")
        lines: list[bytes | None] = []
        for piece in pieces:
            if self._skipping or len(piece) > LONGEST_LINE_BYTES:
                lines.append(None)
                self._skipping = False
            else:
                line = piece.rstrip(b"\r")
                lines.append(without_telnet(line) if line[:1] == IAC else line)
        if len(rest) > LONGEST_LINE_BYTES:
            self._skipping = True
        self._buffer = b"" if self._skipping else rest
        return lines

    @staticmethod
    def _is_plain(data: bytes) -> bool:
        return 1 < len(data) < LONGEST_LINE_BYTES and data[0] != _IAC


def without_telnet(line: bytes) -> bytes:
    """A line without the Telnet commands that it begins with (RFC 854)."""
    at = 0
    synched = False
    while line[at : at + 1] == IAC:
        follower = line[at + 1] if at + 1 < len(line) else 0
        if follower == _IAC:  # a letter of its own, doubled
            break
        synched = synched or follower in _SYNCH
        at += 1 if follower < _FIRST_TELNET_COMMAND else 3 if follower >= _FIRST_TELNET_OPTION else 2
    return Synched(line[at:]) if synched else line[at:]
