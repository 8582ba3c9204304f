"""Replies of a real server, however the segments fall."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.errors import ProtocolError
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


@pytest.mark.parametrize(
    "data",
    [b"hello\r\n", b"22 a\r\n", b"2200 a\r\n", b"020 a\r\n", b"720 a\r\n", b"SSH-2.0\r\n", b"\xb2\xb2\xb2 a\r\n"],
)
def test_what_is_no_reply_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        ReplyReader().feed(data)
    assert caught.value.reply_code == 421


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_line_too_long_is_a_protocol_error(end: bytes) -> None:
    with pytest.raises(ProtocolError):
        ReplyReader().feed(b"220 " + b"a" * LONGEST_LINE_BYTES + end)


def test_a_reply_too_large_is_a_protocol_error_but_its_lines_may_stream() -> None:
    line = b"220-" + b"a" * 10000 + b"\r\n"
    count = LARGEST_REPLY_BYTES // len(line) + 1
    with pytest.raises(ProtocolError):
        ReplyReader().feed(line * count)
    assert len(ReplyReader().lines(line * count)) == count


@given(st.binary())
def test_any_bytes_are_replies_or_a_protocol_error(data: bytes) -> None:
    try:
        replies = ReplyReader().feed(data)
    except ProtocolError:
        return
    assert all(100 <= reply.code < 700 for reply in replies)


@given(st.integers(100, 699), st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])))
def test_what_is_written_is_read(code: int, text: str) -> None:
    data = format_reply(code, text)
    assert ReplyReader().feed(data + b"2") == [Reply(code, data)]
