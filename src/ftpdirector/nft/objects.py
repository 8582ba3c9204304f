"""What an nftables table consists of, as values that print as the text of nft(8).

A set whose type names a value (`ipv4_addr : mark`) is a map. A set that is dynamic is filled by packets and has no
elements here: a change of the table leaves them alone. This module knows no cluster and runs no program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Packets and bytes that rules add up under one name."""

    name: str
    purpose: str = ""

    def definition(self) -> Iterator[str]:
        """What stands between the braces: nothing."""
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """The kernel's reader of a protocol, assigned to a connection by a rule (nft(8), CT HELPER)."""

    name: str
    protocol: str
    purpose: str = ""

    def definition(self) -> Iterator[str]:
        """Its type, over TCP."""
        yield f'type "{self.protocol}" protocol tcp'


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """A set or a map. `elements` are keys and their values, empty ones in a set; `size` bounds what packets add.

    One that `counts` adds up the packets and bytes that met each element.
    """

    name: str
    type: str
    typeof: bool = False
    flags: tuple[str, ...] = ()
    size: int = 0
    counts: bool = False
    elements: Mapping[str, str] = field(default_factory=dict[str, str])
    purpose: str = ""

    @property
    def is_map(self) -> bool:
        """Whether its keys have values."""
        return " : " in self.type

    @property
    def is_dynamic(self) -> bool:
        """Whether packets fill it."""
        return "dynamic" in self.flags

    def definition(self) -> Iterator[str]:
        """Type, size and flags, in nft's own order."""
        yield f"{'typeof' if self.typeof else 'type'} {self.type}"
        if self.size:
            yield f"size {self.size}"
        if self.flags:
            yield f"flags {','.join(self.flags)}"
        if self.counts:
            yield "counter"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, and why it is there."""

    text: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Rules in order; `hook` says where packets enter it, empty for a chain that other rules call."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: str = ""
    purpose: str = ""

    def definition(self) -> Iterator[str]:
        """Its hook."""
        if self.hook:
            yield self.hook


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """An object of a kind that no engine of ours makes (`kind`: quota, flowtable ...), as text."""

    kind: str
    name: str
    body: tuple[str, ...] = ()
    purpose: str = ""

    def definition(self) -> Iterator[str]:
        """All of it."""
        return iter(self.body)


Object = Counter | Helper | Set | Chain | Foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: all that an engine puts into the kernel. Names are unique in each of its parts."""

    name: str
    counters: tuple[Counter, ...] = ()
    helpers: tuple[Helper, ...] = ()
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    options: tuple[str, ...] = ()
    """Lines about the table itself, `flags dormant` or a comment; no engine of ours writes any."""

    @property
    def objects(self) -> tuple[Object, ...]:
        """All of it, what rules name before the rules."""
        return (*self.counters, *self.helpers, *self.foreign, *self.sets, *self.chains)


def kind_of(obj: Object) -> str:
    """The word that nft(8) has for it."""
    match obj:
        case Counter():
            return "counter"
        case Helper():
            return "ct helper"
        case Set():
            return "map" if obj.is_map else "set"
        case Chain():
            return "chain"
        case Foreign():
            return obj.kind


def format_table(table: Table) -> str:
    """The table as a block of nft's language, with the reasons as comments."""
    lines = [f"table {table.name} {{", *(f"\t{option}" for option in table.options)]
    for obj in table.objects:
        lines += _purpose(obj.purpose, indent="\t")
        lines.append(f"\t{kind_of(obj)} {obj.name} {{")
        lines += [f"\t\t{line}" for line in obj.definition()]
        match obj:
            case Set():
                lines += _elements(obj)
            case Chain():
                lines += _rules(obj)
            case Counter() | Helper() | Foreign():
                pass
        lines.append("\t}")
    return "\n".join([*lines, "}"]) + "\n"


def format_element(key: str, value: str) -> str:
    """`192.0.2.10 . 21 : goto control_ftp_v4`, or the key alone in a set."""
    return f"{key} : {value}" if value else key


def _elements(nft_set: Set) -> Iterator[str]:
    if nft_set.elements:
        yield "\t\telements = {"
        for key, value in nft_set.elements.items():
            yield f"\t\t\t{format_element(key, value)},"
        yield "\t\t}"


def _rules(chain: Chain) -> Iterator[str]:
    for rule in chain.rules:
        yield from _purpose(rule.reason, indent="\t\t")
        yield f"\t\t{rule.text}"


def _purpose(text: str, *, indent: str) -> Iterator[str]:
    if text:
        yield f"{indent}# {text}"
