"""Values of TOML -> a Cluster, as far as they are right; and every one that is not, with what would be right.

What cannot be decoded is left out of the value that it belongs to: reading such a field raises AttributeError, so that
no rule judges by what is not known. Only a Cluster without findings leaves `ftpdirector.config`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, cast

from ftpdirector.config.document import DOCUMENT, Key, Kind, Table
from ftpdirector.config.kinds import DECODE, Wrong, choose
from ftpdirector.config.places import Path
from ftpdirector.config.syntax import UNREADABLE
from ftpdirector.config.values import shown
from ftpdirector.config.words import HOMES, LIKELY, SURE, belongs, how_to_write, near
from ftpdirector.model import (
    ALL_ENGINES,
    IPVS_SCHEDULERS,
    PROXY_SCHEDULERS,
    Cluster,
    Engine,
    Placement,
    VirtualServer,
)

FORM_RULES: Final = {
    "readable": "The file can be read.",
    "size": "The file is not larger than 16 MiB.",
    "utf-8": "The file is UTF-8.",
    "empty": "The file says something.",
    "toml": "The file is TOML.",
    "unknown-key": "Keys are those of the cluster file, each in its table.",
    "missing-key": "What has no default is written.",
    "brackets": "A table of which there may be several has two brackets, any other one.",
    "type": "A value is of the key's type.",
    "value": "A value is one that the key can have.",
    "name": "Names are short and plain.",
}
"""What is looked at before the rules across fields; each is a problem."""
IGNORED: Final = "key-not-of-this-engine"
FORM_WARNINGS: Final = {
    "byte-order-mark": "The file begins with its first line.",
    IGNORED: "The engine obeys every key that is written.",
}

_PERSISTENCE_S: Final = 900.0
_IPV4_BITS: Final = 32


class Aim(Enum):
    """What of a key a finding points to."""

    KEY = auto()
    VALUE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing that is wrong, at a path in the values of the file."""

    path: Path
    aim: Aim
    what: str
    remedy: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What could be decoded, what could not, and what the engine ignores."""

    cluster: Cluster
    mistakes: tuple[Mistake, ...]
    ignored: tuple[Mistake, ...]
    hurt: frozenset[int]
    """The numbers of virtual servers in which something could not be decoded."""


def read(raw: dict[str, Any], *, is_broken: bool) -> Decoded:
    """Decode what tomllib returned; `is_broken`: some lines were set aside."""
    reader = _Reader(is_broken=is_broken)
    cluster = cast("Cluster", reader.table(DOCUMENT, raw, ()))
    return Decoded(
        cluster=cluster,
        mistakes=tuple(reader.mistakes),
        ignored=tuple(reader.ignored()),
        hurt=frozenset(reader.hurt),
    )


class _Set(Exception):  # noqa: N818 - the line was set aside, and told of
    pass


class _Reader:
    def __init__(self, *, is_broken: bool) -> None:
        self.is_broken = is_broken
        self.mistakes: list[Mistake] = []
        self.hurt: set[int] = set()
        self.engine: Engine | None = None
        self.misplaced: set[str] = set()
        self.bounded: list[tuple[Path, Key]] = []
        """Keys that are written, and that not every engine obeys."""

    # Tables

    def table(self, table: Table, raw: dict[str, Any], path: Path) -> object:
        """The value of a table, with nothing in the place of what cannot be decoded."""
        strange = [name for name in raw if name not in table.keys]
        if self.is_broken:
            strange = [name for name in strange if not name.startswith(UNREADABLE)]
        unsure = {self.unknown(table, raw, name, path) for name in strange}
        fields: dict[str, object] = {}
        for name, key in table.keys.items():
            if name in raw:
                self.known(key, raw[name], (*path, name), fields)
            elif name in unsure:
                self.hurts(path)
            elif key.required:
                self.missing(key, path)
            else:
                fields[key.field] = key.default
            if key.field == "engine" and table is DOCUMENT:
                self.engine = cast("Engine | None", fields.get("engine"))
        if table.makes is VirtualServer:
            self.persistence(raw, fields)
        return _made(table, fields)

    def known(self, key: Key, raw: object, path: Path, fields: dict[str, object]) -> None:
        if key.engines != ALL_ENGINES:
            self.bounded.append((path, key))
        try:
            fields[key.field] = self.value(key, raw, path)
        except _Set:
            self.hurts(path)
        except Wrong as wrong:
            found = raw if not wrong.below else cast("Any", raw)[wrong.below[0]]
            what = wrong.what or f"{shown(found)} cannot be used"
            self.mistake((*path, *wrong.below), Aim.VALUE, what, wrong.remedy, wrong.rule)

    def value(self, key: Key, raw: object, path: Path) -> object:
        if self.is_broken and raw == UNREADABLE:
            raise _Set
        if key.kind is Kind.TABLE:
            return self.one_table(key, raw, path)
        if key.kind is Kind.TABLES:
            return self.list_of_tables(key, raw, path)
        if key.field == "scheduler" and self.engine not in (None, Engine.IPVS) and raw not in IPVS_SCHEDULERS:
            raise Wrong(choose(raw, PROXY_SCHEDULERS))
        return DECODE[key.kind](key, raw)

    def one_table(self, key: Key, raw: object, path: Path) -> object:
        table = cast("Table", key.table)
        if isinstance(raw, list) and raw and all(isinstance(one, dict) for one in cast("list[object]", raw)):
            several = cast("list[dict[str, Any]]", raw)
            self.mistake(
                path, Aim.KEY, f"[[{table.header[1:-1]}]] has two brackets", f"write {table.header}", "brackets"
            )
            return self.table(table, several[0], (*path, 0))
        if not isinstance(raw, dict):
            raise Wrong(f"write {table.header}, and its keys below", rule="type")
        return self.table(table, cast("dict[str, Any]", raw), path)

    def list_of_tables(self, key: Key, raw: object, path: Path) -> object:
        table = cast("Table", key.table)
        if isinstance(raw, dict):
            self.mistake(
                path,
                Aim.KEY,
                f"[{table.header[2:-2]}] has one bracket",
                f"write {table.header}: there may be several",
                "brackets",
            )
            return (self.table(table, cast("dict[str, Any]", raw), path),)
        if not isinstance(raw, list) or not all(isinstance(one, dict) for one in cast("list[object]", raw)):
            raise Wrong(f"write {table.header}, and its keys below", rule="type")
        several = cast("list[dict[str, Any]]", raw)
        if not several and key.required:
            raise Wrong("name at least one", what="is empty")
        return tuple(self.table(table, one, (*path, number)) for number, one in enumerate(several))

    def persistence(self, raw: dict[str, Any], fields: dict[str, object]) -> None:
        """The one default that depends on other keys, and the one key that is two fields."""
        if "persistence_timeout" not in raw:
            fields.pop("persistence_timeout_s", None)
            if self.engine is not None and "placement" in fields:
                by_placement = fields["placement"] is Placement.PERSISTENCE and self.engine is not Engine.PROXY
                fields["persistence_timeout_s"] = _PERSISTENCE_S if by_placement else 0.0
        granularity = fields.get("persistence_granularity_v6")
        if isinstance(granularity, int):
            # A prefix longer than an IPv4 address is meant for IPv6 only.
            fields["persistence_granularity_v4"] = min(granularity, _IPV4_BITS)

    # Findings

    def mistake(self, path: Path, aim: Aim, what: str, remedy: str, rule: str) -> None:
        self.hurts(path)
        self.mistakes.append(Mistake(path=path, aim=aim, what=what, remedy=remedy, rule=rule))

    def hurts(self, path: Path) -> None:
        if path[:1] == ("virtual_server",):
            number = path[1] if len(path) > 1 else 0
            self.hurt.add(number if isinstance(number, int) else 0)

    def missing(self, key: Key, path: Path) -> None:
        self.hurts(path)
        if key.name in self.misplaced:
            return  # told where it stands, and where it belongs
        self.mistake((*path, key.name), Aim.KEY, "is missing", how_to_write(key), "missing-key")

    def unknown(self, table: Table, raw: dict[str, Any], name: str, path: Path) -> str:
        """Tell of a key that is none; the one that may have been meant, "" if none that is not written."""
        homes = HOMES.get(name.lower(), []) if name.lower() not in table.keys else []
        close = near(name, table.keys, SURE if homes else LIKELY)
        if any(key.table for _, key in homes):
            close = []  # a table of its own name in another place, not a table of this place by another name
        if close:
            remedy = f'did you mean "{close[0]}"?' + (f" {name}: {belongs(homes)}" if homes else "")
        elif homes:
            self.misplaced |= {key.name for _, key in homes if key.table}
            remedy = belongs(homes)
        else:
            far = near(name, HOMES, SURE)
            remedy = (
                f'did you mean "{far[0]}"? {belongs(HOMES[far[0]])}' if far else f"known here: {', '.join(table.keys)}"
            )
        self.mistakes.append(
            Mistake(
                path=(*path, name),
                aim=Aim.KEY,
                what="is not a key of the cluster file" if not homes or close else "does not belong here",
                remedy=remedy,
                rule="unknown-key",
            )
        )
        return close[0] if close and close[0] not in raw else ""

    def ignored(self) -> list[Mistake]:
        """What is written, and means nothing to the engine; of a table once, not of each key in it."""
        if self.engine is None:
            return []
        found: list[Mistake] = []
        tables: set[Path] = set()
        for path, key in self.bounded:
            if self.engine in key.engines or any(path[:length] in tables for length in range(1, len(path))):
                continue
            tables.add(path)
            others = " or ".join(f'"{one}"' for one in key.engines)
            found.append(
                Mistake(
                    path=path,
                    aim=Aim.KEY,
                    what=f'engine "{self.engine}" ignores it',
                    remedy=f"remove it, or use engine {others}",
                    rule=IGNORED,
                )
            )
        return found


def _made(table: Table, fields: dict[str, object]) -> object:
    if len(fields) == len(_fields(table.makes)):
        return table.makes(**fields)
    value = object.__new__(table.makes)
    for name, one in fields.items():
        object.__setattr__(value, name, one)
    return value


def _fields(makes: type[Any]) -> Sequence[str]:
    return cast("Sequence[str]", makes.__slots__)
