"""A real server's bytes turned into replies, and replies turned into bytes.

This module knows no command and no order of replies.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ftpdirector.errors import ProtocolError

LONGEST_LINE_BYTES: Final = 16384
LARGEST_REPLY_BYTES: Final = 1 << 20


class Reply(NamedTuple):
    """A whole reply: its code, and its bytes as they came, line ends included."""

    code: int
    data: bytes

    @property
    def text(self) -> str:
        """The reply for people and logs; bytes that are not UTF-8 survive as surrogates."""
        return self.data.rstrip().decode("utf-8", "surrogateescape")


class ReplyLine(NamedTuple):
    """One line of a reply as it came, the code of the reply that it belongs to, and whether it is the last."""

    data: bytes
    code: int
    last: bool


class ReplyReader:
    """Cuts a stream into replies (RFC 959 section 4.2), however the segments fall.

    A multi-line reply begins with `nnn-` and ends with a line that begins with the same `nnn` and a space; a bare `nnn`
    is taken for `nnn ` too, and blank lines between replies are dropped, as servers in the field do both.
    """

    __slots__ = ("_buffer", "_code", "_collected", "_end", "_size")

    def __init__(self) -> None:
        """Start between two replies."""
        self._buffer = b""
        self._code = 0
        self._end = b""
        self._collected: list[bytes] = []
        self._size = 0

    def lines(self, data: bytes) -> list[ReplyLine]:
        """The lines that `data` completes; raises ProtocolError for what is no reply or a line that never ends."""
        if not self._buffer and not self._code and data[3:4] == b" " and data.find(b"\n") == len(data) - 1:
            code = data[:3]
            if code.isdigit() and b"100" <= code < b"700" and len(data) <= LONGEST_LINE_BYTES:
                return [ReplyLine(data, int(code), last=True)]  # what nearly every call is: one whole line
        found: list[ReplyLine] = []
        pieces = (self._buffer + data).split(b"\n")
        self._buffer = pieces.pop()
        for piece in pieces:
            if len(piece) >= LONGEST_LINE_BYTES:
                raise ProtocolError("The real server sent a line that is too long", reply_code=421)
            if self._code or piece.strip():
                found.append(self._line(piece + b"\n"))
        if len(self._buffer) >= LONGEST_LINE_BYTES:
            raise ProtocolError("The real server sent a line that is too long", reply_code=421)
        return found

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes; raises ProtocolError also for one larger than 1 MiB."""
        replies: list[Reply] = []
        for line in self.lines(data):
            self._collected.append(line.data)
            self._size += len(line.data)
            if self._size > LARGEST_REPLY_BYTES:
                raise ProtocolError("The real server sent a reply that is too long", reply_code=421)
            if line.last:
                replies.append(Reply(line.code, b"".join(self._collected)))
                self._collected.clear()
                self._size = 0
        return replies

    def _line(self, line: bytes) -> ReplyLine:
        code = self._code
        if code:
            last = line.startswith(self._end) and line[3:4] in b" \r\n"
        else:
            code = parse_code(line)
            last = line[3:4] != b"-"
            self._end = line[:3]
        self._code = 0 if last else code
        return ReplyLine(line, code, last)


def parse_code(line: bytes) -> int:
    """The code that a reply's first line begins with, 100 to 699 (6yz: RFC 2228); raises ProtocolError."""
    digits = line[:3]
    if len(digits) == 3 and digits.isdigit() and b"100" <= digits < b"700" and line[3:4] in b" -\r\n":
        return int(digits)
    raise ProtocolError("The real server sent what is no FTP reply", reply_code=421)


def format_reply(code: int, text: str) -> bytes:
    """One reply of one line, with its CRLF."""
    return f"{code} {text}\r\n".encode("utf-8", "surrogateescape")
