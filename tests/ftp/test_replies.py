"""Replies of a real server, however the segments fall."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.ftp.replies import LARGEST_REPLY_BYTES, LONGEST_LINE_BYTES, Reply, ReplyReader, format_reply

CASES = [
    ("one line", b"220 Hello\r\n", [(220, b"220 Hello\r\n")]),
    ("bare LF", b"220 Hello\n", [(220, b"220 Hello\n")]),
    ("no text", b"220 \r\n", [(220, b"220 \r\n")]),
    ("no space either", b"220\r\n", [(220, b"220\r\n")]),
    ("two and a half", b"150 Go\r\n226 Done\r\n22", [(150, b"150 Go\r\n"), (226, b"226 Done\r\n")]),
    ("many lines", b"220-a\r\nb\r\n220 c\r\n", [(220, b"220-a\r\nb\r\n220 c\r\n")]),
    (
        "lines inside that look like replies",
        b"211-a\r\n226 b\r\n 211 c\r\n211-d\r\n2110\r\n211 e\r\n",
        [(211, b"211-a\r\n226 b\r\n 211 c\r\n211-d\r\n2110\r\n211 e\r\n")],
    ),
    ("a last line without its space", b"220-a\r\n220\r\n", [(220, b"220-a\r\n220\r\n")]),
    ("an empty line inside", b"220-a\r\n\r\n220 b\r\n", [(220, b"220-a\r\n\r\n220 b\r\n")]),
    ("an empty line between", b"220 a\r\n\r\n221 b\r\n", [(220, b"220 a\r\n"), (221, b"221 b\r\n")]),
    ("8-bit text", b'257 "\xe9\xff"\r\n', [(257, b'257 "\xe9\xff"\r\n')]),
]


@pytest.mark.parametrize(("name", "data", "replies"), CASES, ids=[case[0] for case in CASES])
def test_whole_and_byte_by_byte(name: str, data: bytes, replies: list[tuple[int, bytes]]) -> None:
    assert ReplyReader().feed(data) == replies
    reader = ReplyReader()
    assert [reply for i in range(len(data)) for reply in reader.feed(data[i : i + 1])] == replies


LONG_INSIDE = b"211-\r\n" + b"x" * 40000 + b"\r\n211 .\r\n"
LENIENT = [
    ("no text, a TAB", b"250\tok\r\n", [(250, b"250\tok\r\n")]),
    ("no space", b"200OK\r\n", [(200, b"200OK\r\n")]),
    ("a dot behind the code", b"200. fine\r\n", [(200, b"200. fine\r\n")]),
    ("a line without a code before", b"warning: no motd\r\n250 ok\r\n", [(250, b"250 ok\r\n")]),
    ("prose that begins with a number", b"100users\r\n2500 x\r\n020 a\r\n720 a\r\n230 a\r\n", [(230, b"230 a\r\n")]),
    ("a last line with a TAB", b"220-a\r\n220\tb\r\n", [(220, b"220-a\r\n220\tb\r\n")]),
    ("a long line", b"200 " + b"x" * 20000 + b"\r\n", [(200, b"200 " + b"x" * 20000 + b"\r\n")]),
    ("Telnet in front", b"\xff\xfe\x01500 What\r\n", [(500, b"\xff\xfe\x01500 What\r\n")]),
    ("a long line inside", LONG_INSIDE, [(211, LONG_INSIDE)]),
    ("a long line without a code", b"x" * 40000 + b"\r\n211 .\r\n", [(211, b"211 .\r\n")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "replies"), LENIENT, ids=[case[0] for case in LENIENT])
def test_as_leniently_as_clients_read_them(name: str, data: bytes, replies: list[tuple[int, bytes]]) -> None:
    assert ReplyReader().feed(data) == replies
    reader = ReplyReader()
    assert [reply for i in range(len(data)) for reply in reader.feed(data[i : i + 1])] == replies


@pytest.mark.parametrize(
    "data", [b"hello\r\n", b"SSH-2.0\r\n", b"HTTP/1.1 400\r\n", b"\xb2\xb2\xb2 a\r\n", b"22 a\r\n"]
)
def test_what_is_no_reply_is_a_line_without_a_code(data: bytes) -> None:
    assert [(line.data, line.code) for line in ReplyReader().lines(data)] == [(data, 0)]
    reader = ReplyReader()
    assert reader.feed(data) == []
    assert reader.uncoded == data


def test_the_last_line_may_have_another_code() -> None:
    """glftpd: `553- Directory excluded` and then 150."""
    reader = ReplyReader()
    lines = reader.lines(b"553-\r\n553- Excluded\r\n150 Opening\r\n")
    assert [(line.code, line.last, line.other) for line in lines] == [
        (553, False, 0),
        (553, False, 0),
        (553, False, 150),
    ]
    reader.end_here()
    assert reader.feed(b"226 ok\r\n") == [(226, b"226 ok\r\n")]


def test_what_stands_behind_the_last_line_end_is_a_line_when_nothing_follows() -> None:
    reader = ReplyReader()
    assert reader.lines(b"221-Bye\r\n221 In 5 s") == [(b"221-Bye\r\n", 221, False, 0)]
    assert reader.flush() == [(b"221 In 5 s\r\n", 221, True, 0)]
    assert reader.flush() == []


def test_no_line_and_no_reply_is_kept_beyond_its_bound() -> None:
    reader = ReplyReader()
    for _ in range(200):
        reader.feed(b"220-" + b"a" * LONGEST_LINE_BYTES)
        assert len(reader._buffer) <= LONGEST_LINE_BYTES
    [reply] = reader.feed(b"\r\n220 b\r\n")
    assert len(reply.data) <= LARGEST_REPLY_BYTES + len(b"\r\n220 b\r\n")
    assert reply.data.endswith(b"a\r\n220 b\r\n"), "clients wait for the last line"


@given(st.binary())
def test_any_bytes_are_replies_or_lines_without_a_code(data: bytes) -> None:
    assert all(100 <= reply.code < 700 for reply in ReplyReader().feed(data))


@given(st.integers(100, 699), st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])))
def test_what_is_written_is_read(code: int, text: str) -> None:
    data = format_reply(code, text)
    assert ReplyReader().feed(data + b"2") == [Reply(code, data)]
