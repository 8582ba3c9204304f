"""What strangers said is shown so that it neither acts on a terminal nor breaks an encoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.text import shown, shown_lines, shown_within


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"plain", "plain"),
        ("Grüße 漢字", "Grüße 漢字"),
        (b"Anmeldung ung\xfcltig", "Anmeldung ung\\xfcltig"),
        (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\x00\t\r\n\x7f", "\\x00\\t\\r\\n\\x7f"),
        ("\x85\x9b31m", "\\x85\\x9b31m"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("exe\u202egpj.\u2066\u200b\ufeff", "exe\\u202egpj.\\u2066\\u200b\\ufeff"),
        ("[/] [bold", "[/] [bold"),
        ("back\\slash", "back\\slash"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_acts_is_escaped(said: bytes | str, text: str) -> None:
    assert shown(said) == text


@given(st.one_of(st.binary(), st.text(st.characters())))
def test_it_is_one_printable_line_that_can_be_encoded_and_showing_twice_changes_nothing(said: bytes | str) -> None:
    text = shown(said)
    assert text.isprintable()
    text.encode()
    assert shown(text) == text


def test_lines_stay_and_values_are_walked() -> None:
    assert shown_lines("a\x1b\nb") == "a\\x1b\nb"
    assert shown_within({"a\udcff": ("b\x1b", 1, None, [True])}) == {"a\\xff": ["b\\x1b", 1, None, [True]]}
