"""Verbs and arguments."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.capabilities import PLAIN
from ftpdirector.ftp.commands import ORDINARY, TRANSFERS, parse_command, printable


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"noop", b"NOOP", b""),
        (b"RETR a b", b"RETR", b"a b"),
        (b"RETR  a ", b"RETR", b" a "),
        (b"Xyz \xff", b"XYZ", b"\xff"),
        (b"RETR a\r\0b", b"RETR", b"a\r\0b"),
    ],
)
def test_verb_and_argument(line: bytes, verb: bytes, argument: bytes) -> None:
    assert parse_command(line) == (verb, argument, line)


UNCLEAR = [
    verb + behind
    for verb in (b"PASV", b"EPSV", b"PORT", b"EPRT", b"RETR", b"STOR", b"LIST", b"MODE", b"STRU", b"AUTH", b"ABOR")
    for behind in (b"\t", b"\t1,2,3", b"\0", b"\0 x", b"\x0b", b"\x0c x", b"\r\0", b"\xa0x", b"\x1b", b"\xff\xf2", b"X")
] + [
    before + verb
    for verb in (b"PASV", b"port 1,2,3,4,5,6", b"RETR f", b"MODE B", b"AUTH TLS", b"FEAT", b"REST 1")
    for before in (b" ", b"\t", b" \t ", b"\0", b"\xa0", b"\x0b", b"\xff\xff", b"+", b"1", b"@")
] + [
    b"PA\0SV", b"P\xffASV", b"PA\xff\xffSV", b"PA\xff\xf2SV", b"NOOP\0PASV", b"NOOP\r\0PASV", b"NOOP\tPASV",
    b"PWD\rPORT 10,0,0,1,4,1", b"SITE x\rPASV", b"PORTS x", b"LISTX", b"EPSV2", b"", b"?", b"NO-OP", b"NO_OP", b"P@SX",
]  # fmt: skip


@pytest.mark.parametrize("line", UNCLEAR)
def test_what_two_sides_could_read_differently_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_command(line)
    assert caught.value.reply_code == 500


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        (b"XSHA256 big file", b"XSHA256"), (b"xcrc f", b"XCRC"), (b"MLSDX", None), (b"DSIZ /", b"DSIZ"), (b"CD", b"CD"),
        (b"SITE PASV", b"SITE"), (b"XPASV", b"XPASV"), (b"ESTA", b"ESTA"), (b"\tNOOP", b"NOOP"), (b"  pwd", b"PWD"),
        (b" \t", b""), (b"P@SW", b"P@SW"), (b"SPSV", b"SPSV"), (b"NOOP \0\t\xff\x0b", b"NOOP"),
    ],
)  # fmt: skip
def test_what_is_clear_passes(line: bytes, verb: bytes | None) -> None:
    if verb is None:
        with pytest.raises(ProtocolError):
            parse_command(line)
    else:
        command = parse_command(line)
        assert (command.verb, command.line) == (verb, line)


@given(st.binary())
def test_any_bytes_are_a_command_or_a_protocol_error(line: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert parse_command(line).line == line


def test_features_that_cannot_pass_are_taken_out_and_the_rest_stays_verbatim() -> None:
    reply = (
        b"211-Features:\r\n AUTH TLS;SSL\r\n EPSV\r\n MODE B\r\n MODE Z\r\n MLST type*;size*;\r\n pbsz\r\n PROT\r\n"
        b" UTF8\n SSCN\r\n211 End\r\n"
    )
    kept = b"211-Features:\r\n EPSV\r\n MODE Z\r\n MLST type*;size*;\r\n UTF8\n211 End\r\n"
    assert PLAIN.edit_features(reply) == kept
    assert PLAIN.edit_features(kept) == kept


def test_the_log_shows_a_name_without_telnets_doubling() -> None:
    assert printable(b"a\xff\xffb").encode("utf-8", "surrogateescape") == b"a\xffb"


def test_no_verb_is_in_two_tables() -> None:
    assert not set(TRANSFERS) & ORDINARY
    assert not set(PLAIN.refused_verbs) & (ORDINARY | set(TRANSFERS))
