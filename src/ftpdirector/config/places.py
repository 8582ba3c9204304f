"""Where each key and each table of a TOML text stands: tomllib tells values only.

The text is one that tomllib has read, or would but for a mistake; so nothing is judged here. What is not understood
ends the walk, and what stands behind it has the place of the table around it. This module knows no key.
"""

from __future__ import annotations

import contextlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

Path = tuple[int | str, ...]
"""`("virtual_server", 0, "port")`: as values are reached in what tomllib returns."""

_LINE: Final = re.compile(
    r'[ \t]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*("[^"\\\n]*"|[^\s"\'\[{#]+)[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)'
)
"""Nearly every line of a cluster file: one bare key, and a value that ends on the line."""
_HEADER: Final = re.compile(r"\[\[?")
_KEY: Final = re.compile(r'[ \t]*([A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')[ \t]*')
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_REST_OF_LINE: Final = re.compile(r"[^\n]*\n?")
_SCALAR: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:\'{0,2})|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\''
    r"|[^\s,\]}#\[{\"']+(?: [0-9]{2}:[^\s,\]}#]*)?",
    re.DOTALL,
)
_LONGEST_EXCERPT: Final = 160


@dataclass(frozen=True, slots=True)
class Places:
    """Offsets of keys and of values, by path; a table's are those of its header."""

    text: str
    keys: dict[Path, int] = field(default_factory=dict[Path, int])
    values: dict[Path, int] = field(default_factory=dict[Path, int])

    def of_key(self, path: Path) -> int:
        """Where the key is written, or else the innermost table around it that is."""
        return _nearest(self.keys, path)

    def of_value(self, path: Path) -> int:
        """Where the value begins, or else the innermost table around it that is written."""
        return _nearest(self.values, path)


def _nearest(offsets: dict[Path, int], path: Path) -> int:
    for length in range(len(path), 0, -1):
        found = offsets.get(path[:length])
        if found is not None:
            return found
    return 0


def find_places(text: str) -> Places:
    """Walk over the whole text once."""
    places = Places(text)
    with contextlib.suppress(_NotUnderstood, RecursionError):
        _Walk(places).document()
    return places


class _NotUnderstood(Exception):  # noqa: N818 - no error: it ends the walk
    pass


class _Walk:
    def __init__(self, places: Places) -> None:
        self.text = places.text
        self.at = 0
        self.keys = places.keys
        self.values = places.values
        self.lengths: dict[Path, int] = {}
        """Of the lists of tables: how many headers were seen."""

    def document(self) -> None:
        table: Path = ()
        line = _LINE.match
        while self.at < len(self.text):
            if plain := line(self.text, self.at):
                path = (*table, plain[1])
                self.keys[path] = plain.start(1)
                self.values[path] = plain.start(2)
                self.at = plain.end()
                continue
            self.skip(_BLANK)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_REST_OF_LINE)

    def skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise _NotUnderstood
        self.at = found.end()
        return found[found.lastindex or 0]

    def key(self) -> Iterator[tuple[str, int]]:
        """The parts of a dotted key, each with its offset."""
        while True:
            found = _KEY.match(self.text, self.at)
            if found is None:
                raise _NotUnderstood
            self.at = found.end()
            yield _unquoted(found[1]), found.start(1)
            if not self.text.startswith(".", self.at):
                return
            self.at += 1

    def header(self) -> Path:
        start = self.at
        is_list = len(self.skip(_HEADER)) == 2
        path: Path = ()
        parts = [part for part, _ in self.key()]
        for place, part in enumerate(parts):
            path = (*path, part)
            if is_list and place == len(parts) - 1:
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                self.put(path, start)
                path = (*path, self.lengths[path] - 1)
            self.put(path, start)
        self.keys[path] = self.values[path] = start
        return path

    def put(self, path: Path, offset: int) -> None:
        self.keys.setdefault(path, offset)
        self.values.setdefault(path, offset)

    def pair(self, table: Path) -> None:
        path = table
        start = self.at
        for part, offset in self.key():
            path = (*path, part)
            self.put(path, offset)
            start = offset
        self.keys[path] = start
        if not self.text.startswith("=", self.at):
            raise _NotUnderstood
        self.at += 1
        self.value(path)

    def value(self, path: Path) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        self.values[path] = self.at
        opening = self.text[self.at : self.at + 1]
        if opening == "[":
            self.items(path)
        elif opening == "{":
            self.pairs(path)
        else:
            self.skip(_SCALAR)

    def items(self, path: Path) -> None:
        number = 0
        while self.another("]"):
            self.keys[(*path, number)] = self.at
            self.value((*path, number))
            number += 1

    def pairs(self, path: Path) -> None:
        while self.another("}"):
            self.pair(path)

    def another(self, closing: str) -> bool:
        """Step over what opens or parts the items; whether one more follows."""
        self.skip(_BLANK)
        if self.text.startswith(closing, self.at):
            self.at += 1
            return False
        self.at += 1  # the opening bracket, or a comma
        self.skip(_BLANK)
        if self.text.startswith(closing, self.at):
            self.at += 1
            return False
        return self.at < len(self.text)


def _unquoted(key: str) -> str:
    if key.startswith("'"):
        return key[1:-1]
    if not key.startswith('"'):
        return key
    with contextlib.suppress(ValueError):  # TOML has escapes that JSON has not: such a key has no place of its own
        return str(json.loads(key))
    return key


class Lines:
    """Offsets as lines and columns, both from 1."""

    def __init__(self, text: str) -> None:
        """Find the lines."""
        self._text = text
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, in characters."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line, without its end, and not too much of it."""
        start = self._starts[number - 1]
        end = self._text.find("\n", start)
        return self._text[start : end if end >= 0 else len(self._text)].rstrip("\r")[:_LONGEST_EXCERPT]

    def offset(self, line: int, column: int) -> int:
        """The offset of a line and a column; within the text, whatever they are."""
        start = self._starts[min(max(line, 1), len(self._starts)) - 1]
        return min(start + max(column, 1) - 1, len(self._text))
