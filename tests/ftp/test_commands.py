"""Verbs and arguments."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.commands import ORDINARY, REFUSED_VERBS, TRANSFERS, edit_features, parse_command, printable


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


@pytest.mark.parametrize("line", [b"", b" NOOP", b"PWD\rPORT 10,0,0,1,4,1", b"PWD\r"])
def test_what_a_server_could_take_for_something_else_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_command(line)
    assert caught.value.reply_code == 500


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
    assert edit_features(reply) == kept
    assert edit_features(kept) == kept


def test_the_log_shows_a_name_without_telnets_doubling() -> None:
    assert printable(b"a\xff\xffb").encode("utf-8", "surrogateescape") == b"a\xffb"


def test_no_verb_is_in_two_tables() -> None:
    assert not set(TRANSFERS) & ORDINARY
    assert not set(REFUSED_VERBS) & (ORDINARY | set(TRANSFERS))
