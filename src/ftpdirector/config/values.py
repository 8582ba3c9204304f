"""Values of the cluster file as texts: `15m`, `192.0.2.10`, `10000-20000` and back. This module knows no key."""

from __future__ import annotations

import json
import re
from datetime import date, time
from ipaddress import ip_address, ip_network
from typing import Final, cast

from ftpdirector.model import HIGHEST_PORT, Endpoint, IPAddress, PortRange

_DURATION: Final = re.compile(r"([0-9]{1,9})(us|ms|s|m|h|d)")
_UNITS_OF_A_SECOND: Final = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_RANGE: Final = re.compile(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})")
_LEADING_ZERO: Final = re.compile(r"(?<![0-9])0+(?=[0-9])")
_HOST_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_LONGEST_ADDRESS: Final = 45
_LONGEST_ENDPOINT: Final = 60
_LONGEST_SHOWN: Final = 60
_EXAMPLE: Final = '"192.0.2.10" or "2001:db8:2::10"'


def parse_duration(value: object) -> float:
    """`500us`, `90s`, `15m`, `1h`, `1d` in seconds; anything else is a ValueError that says what would be right."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a duration as "90s", "15m" or "1h"')
    return float(int(match[1]) * _UNITS_OF_A_SECOND[match[2]])


def parse_address(value: object) -> IPAddress:
    """An IPv4 or IPv6 address; a name is refused, since it could mean another server tomorrow."""
    if not isinstance(value, str):
        raise ValueError(f"write an IP address in quotation marks, as {_EXAMPLE}")
    if len(value) <= _LONGEST_ADDRESS and "%" not in value:
        try:
            return ip_address(value)
        except ValueError:
            pass
    raise ValueError(f"write an IP address, {_instead_of_an_address(value)}")


def _instead_of_an_address(text: str) -> str:
    """What is to be changed in what is no address, as the end of "write an IP address, ..."."""
    bare = text.strip().removeprefix("[").removesuffix("]")
    address, slash, _ = bare.partition("/")
    if slash and _is_address(address) and _is_network(bare):
        return f'without the prefix length: "{address}"'
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if colon and port.isascii() and port.isdigit() and _is_address(host):
        return f'"{host}"; the port is a key of its own: port = {port[:5]}'
    if bare != text and _is_address(bare):
        return f'without anything around it: "{bare}"'
    if "%" in text:
        return "without a zone: what follows % is known on one host only"
    plain = _LEADING_ZERO.sub("", text)
    if plain != text and "." in text and _is_address(plain):
        return f'without leading zeros: "{plain}"'
    if len(text) <= 253 and _HOST_NAME.fullmatch(text):
        return f"as {_EXAMPLE}; names are not looked up: `getent ahosts {text}` shows the addresses of this one"
    return f"as {_EXAMPLE}; names are not looked up"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return len(text) <= _LONGEST_ADDRESS and "%" not in text


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return len(text) <= _LONGEST_ENDPOINT


def parse_port_range(value: object) -> PortRange:
    """`10000-20000`: both ends belong to it; ports below 1024 are not passive ports (RFC 2577 section 3)."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a range of ports as "10000-20000"')
    first, last = int(match[1]), int(match[2])
    if not 1024 <= first <= last <= HIGHEST_PORT:
        raise ValueError("write a range from 1024 to 65535, the lower port first")
    return PortRange(first, last)


def parse_endpoint(value: object) -> Endpoint:
    """`127.0.0.1:8021`, `[::1]:8021`."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= HIGHEST_PORT:
        raise ValueError(_with_address(str(value)))
    if not isinstance(value, str) or len(value) > _LONGEST_ENDPOINT:
        raise ValueError('write an address and a port, as "127.0.0.1:8021"')
    host, colon, port = value.rpartition(":")
    if not _is_port(port):
        raise ValueError('write an address and a port, as "127.0.0.1:8021" or "[::1]:8021"')
    if host in ("", "*"):
        raise ValueError(_with_address(port) + (", or 0.0.0.0 for all of the host" if colon else ""))
    return Endpoint(parse_address(host.removeprefix("[").removesuffix("]")), int(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(HIGHEST_PORT)) and int(text) <= HIGHEST_PORT


def _with_address(port: str) -> str:
    return f'write an address and a port, as "127.0.0.1:{port}"'


def spelled(value: object) -> str:
    """A decoded value as the file would say it: `900.0` is `15m`; without quotation marks."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return spell_duration(value)
        case tuple():
            return ", ".join(str(one) for one in cast("tuple[object, ...]", value))
        case _:
            return str(value)


def spell_duration(value_s: float) -> str:
    """Seconds as `15m`, `6s`, `500us`."""
    if value_s >= 60 and value_s % 60 == 0:
        return f"{value_s / 60:g}m"
    return f"{value_s * 1e6:g}us" if 0 < value_s < 0.001 else f"{value_s:g}s"


def shown(raw: object) -> str:
    """A value as it stands in the file, short, and without what a terminal would obey."""
    text = visible(_toml(raw))
    return text if len(text) < _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _toml(raw: object) -> str:
    match raw:
        case str():
            return json.dumps(raw[: 2 * _LONGEST_SHOWN], ensure_ascii=False)
        case bool():
            return str(raw).lower()
        case date() | time():
            return raw.isoformat()
        case list():
            return "a list" if raw else "an empty list"
        case dict():
            return "a table"
        case int() if raw.bit_length() > 4 * _LONGEST_SHOWN:
            return "a number of so many digits"  # int() in words may be refused: sys.set_int_max_str_digits
        case _:
            return str(raw)


def visible(text: str) -> str:
    """The text with `?` for each character that cannot be seen, so that no terminal obeys it; columns and tabs stay."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)
