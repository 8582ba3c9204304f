"""A client's bytes cut into command lines, with the Telnet commands taken out.

This module knows no FTP command.
"""

from __future__ import annotations

from typing import Final

LONGEST_LINE_BYTES: Final = 8192

IAC: Final = 0xFF
_FIRST_TELNET_COMMAND: Final = 0xF0
_FIRST_TELNET_OPTION: Final = 0xFB
"""WILL, WONT, DO, DONT: each is followed by the number of an option (RFC 854)."""

SYNCH_URGENT: Final = b"\xff\xf4\xff"
"""IAC IP, and the IAC before the Data Mark: sent as urgent data in front of ABOR (RFC 959 section 4.1.3)."""
DATA_MARK: Final = b"\xf2"


class LineReader:
    """Cuts a stream into lines without their CRLF, or bare LF, however the segments fall.

    Bytes stay as they came on the wire, a doubled 0xFF too, so that a name is handed on untouched. Telnet commands are
    taken out: IP and Data Mark stand around ABOR, the rest nobody answers (RFC 959 section 4.1.3, RFC 1123 section
    4.1.2.12). A 0xFF before a byte that is no Telnet command is a name's own, sent by a client that knows no Telnet;
    at the beginning of a line it is the rest of a Synch whose Data Mark was lost, and is dropped.
    """

    __slots__ = ("_buffer", "_skipping", "_telnet")

    def __init__(self) -> None:
        """Start at the beginning of a line."""
        self._buffer = b""
        self._telnet = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that `data` completes; None stands for one that was longer than 8192 bytes, and was dropped."""
        if self._telnet or IAC in data:
            data = self._without_telnet(self._telnet + data)
        if self._buffer:
            data = self._buffer + data
        *pieces, rest = data.split(b"\n")
        lines: list[bytes | None] = []
        for piece in pieces:
            if self._skipping or len(piece) > LONGEST_LINE_BYTES:
                lines.append(None)
                self._skipping = False
            else:
                lines.append(piece[:-1] if piece.endswith(b"\r") else piece)
        if len(rest) > LONGEST_LINE_BYTES:
            self._skipping = True
        self._buffer = b"" if self._skipping else rest
        return lines

    def _without_telnet(self, data: bytes) -> bytes:
        kept = bytearray()
        at = 0
        while (found := data.find(IAC, at)) >= 0:
            kept += data[at:found]
            length = _telnet_length(data, found)
            if not length:
                self._telnet = data[found:]
                return bytes(kept)
            if length == 1 and not self._at_line_start(kept):
                kept.append(IAC)
            elif length == 2 and data[found + 1] == IAC:
                kept += b"\xff\xff"
            at = found + length
        self._telnet = b""
        kept += data[at:]
        return bytes(kept)

    def _at_line_start(self, kept: bytearray) -> bool:
        if kept:
            return kept.endswith(b"\n")
        return not self._buffer and not self._skipping


def _telnet_length(data: bytes, at: int) -> int:
    """How many bytes belong to the IAC at `at`: 0 when that cannot be told yet, 1 when it is no Telnet command."""
    left = len(data) - at
    if left < 2:
        return 0
    follower = data[at + 1]
    if follower < _FIRST_TELNET_COMMAND:
        return 1
    if _FIRST_TELNET_OPTION <= follower < IAC:
        return 3 if left > 2 else 0
    return 2
