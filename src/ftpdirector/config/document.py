"""The tables of the cluster file and their keys, read from what `ftpdirector.model` declares with its fields.

Decoding, the JSON schema and the reference page walk these tables: no key is named here. This module knows no file
and no wording of problems.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from types import UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin, get_type_hints

from ftpdirector.model import ALL_ENGINES, Cluster, Endpoint, Engine, IPAddress, PortRange, Setting


class Kind(Enum):
    """What is written behind the `=` of a key, or below the header of a table."""

    TEXT = auto()
    NUMBER = auto()
    SWITCH = auto()
    CHOICE = auto()
    DURATION = auto()
    ADDRESS = auto()
    ADDRESSES = auto()
    PORTS = auto()
    ENDPOINT = auto()
    TABLE = auto()
    TABLES = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: how the file spells it, the field that it becomes, and what may be written."""

    name: str
    field: str
    kind: Kind
    setting: Setting
    engines: tuple[Engine, ...]
    """Who obeys it: not more than obey its table."""
    required: bool
    default: object
    choices: type[StrEnum] | None = None
    table: Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: the value that it becomes, its keys by name, and how its header is written."""

    makes: type[Any]
    about: str
    keys: dict[str, Key]
    header: str
    """`[[virtual_server.real_server]]`; empty for the top of the file."""


_KINDS: Final[dict[object, Kind]] = {
    str: Kind.TEXT,
    int: Kind.NUMBER,
    bool: Kind.SWITCH,
    float: Kind.DURATION,
    PortRange: Kind.PORTS,
    Endpoint: Kind.ENDPOINT,
}
_UNIT: Final = "_s"


def _table(makes: type[Any], path: str, header: str, engines: tuple[Engine, ...]) -> Table:
    hints = get_type_hints(makes, include_extras=True)
    keys: dict[str, Key] = {}
    for field in dataclasses.fields(makes):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            plain, setting = get_args(hint)
            key = _key(field, plain, setting, path, engines)
            keys[key.name] = key
    return Table(makes=makes, about=(makes.__doc__ or "").split("\n")[0], keys=keys, header=header)


def _key(field: dataclasses.Field[Any], hint: object, setting: Setting, path: str, engines: tuple[Engine, ...]) -> Key:
    engines = tuple(engine for engine in setting.engines if engine in engines)
    name = setting.key or field.name.removesuffix(_UNIT)
    kind, about = _kind(hint)
    is_default_given = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    below = f"{path}.{name}" if path else name
    table = None
    if kind in (Kind.TABLE, Kind.TABLES):
        header = f"[[{below}]]" if kind is Kind.TABLES else f"[{below}]"
        table = _table(cast("type[Any]", about), below, header, engines)
    return Key(
        name=name,
        field=field.name,
        kind=kind,
        setting=setting,
        engines=engines,
        required=setting.required or not is_default_given,
        default=_default(field),
        choices=cast("type[StrEnum]", about) if kind is Kind.CHOICE else None,
        table=table,
    )


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _kind(hint: object) -> tuple[Kind, object]:
    """The kind of a field's type, and the type that it is about: the choices, or the table."""
    if hint == IPAddress:
        return Kind.ADDRESS, None
    parts = [part for part in get_args(hint) if part not in (type(None), ...)]
    if get_origin(hint) is tuple:
        return (Kind.ADDRESSES, None) if parts[0] == IPAddress else (Kind.TABLES, parts[0])
    if get_origin(hint) in (Union, UnionType):
        return _kind(parts[0])  # `... | None`: the key may be left out
    if hint in _KINDS:
        return _KINDS[hint], None
    if isinstance(hint, type):
        return (Kind.CHOICE if issubclass(hint, StrEnum) else Kind.TABLE), cast("object", hint)
    raise TypeError(f"no kind of setting is known for {hint}")


def _walk(table: Table) -> Iterator[Table]:
    yield table
    for key in table.keys.values():
        if key.table:
            yield from _walk(key.table)


DOCUMENT: Final = _table(Cluster, "", "", ALL_ENGINES)
TABLES: Final = tuple(_walk(DOCUMENT))
