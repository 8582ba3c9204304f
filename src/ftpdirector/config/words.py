"""How a place in the cluster file is called, and where a key belongs. This module knows no text of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final, cast

from ftpdirector.config.document import TABLES, Key, Kind
from ftpdirector.config.places import Path
from ftpdirector.config.syntax import UNREADABLE
from ftpdirector.config.values import visible

SURE: Final = 0.8
LIKELY: Final = 0.5


def _homes() -> dict[str, list[tuple[str, Key]]]:
    found: dict[str, list[tuple[str, Key]]] = {}
    for table in TABLES:
        for key in table.keys.values():
            found.setdefault(key.name, []).append((table.header, key))
    return found


HOMES: Final = _homes()
"""Key -> the header of each table that has it, and the key."""


def near(name: str, known: Iterable[str], cutoff: float) -> list[str]:
    """The known key that may have been meant, if there is one."""
    return get_close_matches(name.lower().replace("-", "_")[:64], list(known), n=1, cutoff=cutoff)


def belongs(homes: list[tuple[str, Key]]) -> str:
    """Where a key of other tables is to be written."""
    tables = [key.table.header for _, key in homes if key.table]
    if tables:
        return f"write {' or '.join(tables)}"
    headers = [header for header, _ in homes]
    if headers == [""]:
        return "it belongs at the top of the file, before the first table"
    return f"it belongs below {' or '.join(headers)}"


_EXAMPLES: Final = {Kind.TEXT: '"alpha"', Kind.ADDRESS: '"192.0.2.11"', Kind.ADDRESSES: '"192.0.2.10"'}


def how_to_write(key: Key) -> str:
    """A required key, by an example."""
    if key.table:
        needed = [one.name for one in key.table.keys.values() if one.required and not one.table]
        return f"write {key.table.header} with {' and '.join(needed)}"
    return f"write {key.name} = {_EXAMPLES.get(key.kind, chr(34) + '127.0.0.1:8021' + chr(34))}"


def words_of(path: Path, raw: object) -> str:
    """`virtual_server "ftp": real_server "alpha": weight`: tables of a list by their names, or else by their number."""
    parts: list[str] = []
    value: Any = raw
    for place, step in enumerate(path):
        value = _within(value, step)
        name = _within(value, "name")
        named = f' "{visible(name[:64])}"' if isinstance(name, str) and name != UNREADABLE else ""
        if isinstance(step, str):
            is_before_number = place + 1 < len(path) and isinstance(path[place + 1], int)
            parts.append(visible(step[:64]) + ("" if is_before_number else named))
        elif parts:
            parts[-1] += named or f" number {step + 1}"
    return ": ".join(parts)


_PLACE: Final = re.compile(r'([a-z_]+)(?: "([^"]*)"| number ([0-9]+))?(?:: |\Z)')


def path_of(words: str, raw: object) -> Path:
    """The way back, for a rule's place; of two tables with one name the last, as far as it is written."""
    path: Path = ()
    value: Any = raw
    for found in _PLACE.finditer(words):
        path = (*path, found[1])
        value = _within(value, found[1])
        if found[2] is not None and isinstance(value, list):
            items = cast("list[object]", value)
            numbers = [number for number, one in enumerate(items) if _within(one, "name") == found[2]]
            if not numbers:
                return path
            path = (*path, numbers[-1])
            value = items[numbers[-1]]
    return path


def _within(value: Any, step: int | str) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None
