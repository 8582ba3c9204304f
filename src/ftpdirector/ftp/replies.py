"""A real server's bytes turned into replies, as leniently as clients do, and replies turned into bytes.

What is not understood is a line without a code, to be passed on: it never ends a session, and it is bounded.
This module knows no command and no order of replies.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ftpdirector.ftp.lines import IAC, without_telnet

LONGEST_LINE_BYTES: Final = 16384
"""What is longer is handed on in pieces."""
LARGEST_REPLY_BYTES: Final = 1 << 20
"""Of a reply that is collected; what comes behind it is left out, but for its last line."""


class Reply(NamedTuple):
    """A whole reply: its code, and its bytes as they came, line ends included."""

    code: int
    data: bytes

    @property
    def text(self) -> str:
        """The reply for people and logs; bytes that are not UTF-8 survive as surrogates."""
        return self.data.rstrip().decode("utf-8", "surrogateescape")


class ReplyLine(NamedTuple):
    """A line of a reply, or a piece of a very long one, as it came."""

    data: bytes
    code: int
    """Of the reply that it belongs to; 0 for a line between replies that has none."""
    last: bool
    other: int = 0
    """Inside a reply of several lines: this one looks like the last one, but of another code."""


class ReplyParts:
    """The lines of one reply, as many as are kept, and its last one: whoever reads it waits for that."""

    __slots__ = ("_lines", "_size")

    def __init__(self) -> None:
        """Nothing yet."""
        self._lines: list[bytes] = []
        self._size = 0

    def __bool__(self) -> bool:
        """Whether a reply has begun."""
        return bool(self._lines)

    def add(self, line: ReplyLine) -> None:
        """A line, or a piece of a very long one."""
        self._size += len(line.data)
        if line.last:
            if self._lines and not self._lines[-1].endswith(b"\n") and code_of(line.data):
                self._lines.append(b"\r\n")  # The rest of a very long line was left out.
            self._lines.append(line.data)
        elif self._size <= LARGEST_REPLY_BYTES:
            self._lines.append(line.data)

    def take(self) -> list[bytes]:
        """The reply is whole."""
        lines, self._lines, self._size = self._lines, [], 0
        return lines


class ReplyReader:
    """Cuts a stream into replies (RFC 959 section 4.2), however the segments fall.

    A reply of several lines begins with `nnn-` and ends with a line that begins with the same `nnn` and a space. As
    clients do, a bare `nnn`, and one with a TAB or anything else but a digit behind it, is taken for `nnn ` too, and
    blank lines between replies are dropped. ProFTPD may say Telnet's DONT in front of a reply.
    """

    __slots__ = ("_buffer", "_code", "_end", "_long", "_parts", "uncoded")

    def __init__(self) -> None:
        """Start between two replies."""
        self.uncoded = b""
        """The first line without a code that `feed` left out."""
        self._buffer = b""
        self._code = 0
        self._end = b""
        self._long: ReplyLine | None = None
        self._parts = ReplyParts()

    def lines(self, data: bytes) -> list[ReplyLine]:
        """The lines that `data` completes, and pieces of one that is too long to be kept."""
        if not self._buffer and not self._code and data[3:4] == b" " and data.find(b"\n") == len(data) - 1:
            code = data[:3]
            if code.isdigit() and b"100" <= code < b"700" and self._long is None:
                return [ReplyLine(data, int(code), True)]  # noqa: FBT003  what nearly every call is: one whole line
        found: list[ReplyLine] = []
        pieces = (self._buffer + data).split(b"\n")
        self._buffer = pieces.pop()
        for piece in pieces:
            if self._long is not None:
                found.append(self._long._replace(data=piece + b"\n"))
                self._long = None
            elif self._code or piece.strip():
                found.append(self._line(piece + b"\n"))
        if len(self._buffer) >= LONGEST_LINE_BYTES:
            if self._long is None:
                self._long = self._line(self._buffer)
            found.append(ReplyLine(self._buffer, self._long.code, last=False))
            self._buffer = b""
        return found

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes; lines without a code are left out."""
        replies: list[Reply] = []
        for line in self.lines(data):
            if not line.code:
                self.uncoded = self.uncoded or line.data[:LONGEST_LINE_BYTES]
                continue
            self._parts.add(line)
            if line.last:
                replies.append(Reply(line.code, b"".join(self._parts.take())))
        return replies

    def end_here(self) -> None:
        """The line that had another code was the last of its reply, after all."""
        self._code = 0

    def flush(self) -> list[ReplyLine]:
        """The stream has ended: what stands behind the last line end, as a line."""
        return self.lines(b"\r\n") if self._buffer else []

    def _line(self, line: bytes) -> ReplyLine:
        code = self._code
        other = 0
        if code:
            last = line.startswith(self._end) and line[3:4] in b" \t\r\n"
            if not last and line[3:4] == b" ":
                other = code_of(line)
                other = 0 if other == code else other
        else:
            begins = line if line[:1] != IAC else without_telnet(line)
            code = code_of(begins)
            if not code:
                return ReplyLine(line, 0, last=True)
            last = begins[3:4] != b"-"
            self._end = begins[:3]
        self._code = 0 if last else code
        return ReplyLine(line, code, last, other)


def code_of(line: bytes) -> int:
    """The code that a reply's first line begins with, 100 to 699 (6yz: RFC 2228); 0 when it has none."""
    digits, follower = line[:3], line[3:4]
    if len(digits) < 3 or not digits.isdigit() or not b"100" <= digits < b"700" or follower.isdigit():
        return 0
    if follower.isalpha() and digits < b"200":
        return 0  # "100users are here" is prose; "200OK" is a reply that clients understand
    return int(digits)


def format_reply(code: int, text: str) -> bytes:
    """One reply of one line, with its CRLF."""
    return f"{code} {text}\r\n".encode("utf-8", "surrogateescape")
