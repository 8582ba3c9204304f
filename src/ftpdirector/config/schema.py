"""The JSON schema of the cluster file, from the tables that decode it. This module knows no rule across fields."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from ftpdirector.config.document import DOCUMENT, TABLES, Key, Kind, Table
from ftpdirector.config.values import spelled
from ftpdirector.model import ALL_ENGINES


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the file as TOML tables."""
    choices = [key.choices for table in TABLES for key in table.keys.values() if key.choices]
    definitions = {one.__name__: _choice(one) for one in choices}
    definitions |= {_name(table): _object(table) | {"title": _name(table)} for table in TABLES if table is not DOCUMENT}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ftpdirector cluster file",
        "$defs": dict(sorted(definitions.items())),
        **_object(DOCUMENT),
    }


def _name(table: Table) -> str:
    last = table.header.strip("[]").rpartition(".")[2]
    return f"{last.title().replace('_', '')}Table"


def _choice(choices: type[StrEnum]) -> dict[str, Any]:
    return {
        "description": choices.__doc__,
        "enum": [one.value for one in choices],
        "title": choices.__name__,
        "type": "string",
    }


def _object(table: Table) -> dict[str, Any]:
    required = [key.name for key in table.keys.values() if key.required]
    return {
        "additionalProperties": False,
        "description": table.about,
        "properties": {key.name: _property(key) for key in table.keys.values()},
        **({"required": required} if required else {}),
        "type": "object",
    }


def _property(key: Key) -> dict[str, Any]:
    about = key.setting.help or (key.table.about if key.table else "")
    if key.engines != ALL_ENGINES:
        about = f"{', '.join(key.engines)}: {about}"
    said = {"description": about, **_type(key)}
    if key.kind not in (Kind.TABLE, Kind.TABLES) and not key.setting.default_depends and key.default not in (None, ()):
        said["default"] = key.default if key.kind in (Kind.NUMBER, Kind.SWITCH) else spelled(key.default)
    return said


def _type(key: Key) -> dict[str, Any]:
    match key.kind:
        case Kind.TEXT:
            return _text(key)
        case Kind.NUMBER:
            bounds = {"minimum": key.setting.at_least, "maximum": key.setting.at_most}
            return {"type": "integer", **{name: bound for name, bound in bounds.items() if bound is not None}}
        case Kind.SWITCH:
            return {"type": "boolean"}
        case Kind.CHOICE:
            assert key.choices  # noqa: S101 - a key of this kind has them
            return {"$ref": f"#/$defs/{key.choices.__name__}"}
        case Kind.DURATION | Kind.ADDRESS | Kind.PORTS | Kind.ENDPOINT:
            return {"type": "string"}
        case Kind.ADDRESSES:
            several = {"type": "array", "items": {"type": "string"}, "minItems": 1}
            return {"anyOf": [{"type": "string"}, several]}
        case Kind.TABLE:
            return _reference(key)
        case Kind.TABLES:
            return {"type": "array", "items": _reference(key), **({"minItems": 1} if key.required else {})}


def _text(key: Key) -> dict[str, Any]:
    rest: dict[str, Any] = {}
    if key.setting.pattern:
        rest["pattern"] = f"^{key.setting.pattern}$"
    if key.setting.one_of:
        rest["enum"] = list(key.setting.one_of)
    if key.setting.shortest:
        rest["minLength"] = key.setting.shortest
    if key.setting.longest is not None:
        rest["maxLength"] = key.setting.longest
    return {"type": "string", **rest}


def _reference(key: Key) -> dict[str, Any]:
    assert key.table  # noqa: S101 - a key of this kind has one
    return {"$ref": f"#/$defs/{_name(key.table)}"}
