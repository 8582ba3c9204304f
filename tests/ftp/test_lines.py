"""Lines of a client, however the segments fall."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.ftp.lines import LONGEST_LINE_BYTES, LineReader, Synched

WILD = bytes(b for n in range(256) if n != 10 for b in (97, 255, n))
CASES = [
    ("one line", b"NOOP\r\n", [b"NOOP"]),
    ("bare LF", b"NOOP\n", [b"NOOP"]),
    ("two at once, and the beginning of a third", b"PWD\r\nNOOP\nQU", [b"PWD", b"NOOP"]),
    ("an empty line", b"\r\n", [b""]),
    ("a carriage return inside stays", b"RETR a\r\0b\r\n", [b"RETR a\r\0b"]),
    ("Synch in front of ABOR", b"\xff\xf4\xff\xf2ABOR\r\n", [b"ABOR"]),
    ("Synch whose Data Mark was lost", b"\xff\xf4\xffABOR\r\n", [b"ABOR"]),
    ("Synch of which urgent data was lost", b"\xf4\xffABOR\r\n\xf2ABOR\r\n", [b"ABOR", b"ABOR"]),
    ("IP alone", b"\xff\xf4STAT\r\n", [b"STAT"]),
    ("a negotiation is skipped with its option", b"\xff\xfd\x06NOOP\r\n", [b"NOOP"]),
    ("a doubled 0xFF is a name's, and stays as on the wire", b"RETR \xff\xffa\r\n", [b"RETR \xff\xffa"]),
    ("a single 0xFF inside a name stays too", b"RETR \xffa\r\n", [b"RETR \xffa"]),
    ("a single 0xFF at a name's end", b"RETR a\xff\r\n", [b"RETR a\xff"]),
    ("a name in Windows-1251", "STOR дядярф\n".encode("cp1251"), ["STOR дядярф".encode("cp1251")]),
    ("0xFF before every byte", bytes(b for n in range(256) if n != 10 for b in (97, 255, n)) + b"\n", [WILD]),
    ("a single 0xFF in front of a verb is no Telnet", b"\xffPASV\r\n", [b"\xffPASV"]),
    ("CR CR LF", b"NOOP\r\r\n", [b"NOOP"]),
    ("a negotiation that the line's end cuts short", b"\xff\xfd\nNOOP\n", [b"", b"NOOP"]),
    ("Telnet's doubled 0xFF is no command", b"\xff\xffPASV\r\n", [b"\xff\xffPASV"]),
    ("8-bit and UTF-8 names", "RETR grüße\r\n".encode() + b"RETR \xe9\r\n", ["RETR grüße".encode(), b"RETR \xe9"]),
    ("Telnet between two lines", b"PWD\r\n\xff\xf2ABOR\r\n", [b"PWD", b"ABOR"]),
    ("a line too long is dropped whole", b"a" * 9000 + b"\r\nNOOP\r\n", [None, b"NOOP"]),
    ("a line as long as may be", b"a" * 8190 + b"\r\n", [b"a" * 8190]),
]


@pytest.mark.parametrize(("name", "data", "lines"), CASES, ids=[case[0] for case in CASES])
def test_whole_and_byte_by_byte(name: str, data: bytes, lines: list[bytes | None]) -> None:
    assert LineReader().feed(data) == lines
    reader = LineReader()
    assert [line for i in range(len(data)) for line in reader.feed(data[i : i + 1])] == lines


@given(st.lists(st.binary(max_size=200)))
def test_where_the_segments_fall_changes_nothing(segments: list[bytes]) -> None:
    reader = LineReader()
    assert [line for segment in segments for line in reader.feed(segment)] == LineReader().feed(b"".join(segments))


def test_a_line_knows_whether_a_synch_stood_before_it() -> None:
    lines = LineReader().feed(b"\xff\xf4\xff\xf2ABOR\r\nABOR\r\n\xff\xfd\x06ABOR\r\n")
    assert [isinstance(line, Synched) for line in lines] == [True, False, False]


def test_a_line_that_never_ends_is_not_kept() -> None:
    reader = LineReader()
    for _ in range(100):
        assert reader.feed(b"a" * LONGEST_LINE_BYTES) == []
        assert len(reader._buffer) <= LONGEST_LINE_BYTES
    assert reader.feed(b"\nNOOP\n") == [None, b"NOOP"]
