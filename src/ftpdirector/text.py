"""Bytes and text of strangers -> text that may be shown: in a log, on a terminal, on a page, as a metric's label.

What a real server or a client says is never trusted with a terminal or an encoder. This module knows no output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast


def shown(said: bytes | str) -> str:
    """One line of text in which nothing acts: whatever is not printable is escaped with a backslash.

    That is C0 and C1 controls, DEL, line and paragraph separators, bidirectional and other invisible formatting, and
    bytes that are not UTF-8 (surrogates, PEP 383), which show as the byte that they were. Backslashes stay as they are,
    so that showing twice changes nothing.
    """
    text = said.decode("utf-8", "surrogateescape") if isinstance(said, bytes) else said
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def shown_lines(said: bytes | str) -> str:
    """The same for text of several lines: their ends stay."""
    text = said.decode("utf-8", "surrogateescape") if isinstance(said, bytes) else said
    return "\n".join(shown(line) for line in text.split("\n"))


def shown_within(value: object) -> object:
    """The same for every string within lists, tuples and dictionaries, keys included."""
    match value:
        case str():
            return shown_lines(str(value))
        case dict():
            table = cast("dict[object, object]", value)
            return {shown_within(key): shown_within(one) for key, one in table.items()}
        case list() | tuple():
            return [shown_within(one) for one in cast("Sequence[object]", value)]
        case _:
            return value


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte that was not UTF-8
    return char.encode("unicode_escape").decode("ascii")
