"""The part of nft's language that our rules are written in: text -> values, for a fake that checks and evaluates them.

What is not known here is an `UnknownError`, never a guess: a rule of a new form has to be learnt first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final


class UnknownError(Exception):
    """The fake has no word for this, so that it can say neither yes nor no."""


class MisreadError(Exception):
    """nft refuses the text itself: another type than the one that is due."""


FIELDS: Final[Mapping[str, str]] = {
    "ip saddr": "ipv4_addr",
    "ip daddr": "ipv4_addr",
    "ip6 saddr": "ipv6_addr",
    "ip6 daddr": "ipv6_addr",
    "tcp sport": "inet_service",
    "tcp dport": "inet_service",
    "tcp flags": "tcp_flag",
    "udp dport": "inet_service",
    "meta l4proto": "inet_proto",
    "meta nfproto": "nf_proto",
    "ct mark": "mark",
    "ct state": "ct_state",
    "ct status": "ct_status",
    "ct direction": "ct_dir",
    "ct original ip daddr": "ipv4_addr",
    "ct original ip6 daddr": "ipv6_addr",
    "ct original proto-dst": "inet_service",
}
"""What a packet or its connection has, and its type."""
_WORDS: Final[Mapping[str, Mapping[str, int]]] = {
    "tcp_flag": {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16},
    "ct_state": {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64},
    "ct_status": {"snat": 16, "dnat": 32},
    "ct_dir": {"original": 0, "reply": 1},
    "inet_proto": {"tcp": 6, "udp": 17},
    "nf_proto": {"ipv4": 2, "ipv6": 10},
}
_BITS: Final = ("tcp_flag", "ct_state", "ct_status")
"""Types whose one word matches when its bit is set, whatever the others are."""
_TYPES: Final = {
    "inet_service": 16,
    "mark": 32,
    "integer": 32,
    "ipv4_addr": 32,
    "ipv6_addr": 128,
    "tcp_flag": 8,
}
TCP_FLAGS: Final = _WORDS["tcp_flag"]
CT_STATES: Final = _WORDS["ct_state"]
CT_STATUS: Final = _WORDS["ct_status"]
_TOKEN: Final = re.compile(r'"[^"]*"|[(){},&|]|[^\s(){},&|"]+')


@dataclass(frozen=True, slots=True)
class Field:
    name: str


@dataclass(frozen=True, slots=True)
class Bitwise:
    left: Expression
    sign: str
    right: int


@dataclass(frozen=True, slots=True)
class Numgen:
    modulus: int


@dataclass(frozen=True, slots=True)
class Jhash:
    of: Expression
    modulus: int
    seed: int


@dataclass(frozen=True, slots=True)
class Joined:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Mapped:
    key: Expression
    map: str


Expression = Field | Bitwise | Numgen | Jhash | Joined | Mapped


@dataclass(frozen=True, slots=True)
class Verdict:
    """`accept`, `drop`, `return`, `goto CHAIN`, `jump CHAIN`."""

    word: str
    chain: str = ""


@dataclass(frozen=True, slots=True)
class Compare:
    left: Expression
    values: frozenset[int]
    differs: bool = False
    bits: bool = False


@dataclass(frozen=True, slots=True)
class InSet:
    key: Expression
    set: str


@dataclass(frozen=True, slots=True)
class VerdictMap:
    key: Expression
    map: str


@dataclass(frozen=True, slots=True)
class CountOver:
    limit: int


@dataclass(frozen=True, slots=True)
class Counted:
    counter: str


@dataclass(frozen=True, slots=True)
class SetMark:
    to: Expression


@dataclass(frozen=True, slots=True)
class SetHelper:
    helper: str


@dataclass(frozen=True, slots=True)
class Touch:
    """A packet adds, renews or deletes an element."""

    verb: str
    set: str
    key: Expression
    data: Expression | None = None
    timeout: str = ""
    over: int | None = None


@dataclass(frozen=True, slots=True)
class Nat:
    """`dnat`, `snat`; `masquerade` says no address."""

    kind: str
    to: Expression | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    pass


Statement = (
    Compare | InSet | VerdictMap | CountOver | Counted | SetMark | SetHelper | Touch | Nat | Reject | Verdict
)  # fmt: skip
Value = tuple[int, ...] | Verdict
Key = tuple[tuple[int, int], ...]
"""First and last of each part; both the same where it is no range."""


@dataclass(frozen=True, slots=True)
class Types:
    """What a set holds; `values` is None where it is no map."""

    keys: tuple[str, ...]
    values: tuple[str, ...] | None


@lru_cache(maxsize=4096)
def parse_rule(text: str) -> tuple[Statement, ...]:
    reader = _Reader(text)
    statements: list[Statement] = []
    while reader.peek():
        statements.append(reader.statement())
    return tuple(statements)


def parse_types(text: str, *, typeof: bool) -> Types:
    """`ipv4_addr . inet_service : mark`; after `typeof` expressions stand in place of types."""
    key, _, value = text.partition(" : ")

    def names(side: str) -> tuple[str, ...]:
        if typeof:
            return type_of(_Reader(side).expression())
        found = tuple(one.strip() for one in side.split(" . "))
        for one in found:
            if one not in _TYPES and one != "verdict":
                raise MisreadError(f"unknown type {one}")
        return found

    return Types(names(key), names(value) if value else None)


def parse_key(text: str, types: tuple[str, ...]) -> Key:
    parts = text.split(" . ")
    if len(parts) != len(types):
        raise MisreadError(f"{text}: {' . '.join(types)} is due")
    return tuple(_part(part.strip(), type_) for part, type_ in zip(parts, types, strict=True))


def parse_value(text: str, types: tuple[str, ...]) -> Value:
    if types == ("verdict",):
        word, _, chain = text.partition(" ")
        return Verdict(word, chain)
    return tuple(low for low, _ in parse_key(text, types))


def type_of(one: Expression) -> tuple[str, ...]:
    """Its type alone; what a map gives is the map's to say."""
    match one:
        case Field(name):
            return (FIELDS[name],)
        case Bitwise(left, _, _):
            return type_of(left)
        case Numgen() | Jhash():
            return ("integer",)
        case Joined(parts):
            return tuple(type_ for part in parts for type_ in type_of(part))
        case Mapped():
            raise UnknownError(f"a map within an expression: {one}")


def _part(text: str, type_: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = constant(first, type_)
    return low, constant(last, type_) if dash else low


def constant(text: str, type_: str) -> int:
    """A constant of a type, as a number."""
    if type_ in ("ipv4_addr", "ipv6_addr"):
        try:
            return int(IPv4Address(text) if type_ == "ipv4_addr" else IPv6Address(text))
        except ValueError:
            raise MisreadError(f"{text} is no {type_}") from None
    word = _WORDS.get(type_, {}).get(text)
    if word is not None:
        return word
    try:
        number = int(text, 0)
    except ValueError:
        raise MisreadError(f"{text} is no {type_}") from None
    if type_ not in _TYPES:
        raise UnknownError(f"{text} for a {type_}")
    if not 0 <= number < 1 << _TYPES[type_]:
        raise MisreadError(f"{text} is out of range")
    return number


class _Reader:
    """Recursive descent; each method reads what it is named after."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = _TOKEN.findall(text)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def take(self, *words: str) -> bool:
        """All of these words, or none of them."""
        found = self.tokens[self.at : self.at + len(words)] == list(words)
        self.at += len(words) if found else 0
        return found

    def due(self, *words: str) -> None:
        if not self.take(*words):
            raise UnknownError(f"{self.text!r}: {' '.join(words)} is due, not {self.peek()!r}")

    def name(self) -> str:
        return self.next().strip('"')

    def number(self) -> int:
        return int(self.next(), 0)

    def set_name(self) -> str:
        if not self.peek().startswith("@"):
            raise UnknownError(f"{self.text!r}: a set is due, not {self.peek()!r}")
        return self.next()[1:]

    def statement(self) -> Statement:
        word = self.peek()
        if word in ("accept", "drop", "return"):
            return Verdict(self.next())
        if word in ("goto", "jump"):
            return Verdict(self.next(), self.next())
        if word in ("add", "update", "delete"):
            return self.touch()
        if word in ("dnat", "snat"):
            return self.nat()
        if self.take("masquerade"):
            return Nat("masquerade")
        if self.take("counter", "name"):
            return Counted(self.name())
        if self.take("reject", "with", "tcp", "reset"):
            return Reject()
        if self.take("ct", "helper", "set"):
            return SetHelper(self.name())
        if self.take("ct", "count", "over"):
            return CountOver(self.number())
        if self.take("ct", "mark", "set"):
            return SetMark(self.expression())
        return self.match()

    def touch(self) -> Touch:
        verb, name = self.next(), self.set_name()
        self.due("{")
        key = self.expression()
        timeout = self.next() if self.take("timeout") else ""
        over = self.number() if self.take("ct", "count", "over") else None
        data = self.expression() if self.take(":") else None
        self.due("}")
        return Touch(verb, name, key, data, timeout, over)

    def nat(self) -> Nat:
        kind, family = self.next(), self.next()
        if family not in ("ip", "ip6"):
            raise UnknownError(self.text)
        self.due("to")
        return Nat(kind, self.expression())

    def match(self) -> Statement:
        left = self.expression()
        if self.peek().startswith("@"):
            return InSet(left, self.set_name())
        if self.take("vmap"):
            return VerdictMap(left, self.set_name())
        differs, equals = self.take("!="), self.take("==")
        [type_] = type_of(left)
        if self.take("{"):
            values = {constant(self.next(), type_)}
            while self.take(","):
                values.add(constant(self.next(), type_))
            self.due("}")
            return Compare(left, frozenset(values), differs=differs)
        bits = type_ in _BITS and isinstance(left, Field) and not differs and not equals
        wanted = {self.constant(type_)}
        while bits and self.take(","):
            wanted.add(constant(self.next(), type_))
        return Compare(left, frozenset(wanted), differs=differs, bits=bits)

    def constant(self, type_: str) -> int:
        if not self.take("("):
            return constant(self.next(), type_)
        value = constant(self.next(), type_)
        while self.take("|"):
            value |= constant(self.next(), type_)
        self.due(")")
        return value

    def expression(self) -> Expression:
        parts = [self.term()]
        while self.take("."):
            parts.append(self.term())
        one = parts[0] if len(parts) == 1 else Joined(tuple(parts))
        return Mapped(one, self.set_name()) if self.take("map") else one

    def term(self) -> Expression:
        one = self.primary()
        while self.peek() in ("&", "|"):
            sign = self.next()
            [type_] = type_of(one)
            one = Bitwise(one, sign, self.constant(type_))
        return one

    def primary(self) -> Expression:
        if self.take("numgen", "inc", "mod"):
            return Numgen(self.number())
        if self.take("jhash"):
            of = self.term()
            self.due("mod")
            modulus = self.number()
            self.due("seed")
            return Jhash(of, modulus, self.number())
        for words in (4, 3, 2):
            name = " ".join(self.tokens[self.at : self.at + words])
            if name in FIELDS:
                self.at += words
                return Field(name)
        raise UnknownError(f"{self.text!r}: {' '.join(self.tokens[self.at : self.at + 3])}")
