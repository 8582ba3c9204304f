"""nftables as values: carries out the text of a transaction whole or not at all, and refuses what the kernel refuses.

It stands beside the tests of `nft.transaction`, whose text it reads, and knows no engine. That it says yes and no as
the kernel does is held by tests/netns/test_fake.py. What it does not know is an `UnknownError`, and that is no refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from ftpdirector.nft.listing import parse_table
from tests.nft.language import (
    Bitwise,
    Compare,
    Counted,
    Expression,
    InSet,
    Jhash,
    Joined,
    Key,
    Mapped,
    MisreadError,
    Nat,
    Reject,
    SetHelper,
    SetMark,
    Statement,
    Touch,
    Types,
    UnknownError,
    Value,
    Verdict,
    VerdictMap,
    parse_key,
    parse_rule,
    parse_types,
    parse_value,
    type_of,
)

_HOOK: Final = re.compile(r"type (filter|nat) hook (\S+) priority ([^;]+);( policy accept;)?")
_PRIORITIES: Final = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_NAT_HOOKS: Final = {"dnat": ("prerouting", "output"), "snat": ("postrouting", "input"), "masquerade": ("postrouting",)}
_DYNAMIC: Final = "dynamic"
_T = TypeVar("_T")


class RefusedError(Exception):
    """The kernel, or nft before it, would not do it; nothing has changed."""


@dataclass(frozen=True, slots=True)
class Hook:
    kind: str
    hook: str
    priority: int


@dataclass(slots=True)
class Element:
    """`counted`: connections that `ct count` has seen under it; `packets`: those that met it in a set that counts."""

    value: Value | None = None
    packets: int = 0
    counted: list[object] = field(default_factory=list[object])


@dataclass(slots=True)
class FakeSet:
    types: Types
    flags: tuple[str, ...] = ()
    size: int = 0
    counts: bool = False
    elements: dict[Key, Element] = field(default_factory=dict[Key, Element])

    def copy(self) -> FakeSet:
        return replace(self, elements=dict(self.elements))

    def find(self, key: tuple[int, ...]) -> Element | None:
        """The element that a packet finds."""
        exact = self.elements.get(tuple((each, each) for each in key))
        if exact is not None or "interval" not in self.flags:
            return exact
        for ranges, element in self.elements.items():
            if _holds(ranges, key):
                return element
        return None


@dataclass(slots=True)
class FakeRule:
    """`turn` is where numgen stands, `counted` what `ct count` has seen: both begin anew with the rule."""

    text: str
    statements: tuple[Statement, ...]
    turn: int = -1
    counted: list[object] = field(default_factory=list[object])


@dataclass(slots=True)
class FakeChain:
    hook: Hook | None = None
    rules: list[FakeRule] = field(default_factory=list[FakeRule])

    def copy(self) -> FakeChain:
        return replace(self, rules=list(self.rules))


@dataclass(slots=True)
class FakeTable:
    counters: dict[str, int] = field(default_factory=dict[str, int])
    helpers: dict[str, str] = field(default_factory=dict[str, str])
    sets: dict[str, FakeSet] = field(default_factory=dict[str, FakeSet])
    chains: dict[str, FakeChain] = field(default_factory=dict[str, FakeChain])

    def copy(self) -> FakeTable:
        return FakeTable(
            counters=dict(self.counters),
            helpers=dict(self.helpers),
            sets={name: one.copy() for name, one in self.sets.items()},
            chains={name: one.copy() for name, one in self.chains.items()},
        )

    def base_chains(self, hook: str) -> list[tuple[str, FakeChain, Hook]]:
        """Those of a hook, in the order of packets."""
        found = [(name, one, one.hook) for name, one in self.chains.items() if one.hook and one.hook.hook == hook]
        return sorted(found, key=lambda each: each[2].priority)

    def state(self) -> object:
        """All that a transaction may change: equal for tables that are the same to it."""
        return (
            set(self.counters),
            self.helpers,
            {
                name: (one.types, one.flags, one.size, _values(one) if _DYNAMIC not in one.flags else None)
                for name, one in self.sets.items()
            },
            {name: (one.hook, [rule.text for rule in one.rules]) for name, one in self.chains.items()},
        )


class Fake:
    """All tables of a host."""

    def __init__(self) -> None:
        self.tables: dict[str, FakeTable] = {}

    def load(self, text: str) -> None:
        """Carry out a file for `nft --file`. Raises `RefusedError`; everything is as before then."""
        before = self.tables
        self.tables = {name: one.copy() for name, one in before.items()}
        try:
            for command in _commands(text):
                self._carry_out(command)
            for table in self.tables.values():
                _validate(table)
        except MisreadError as error:
            self.tables = before
            raise RefusedError(str(error)) from error
        except BaseException:
            self.tables = before
            raise

    def _carry_out(self, command: str) -> None:
        if command.startswith("table "):
            self._block(command)
            return
        verb, _, rest = command.partition(" ")
        kind = "ct helper" if rest.startswith("ct helper ") else rest.partition(" ")[0]
        family, name, *more = rest[len(kind) :].split(None, 2)
        table, argument = f"{family} {name}", more[0] if more else ""
        if kind == "table":
            self._table(verb, table)
            return
        if table not in self.tables:
            raise RefusedError(f"no table {table}")
        _change(self.tables[table], verb, kind, *_named(argument))

    def _table(self, verb: str, name: str) -> None:
        match verb:
            case "add":
                self.tables.setdefault(name, FakeTable())
            case "delete" if name in self.tables:
                del self.tables[name]
            case "delete":
                raise RefusedError(f"no table {name}")
            case _:
                raise UnknownError(f"{verb} table")

    def _block(self, text: str) -> None:
        """Whatever the order of a block, rules come last."""
        parsed = parse_table(text)
        table = self.tables.setdefault(parsed.name, FakeTable())
        for chain in parsed.chains:
            _add_chain(table, chain.name, chain.hook)
        table.counters.update({one.name: 0 for one in parsed.counters if one.name not in table.counters})
        table.helpers.update({one.name: one.protocol for one in parsed.helpers})
        for each in parsed.sets:
            _add_set(table, each.name, list(each.definition()))
            for key, value in each.elements.items():
                _add_element(table, each.name, f"{key} : {value}" if value else key)
        for chain in parsed.chains:
            for rule in chain.rules:
                _add_rule(table, chain.name, rule.text)


def boot(text: str) -> Fake:
    """A host that has carried out one file."""
    fake = Fake()
    fake.load(text)
    return fake


def _commands(text: str) -> Iterator[str]:
    block: list[str] = []
    for line in text.splitlines():
        if block or line.startswith("table "):
            block.append(line)
            if line == "}":
                yield "\n".join(block)
                block = []
        elif line.strip():
            yield line.strip()
    if block:
        raise UnknownError("a block without an end")


def _named(argument: str) -> tuple[str, str]:
    name, _, rest = argument.partition(" ")
    return name, rest


def _change(table: FakeTable, verb: str, kind: str, name: str, rest: str) -> None:
    match verb, kind:
        case "add", "chain":
            _add_chain(table, name, "; ".join(_between(rest)) + ";" if rest else "")
        case "add", "set" | "map":
            _add_set(table, name, _between(rest))
        case "add", "counter":
            table.counters.setdefault(name, 0)
        case "add", "ct helper":
            table.helpers[name] = rest.split('"')[1]
        case "add", "rule":
            _add_rule(table, name, rest)
        case "add", "element":
            for element in _elements(rest):
                _add_element(table, name, element)
        case "delete", "element":
            for element in _elements(rest):
                _delete_element(table, name, element)
        case "flush", "chain":
            _get(table.chains, name).rules.clear()
        case "delete", "chain":
            _get(table.chains, name)
            kept = table.chains.pop(name)
            if name in _chains_named(table):
                table.chains[name] = kept
                raise RefusedError(f"chain {name} is in use")
        case "delete", "set" | "map":
            _get(table.sets, name)
            _unused(table, "set", name)
            del table.sets[name]
        case "delete", "counter":
            _get(table.counters, name)
            _unused(table, "counter", name)
            del table.counters[name]
        case "delete", "ct helper":
            _get(table.helpers, name)
            _unused(table, "helper", name)
            del table.helpers[name]
        case _:
            raise UnknownError(f"{verb} {kind}")


def _get(there: dict[str, _T], name: str) -> _T:
    if name not in there:
        raise RefusedError(f"no {name}")
    return there[name]


def _between(text: str) -> list[str]:
    """What stands between the braces, one definition each."""
    return [one.strip() for one in text.strip().removeprefix("{").removesuffix("}").split(";") if one.strip()]


def _elements(text: str) -> list[str]:
    return [one.strip() for one in text.strip().removeprefix("{").removesuffix("}").split(",")]


def _add_chain(table: FakeTable, name: str, hook: str) -> None:
    made = FakeChain(hook=_hook(hook) if hook else None)
    there = table.chains.setdefault(name, made)
    if hook and there.hook != made.hook:
        raise RefusedError(f"chain {name} is there with another hook")


def _hook(text: str) -> Hook:
    found = _HOOK.fullmatch(text)
    if found is None:
        raise UnknownError(text)
    words = found[3].split()
    base = _PRIORITIES.get(words[0])
    priority = int(words[0]) if base is None else base + int("".join(words[1:]) or "0")
    hook = Hook(found[1], found[2], priority)
    if hook.kind == "nat" and hook.hook not in ("prerouting", "input", "output", "postrouting"):
        raise RefusedError(f"no nat at {hook.hook}")
    return hook


def _add_set(table: FakeTable, name: str, definition: list[str]) -> None:
    words = dict(line.split(None, 1) for line in definition if line != "counter")
    made = FakeSet(
        types=parse_types(words.get("typeof", words.get("type", "")), typeof="typeof" in words),
        flags=tuple(sorted(words["flags"].split(","))) if "flags" in words else (),
        size=int(words.get("size", "0")),
        counts="counter" in definition,
    )
    there = table.sets.setdefault(name, made)
    if (there.types, there.flags) != (made.types, made.flags):
        raise RefusedError(f"{name} is there as another set")


def _parsed(one: FakeSet, text: str) -> tuple[Key, str]:
    key, _, value = text.partition(" : ")
    parsed = parse_key(key.strip(), one.types.keys)
    if "interval" not in one.flags and any(low != high for low, high in parsed):
        raise RefusedError(f"{text}: the set has no ranges")
    if any(low > high for low, high in parsed):
        raise RefusedError(f"{text}: a range from its end")
    return parsed, value.strip()


def _add_element(table: FakeTable, name: str, text: str) -> None:
    one = _get(table.sets, name)
    key, given = _parsed(one, text)
    if bool(given) != (one.types.values is not None):
        raise RefusedError(f"{text}: a map has values and a set has none")
    value = parse_value(given, one.types.values) if one.types.values is not None else None
    if isinstance(value, Verdict) and value.chain:
        _target(table, value.chain)
    there = one.elements.get(key)
    if there is not None and there.value != value:
        raise RefusedError(f"{text}: it is there with another value")
    if there is None and any(_overlap(key, other) for other in _ranges(one)):
        raise RefusedError(f"{text}: overlaps another")
    one.elements.setdefault(key, Element(value))
    if one.size and len(one.elements) > one.size:
        raise RefusedError(f"{name} is full")


def _ranges(one: FakeSet) -> Iterator[Key]:
    if "interval" in one.flags:
        yield from one.elements


def _overlap(new: Key, there: Key) -> bool:
    """A set of concatenations looks at both ends of a new element alone, so that it takes one that encloses another."""
    if len(new) == 1:
        [(low, high)], [(first, last)] = new, there
        return low <= last and first <= high
    return _holds(there, tuple(low for low, _ in new)) or _holds(there, tuple(high for _, high in new))


def _holds(ranges: Key, key: tuple[int, ...]) -> bool:
    return all(low <= each <= high for (low, high), each in zip(ranges, key, strict=True))


def _delete_element(table: FakeTable, name: str, text: str) -> None:
    one = _get(table.sets, name)
    key, given = _parsed(one, text)
    if one.types.values is not None and given:
        parse_value(given, one.types.values)
    if key not in one.elements:
        raise RefusedError(f"{text} is not in {name}")
    del one.elements[key]


def _target(table: FakeTable, chain: str) -> None:
    if _get(table.chains, chain).hook:
        raise RefusedError(f"{chain} is a base chain")


def _add_rule(table: FakeTable, chain: str, text: str) -> None:
    statements = parse_rule(text)
    rules = _get(table.chains, chain).rules
    has_protocol = False
    for place, one in enumerate(statements):
        _check(table, one, has_protocol=has_protocol)
        has_protocol = has_protocol or _tells_protocol(one)
        if isinstance(one, Verdict | Reject | Nat | VerdictMap) and place + 1 < len(statements):
            raise RefusedError(f"{text}: what comes after a verdict has no effect")
    rules.append(FakeRule(text, statements))


def _tells_protocol(one: Statement) -> bool:
    """Whether nft knows from here on that it is TCP."""
    if isinstance(one, Compare | InSet | VerdictMap):
        left = one.left if isinstance(one, Compare) else one.key
        parts = left.parts if isinstance(left, Joined) else (left,)
        return any(str(part).startswith(("Field(name='tcp", "Field(name='meta l4proto")) for part in parts)
    return False


def _check(table: FakeTable, one: Statement, *, has_protocol: bool) -> None:
    match one:
        case Verdict(_, chain) if chain:
            _target(table, chain)
        case Counted(counter):
            _get(table.counters, counter)
        case SetHelper(helper):
            _get(table.helpers, helper)
        case InSet(key, name):
            _same(_get(table.sets, name).types.keys, _typed(table, key))
        case VerdictMap(key, name):
            types = _get(table.sets, name).types
            _same(types.keys, _typed(table, key))
            _same(types.values, ("verdict",))
        case SetMark(to):
            _same(("mark",), _typed(table, to))
        case Touch():
            types = _get(table.sets, one.set).types
            _same(types.keys, _typed(table, one.key))
            _same(types.values, _typed(table, one.data) if one.data is not None else None)
        case Nat(_, to) if to is not None:
            given = _typed(table, to)
            if given[0] not in ("ipv4_addr", "ipv6_addr") or given[1:] not in ((), ("inet_service",)):
                raise RefusedError(f"no address to translate to: {given}")
            if len(given) > 1 and not has_protocol:
                raise RefusedError("a port is for a protocol that the rule has matched")
        case _:
            pass


def _same(due: tuple[str, ...] | None, given: tuple[str, ...] | None) -> None:
    # A number that the kernel makes up is at home in any type of its width.
    if due != given and given != ("integer",):
        raise RefusedError(f"{given} where {due} is due")


def _typed(table: FakeTable, one: Expression) -> tuple[str, ...]:
    if not isinstance(one, Mapped):
        return type_of(one)
    types = _get(table.sets, one.map).types
    _same(types.keys, type_of(one.key))
    if types.values is None:
        raise RefusedError(f"{one.map} is no map")
    return types.values


def _maps_of(one: Expression | None) -> Iterator[str]:
    match one:
        case Mapped(key, name):
            yield name
            yield from _maps_of(key)
        case Joined(parts):
            for part in parts:
                yield from _maps_of(part)
        case Bitwise(left, _, _):
            yield from _maps_of(left)
        case Jhash(of, _, _):
            yield from _maps_of(of)
        case _:
            return


def _names(one: Statement) -> Iterator[tuple[str, str]]:
    """What a statement names: kind and name."""
    expressions: tuple[Expression | None, ...] = ()
    match one:
        case Verdict(_, chain) if chain:
            yield "chain", chain
        case Counted(counter):
            yield "counter", counter
        case SetHelper(helper):
            yield "helper", helper
        case InSet(key, name) | VerdictMap(key, name):
            yield "set", name
            expressions = (key,)
        case Touch():
            yield "set", one.set
            expressions = (one.key, one.data)
        case SetMark(to) | Nat(_, to):
            expressions = (to,)
        case Compare(left, _, _, _):
            expressions = (left,)
        case _:
            pass
    for each in expressions:
        for name in _maps_of(each):
            yield "set", name


def _unused(table: FakeTable, kind: str, name: str) -> None:
    for chain in table.chains.values():
        for rule in chain.rules:
            if any((kind, name) == named for one in rule.statements for named in _names(one)):
                raise RefusedError(f"{kind} {name} is in use: {rule.text}")


def _chains_named(table: FakeTable) -> set[str]:
    by_rules = {
        name
        for chain in table.chains.values()
        for rule in chain.rules
        for one in rule.statements
        for kind, name in _names(one)
        if kind == "chain"
    }
    return by_rules | {chain for one in table.sets.values() for chain in _targets(one)}


def _targets(one: FakeSet) -> set[str]:
    if one.types.values != ("verdict",):
        return set()
    return {each.value.chain for each in one.elements.values() if isinstance(each.value, Verdict)}


def _validate(table: FakeTable) -> None:
    """What the kernel looks at when all has been read: from each base chain, where packets may come to."""
    for name, chain in table.chains.items():
        if chain.hook is not None:
            _walk(table, chain.hook, name, ())


def _walk(table: FakeTable, hook: Hook, name: str, passed: tuple[str, ...]) -> None:
    if name in passed:
        raise RefusedError(f"packets would go round: {' '.join(passed)} {name}")
    following: dict[str, None] = {}
    for rule in table.chains[name].rules:
        for one in rule.statements:
            match one:
                case Nat(kind, _) if hook.kind != "nat" or hook.hook not in _NAT_HOOKS[kind]:
                    raise RefusedError(f"{kind} in a chain for {hook.kind} at {hook.hook}")
                case Reject() if hook.hook == "postrouting":
                    raise RefusedError("reject at postrouting")
                case VerdictMap(_, at):
                    following.update(dict.fromkeys(_targets(table.sets[at]) - {""}))
                case Verdict(_, chain) if chain:
                    following[chain] = None
                case _:
                    pass
    for each in following:
        _walk(table, hook, each, (*passed, name))


def _values(one: FakeSet) -> dict[Key, Value | None]:
    return {key: element.value for key, element in one.elements.items()}
