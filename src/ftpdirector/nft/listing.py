"""The text of a table -> values: as nft lists it (`nft --stateless list table`), or as a file of ours has it.

What packets have put into dynamic sets is left out: it is neither compared nor written. This module runs no program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from ftpdirector.nft.objects import Chain, Counter, Foreign, Helper, Object, Rule, Set, Table, format_table, kind_of

_OPENS: Final = re.compile(r"((?:ct )?[a-z]+) (\S+) \{")
_QUOTED_OR_COMMENT: Final = re.compile(r'("[^"]*")|(?:^|\s)#.*$')
_QUOTED: Final = re.compile(r'"[^"]*"')


def parse_table(text: str) -> Table:
    """The objects of the one table in the text; those of other kinds as text. Raises `ValueError` without a table."""
    lines = [stripped for line in text.split("\n") if (stripped := _without_comment(line).strip())]
    start = next((place for place, line in enumerate(lines) if line.startswith("table ") and line.endswith("{")), None)
    if start is None:
        raise ValueError("there is no table in the text")
    name = lines[start].removeprefix("table ").removesuffix("{").strip()
    found = tuple(_objects(lines[start + 1 : len(lines) - 1]))
    objects = [obj for obj in found if not isinstance(obj, str)]
    return replace(_table_of(name, objects), options=tuple(option for option in found if isinstance(option, str)))


def _without_comment(line: str) -> str:
    return _QUOTED_OR_COMMENT.sub(lambda found: found[1] or "", line) if "#" in line else line


def _table_of(name: str, objects: Sequence[Object]) -> Table:
    return Table(
        name=name,
        counters=tuple(obj for obj in objects if isinstance(obj, Counter)),
        helpers=tuple(obj for obj in objects if isinstance(obj, Helper)),
        sets=tuple(obj for obj in objects if isinstance(obj, Set)),
        chains=tuple(obj for obj in objects if isinstance(obj, Chain)),
        foreign=tuple(obj for obj in objects if isinstance(obj, Foreign)),
    )


def canonical(text: str) -> str:
    """A listing in one order, one element a line: equal for equal tables, however they came to be."""
    table = parse_table(text)
    return format_table(
        replace(
            table,
            counters=tuple(sorted(table.counters, key=_place)),
            helpers=tuple(sorted(table.helpers, key=_place)),
            sets=tuple(
                sorted(
                    (replace(nft_set, elements=dict(sorted(nft_set.elements.items()))) for nft_set in table.sets),
                    key=_place,
                )
            ),
            chains=tuple(sorted(table.chains, key=_place)),
            foreign=tuple(sorted(table.foreign, key=_place)),
        )
    )


def reworded(present: Table, *, shown: Table, wanted: Table) -> Table:
    """What is present, in the words of `wanted` where nft says the same of both; `shown` is `wanted` in nft's words."""
    said = {(kind_of(obj), obj.name): obj for obj in shown.objects}
    ours = {(kind_of(obj), obj.name): obj for obj in wanted.objects}

    def word(obj: Object) -> Object:
        key = (kind_of(obj), obj.name)
        return ours[key] if key in ours and said.get(key) == obj else obj

    return _table_of(present.name, [word(obj) for obj in present.objects])


def with_elements_of(shown: Table, table: Table) -> Table:
    """The table, with the elements of its sets in the words of `shown`: what is listed elsewhere compares with them."""
    said = {nft_set.name: nft_set.elements for nft_set in shown.sets}
    return replace(
        table, sets=tuple(replace(nft_set, elements=said.get(nft_set.name, nft_set.elements)) for nft_set in table.sets)
    )


def _place(obj: Object) -> tuple[str, str]:
    return kind_of(obj), obj.name


def _objects(lines: Sequence[str]) -> Iterator[Object | str]:
    """What stands in a table; lines of no object are about the table itself."""
    place = 0
    while place < len(lines):
        opens = _OPENS.fullmatch(lines[place])
        if opens is None:
            yield lines[place]
            place += 1
            continue
        end = place + 1
        depth = 1
        while end < len(lines):
            bare = _QUOTED.sub("", lines[end])
            depth += bare.count("{") - bare.count("}")
            if depth <= 0:
                break
            end += 1
        yield _object(opens[1], opens[2], lines[place + 1 : end])
        place = end + 1


def _object(kind: str, name: str, body: Sequence[str]) -> Object:
    match kind:
        case "counter":
            return Counter(name=name)
        case "ct helper":
            words = " ".join(body).split('"')
            return Helper(name=name, protocol=words[1] if len(words) > 1 else "")
        case "chain":
            hook = body[0] if body and body[0].startswith("type ") else ""
            return Chain(name=name, hook=hook, rules=tuple(Rule(text) for text in body[bool(hook) :]))
        case "set" | "map":
            return _set(name, body)
        case _:
            return Foreign(kind=kind, name=name, body=tuple(body))


def _set(name: str, body: Sequence[str]) -> Set:
    words = dict(line.split(None, 1) for line in body if line.split(None, 1)[0] in ("type", "typeof", "size", "flags"))
    flags = tuple(words.get("flags", "").replace(" ", "").split(",")) if "flags" in words else ()
    parsed = Set(
        name=name,
        type=words.get("typeof", words.get("type", "")),
        typeof="typeof" in words,
        size=int(words.get("size", "0")),
        flags=flags,
        counts="counter" in body,
    )
    return parsed if parsed.is_dynamic else replace(parsed, elements=dict(_elements(" ".join(body))))


_COUNTED: Final = " counter"
"""How nft lists each element of a set that counts."""


def _elements(text: str) -> Iterator[tuple[str, str]]:
    listed = text.partition("elements = {")[2].rpartition("}")[0]
    for element in listed.split(","):
        # An IPv6 address has colons, but never with blanks on both sides.
        key, _, value = element.strip().removesuffix(_COUNTED).partition(" : ")
        if key:
            yield key, value
