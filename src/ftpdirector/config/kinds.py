"""What each kind of key takes, and what it says to anything else. This module knows no key and no place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Final, cast

from ftpdirector.config.document import Key, Kind
from ftpdirector.config.places import Path
from ftpdirector.config.values import parse_address, parse_duration, parse_endpoint, parse_port_range
from ftpdirector.model import IPAddress, Setting

_LIKELY: Final = 0.5


class Wrong(Exception):  # noqa: N818 - a value to be told of, not an error of the program
    """A value that cannot be: what would be right, and which part of it is meant."""

    def __init__(self, remedy: str, *, rule: str = "value", what: str = "", below: Path = ()) -> None:
        """Keep them; `what` is "" for the usual words."""
        super().__init__(remedy)
        self.remedy = remedy
        self.rule = rule
        self.what = what
        self.below = below


def _parsed(parse: Callable[[object], object]) -> Callable[[Key, object], object]:
    def decode(_: Key, raw: object) -> object:
        try:
            return parse(raw)
        except ValueError as error:
            raise Wrong(str(error)) from None

    return decode


def _duration(key: Key, raw: object) -> float:
    try:
        value_s = parse_duration(raw)
    except ValueError as error:
        raise Wrong(str(error)) from None
    _bound(key.setting, value_s)
    return value_s


def _addresses(_: Key, raw: object) -> tuple[IPAddress, ...]:
    if not isinstance(raw, list):
        return (cast("IPAddress", DECODE[Kind.ADDRESS](_, raw)),)
    several = cast("list[object]", raw)
    if not several:
        raise Wrong("name at least one", what="is empty")
    found: list[IPAddress] = []
    for number, one in enumerate(several):
        try:
            found.append(parse_address(one))
        except ValueError as error:
            raise Wrong(str(error), below=(number,)) from None
    return tuple(found)


def _number(key: Key, raw: object) -> int:
    if type(raw) is not int:
        raise Wrong("write a whole number without quotation marks", rule="type")
    _bound(key.setting, raw)
    return raw


def _bound(setting: Setting, value: float) -> None:
    if setting.at_least is not None and value < setting.at_least:
        raise Wrong(f"write at least {setting.at_least}")
    if setting.more_than is not None and value <= setting.more_than:
        raise Wrong(f"write more than {setting.more_than:g}")
    if setting.at_most is not None and value > setting.at_most:
        raise Wrong(f"write at most {setting.at_most}")


def _switch(_: Key, raw: object) -> bool:
    if not isinstance(raw, bool):
        raise Wrong("write true or false, without quotation marks", rule="type")
    return raw


def _text(key: Key, raw: object) -> str:
    setting = key.setting
    if setting.one_of:
        if not isinstance(raw, str) or raw not in setting.one_of:
            raise Wrong(choose(raw, setting.one_of))
        return raw
    if not isinstance(raw, str):
        raise Wrong("write a text in quotation marks", rule="type")
    if setting.pattern and not re.fullmatch(setting.pattern, raw):
        raise Wrong("use letters, digits, '.', '_' and '-', at most 64", rule="name")
    if len(raw) < setting.shortest:
        raise Wrong("write something, or leave the key out", what="is empty")
    if setting.longest is not None and len(raw) > setting.longest:
        raise Wrong(f"write at most {setting.longest} characters")
    return raw


def _choice(key: Key, raw: object) -> object:
    choices = key.choices
    if choices is None or not isinstance(raw, str) or raw not in choices._value2member_map_:
        raise Wrong(choose(raw, [one.value for one in choices or ()]))
    return choices(raw)


def choose(raw: object, choices: Sequence[str]) -> str:
    """What to write instead of what is none of the choices."""
    if isinstance(raw, str) and raw.strip().lower() in choices:
        small = raw.strip().lower()
        return f'write "{small}", {"in small letters" if small != raw.strip() else "without blanks"}'
    quoted = [f'"{one}"' for one in choices]
    near = get_close_matches(raw.lower(), choices, n=1, cutoff=_LIKELY) if isinstance(raw, str) else []
    asked = f'; did you mean "{near[0]}"?' if near else ""
    return f"write {', '.join(quoted[:-1])} or {quoted[-1]}{asked}"


DECODE: Final[dict[Kind, Callable[[Key, object], object]]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.SWITCH: _switch,
    Kind.CHOICE: _choice,
    Kind.DURATION: _duration,
    Kind.ADDRESS: _parsed(parse_address),
    Kind.ADDRESSES: _addresses,
    Kind.PORTS: _parsed(parse_port_range),
    Kind.ENDPOINT: _parsed(parse_endpoint),
}
