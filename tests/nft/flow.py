"""A packet's way through a fake table: which rules it passes, what becomes of it, and what it leaves behind.

It walks any table of the forms that `language` reads, by hook and priority, between the steps that the kernel itself
takes there: finding the connection, translating, confirming. So it stands beside the fake and not with one engine.
tests/netns/test_flow.py holds it to the kernel: the same packets, rule by rule.

Frozen: it learns no new form of rule. What a new rule does is shown on the real kernel alone (tests/netns), by
sessions or by packets; a row that can no longer be read here goes there, too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from ftpdirector.model import IPAddress
from tests.nft.fake import Element, FakeChain, FakeRule, FakeTable
from tests.nft.language import (
    CT_STATES,
    CT_STATUS,
    TCP_FLAGS,
    Bitwise,
    Compare,
    Counted,
    CountOver,
    Expression,
    Field,
    InSet,
    Jhash,
    Joined,
    Mapped,
    Nat,
    Numgen,
    Reject,
    SetHelper,
    SetMark,
    Statement,
    Touch,
    UnknownError,
    Value,
    Verdict,
    VerdictMap,
)

_DSTNAT, _SRCNAT = -100, 100
_OPENING = TCP_FLAGS["fin"] | TCP_FLAGS["syn"] | TCP_FLAGS["rst"] | TCP_FLAGS["ack"]


@dataclass(frozen=True, slots=True)
class Packet:
    """A TCP packet, or a UDP one without flags."""

    source: IPAddress
    sport: int
    destination: IPAddress
    dport: int
    flags: int = TCP_FLAGS["syn"]
    protocol: int = 6

    @property
    def tuple(self) -> Tuple:
        return (self.source, self.sport, self.destination, self.dport)

    def answer(self, flags: int) -> Packet:
        """What its receiver sends back."""
        return Packet(self.destination, self.dport, self.source, self.sport, flags, self.protocol)


Tuple = tuple[IPAddress, int, IPAddress, int]


@dataclass(slots=True, eq=False)
class Connection:
    """What the kernel knows of a connection: both directions as they are on the wire."""

    original: Tuple
    reply: Tuple
    mark: int = 0
    status: int = 0
    helper: str = ""
    is_answered: bool = False
    translated: set[str] = field(default_factory=set[str])
    """The kinds of translation that have been decided on."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where packets go: its own addresses, and what it is called on each network."""

    own: frozenset[IPAddress]
    networks: Mapping[str, str]

    def towards(self, destination: IPAddress) -> IPAddress:
        """The source address of the way there."""
        for network, own in self.networks.items():
            if destination in ip_network(network):
                return ip_address(own)
        raise UnknownError(f"no way to {destination}")


@dataclass(frozen=True, slots=True)
class Passed:
    """A rule that matched: its chain and its place there."""

    chain: str
    place: int
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Trace:
    """`verdict` is `accept`, `drop` or `reset`; `packet` as it was then; `mark` of its connection."""

    verdict: str
    packet: Packet
    passed: tuple[Passed, ...]
    mark: int
    helper: str
    counted: tuple[str, ...]
    """Counters, and sets that count with the port of the element, in order."""
    is_local: bool


@dataclass(slots=True)
class _Walk:
    """One packet under way."""

    packet: Packet
    connection: Connection | None
    state: int
    direction: int
    passed: list[Passed] = field(default_factory=list[Passed])
    counted: list[str] = field(default_factory=list[str])


class BrokenError(Exception):
    """An expression came to nothing: the rule does not match from here on."""


class Flow:
    """The packets of one host with one table: connections and elements stay from one to the next."""

    def __init__(self, table: FakeTable, host: Host) -> None:
        self.table = table
        self.host = host
        self.connections: dict[Tuple, Connection] = {}

    def forget(self) -> None:
        """As after a failover without conntrackd."""
        self.connections.clear()

    def send(self, packet: Packet) -> Trace:
        """A packet that comes in from a wire."""
        walk = self._track(packet)
        verdict = self._hook("prerouting", walk)
        is_local = walk.packet.destination in self.host.own
        if verdict == "accept":
            verdict = self._hook("input", walk) if is_local else self._hook("forward", walk)
        if verdict == "accept" and not is_local:
            verdict = self._hook("postrouting", walk)
        known = walk.connection
        if known is not None and verdict == "accept":
            self.connections[known.original] = self.connections[known.reply] = known
        return Trace(
            verdict=verdict,
            packet=walk.packet,
            passed=tuple(walk.passed),
            mark=known.mark if known else 0,
            helper=known.helper if known else "",
            counted=tuple(walk.counted),
            is_local=is_local,
        )

    def connect(self, packet: Packet) -> Trace:
        """The first packet of a connection, and the next two where it is let through to who answers it."""
        trace = self.send(packet)
        if trace.verdict == "accept" and not trace.is_local:
            answer = self.send(trace.packet.answer(TCP_FLAGS["syn"] | TCP_FLAGS["ack"]))
            if answer.verdict == "accept":
                self.send(replace(packet, flags=TCP_FLAGS["ack"]))
        return trace

    def _track(self, packet: Packet) -> _Walk:
        known = self.connections.get(packet.tuple)
        if known is not None:
            direction = 0 if packet.tuple == known.original else 1
            known.is_answered = known.is_answered or direction == 1
            state = "established" if known.is_answered else "new"
            return _Walk(packet, known, CT_STATES[state], direction)
        # Without SYN a lone ACK is taken for a connection that began before (nf_conntrack_tcp_loose), nothing else is.
        if packet.protocol == 6 and packet.flags & _OPENING not in (TCP_FLAGS["syn"], TCP_FLAGS["ack"]):
            return _Walk(packet, None, CT_STATES["invalid"], 0)
        made = Connection(packet.tuple, packet.answer(0).tuple)
        return _Walk(packet, made, CT_STATES["new"], 0)

    def _hook(self, hook: str, walk: _Walk) -> str:
        """Chains of `nat` are for what begins a connection; the translation itself is for every packet."""
        turn = {"prerouting": ("dnat", _DSTNAT), "postrouting": ("snat", _SRCNAT)}.get(hook)
        pending = turn
        for name, chain, spec in self.table.base_chains(hook):
            if pending and spec.priority > pending[1]:
                self._translate(pending[0], walk)
                pending = None
            if spec.kind == "nat":
                known = walk.connection
                if known is None or walk.state != CT_STATES["new"] or (turn and turn[0] in known.translated):
                    continue
            verdict = self._chain(name, chain, walk)
            if verdict in ("drop", "reset"):
                return verdict
        if pending:
            self._translate(pending[0], walk)
        return "accept"

    def _translate(self, kind: str, walk: _Walk) -> None:
        known = walk.connection
        if known is None:
            return
        known.translated.add(kind)
        other = known.original if walk.direction else known.reply
        if kind == "dnat":
            walk.packet = replace(walk.packet, destination=other[0], dport=other[1])
        else:
            walk.packet = replace(walk.packet, source=other[2], sport=other[3])

    def _chain(self, name: str, chain: FakeChain, walk: _Walk) -> str:
        """`accept`, `drop`, `reset`, or `continue` at its end."""
        for place, rule in enumerate(chain.rules):
            try:
                verdict = self._rule(rule, walk)
            except BrokenError:
                continue
            walk.passed.append(Passed(name, place, rule.text))
            if verdict is None:
                continue
            if verdict.word in ("accept", "drop", "reset"):
                return verdict.word
            if verdict.word == "return":
                return "continue"
            reached = self._chain(verdict.chain, self.table.chains[verdict.chain], walk)
            if reached != "continue" or verdict.word == "goto":
                return reached
        return "continue"

    def _rule(self, rule: FakeRule, walk: _Walk) -> Verdict | None:
        for one in rule.statements:
            verdict = self._statement(rule, one, walk)
            if verdict is not None:
                return verdict
        return None

    def _statement(self, rule: FakeRule, one: Statement, walk: _Walk) -> Verdict | None:
        match one:
            case Verdict():
                return one
            case Reject():
                _must(walk.packet.protocol == 6)
                return Verdict("reset")
            case Compare(left, values, differs, bits):
                [value] = self._value(rule, left, walk)
                found = any(value & each for each in values) if bits else value in values
                _must(found != differs)
            case InSet(key, name):
                self._met(name, self._value(rule, key, walk), walk)
            case VerdictMap(key, name):
                verdict = self._looked_up(rule, key, name, walk)
                assert isinstance(verdict, Verdict)
                return verdict
            case Counted(counter):
                self.table.counters[counter] += 1
                walk.counted.append(counter)
            case CountOver(limit):
                _must(self._count(rule.counted, walk) > limit)
            case SetMark(to):
                [mark] = self._value(rule, to, walk)
                _tracked(walk).mark = mark
            case SetHelper(helper):
                _tracked(walk).helper = helper
            case Touch():
                self._touch(rule, one, walk)
            case Nat():
                self._nat(rule, one, walk)
                return Verdict("accept")
        return None

    def _met(self, name: str, key: tuple[int, ...], walk: _Walk) -> None:
        there = self.table.sets[name]
        element = there.find(key)
        if element is None:
            raise BrokenError
        if there.counts:
            element.packets += 1
            port = f":{key[-1]}" if there.types.keys[-1] == "inet_service" else ""
            walk.counted.append(f"{name.removesuffix('_v4').removesuffix('_v6')}{port}")

    def _touch(self, rule: FakeRule, one: Touch, walk: _Walk) -> None:
        there = self.table.sets[one.set]
        key = tuple((each, each) for each in self._value(rule, one.key, walk))
        if one.verb == "delete":
            there.elements.pop(key, None)
            return
        if key not in there.elements:
            _must(not there.size or len(there.elements) < there.size)
            data = self._value(rule, one.data, walk) if one.data is not None else None
            there.elements[key] = Element(data)
        if one.over is not None:
            _must(self._count(there.elements[key].counted, walk) > one.over)

    def _count(self, counted: list[object], walk: _Walk) -> int:
        """Connections that came by here and are there still, this one among them."""
        known = set(map(id, self.connections.values()))
        counted[:] = [each for each in counted if id(each) in known and each is not walk.connection]
        counted.append(_tracked(walk))
        return len(counted)

    def _nat(self, rule: FakeRule, one: Nat, walk: _Walk) -> None:
        known = _tracked(walk)
        to = self._value(rule, one.to, walk) if one.to is not None else None
        source, sport, destination, dport = known.reply
        if to is None:
            address, kind = self.host.towards(walk.packet.destination), "snat"
        else:
            address, kind = ip_address(_packed(to[0], walk.packet.source.version)), one.kind
        if kind == "dnat":
            # Who answers from now on.
            source, sport = address, to[1] if to is not None and len(to) > 1 else sport
        else:
            destination = address
        reply = (source, sport, destination, dport)
        if reply in self.connections:
            raise UnknownError(f"the kernel would choose another port: {reply} is taken")
        known.status |= CT_STATUS[kind] if reply != known.reply else 0
        known.reply = reply

    def _looked_up(self, rule: FakeRule, key: Expression, name: str, walk: _Walk) -> Value | None:
        element = self.table.sets[name].find(self._value(rule, key, walk))
        if element is None:
            raise BrokenError
        return element.value

    def _value(self, rule: FakeRule, one: Expression, walk: _Walk) -> tuple[int, ...]:
        match one:
            case Field(name):
                return (_field(name, walk),)
            case Bitwise(left, sign, right):
                [value] = self._value(rule, left, walk)
                return (value & right if sign == "&" else value | right,)
            case Numgen(modulus):
                rule.turn = rule.turn + 1 if rule.turn + 1 < modulus else 0
                return (rule.turn,)
            case Jhash(of, modulus, seed):
                [value] = self._value(rule, of, walk)
                length = 4 if walk.packet.source.version == 4 else 16
                return (jhash(value.to_bytes(length, "big"), seed) * modulus >> 32,)
            case Joined(parts):
                return tuple(each for part in parts for each in self._value(rule, part, walk))
            case Mapped(key, name):
                found = self._looked_up(rule, key, name, walk)
                assert found is not None
                assert not isinstance(found, Verdict)
                return found


def _must(holds: bool) -> None:
    if not holds:
        raise BrokenError


def _connection(walk: _Walk) -> Connection:
    """A packet without one has no mark, no status and no direction."""
    if walk.connection is None:
        raise BrokenError
    return walk.connection


def _tracked(walk: _Walk) -> Connection:
    """To set something of what is not there is not what our rules do."""
    if walk.connection is None:
        raise UnknownError("the packet has no connection")
    return walk.connection


def _packed(number: int, version: int) -> bytes:
    return number.to_bytes(4 if version == 4 else 16, "big")


def _field(name: str, walk: _Walk) -> int:
    packet = walk.packet
    match name.split():
        case ["ip" | "ip6" as family, which]:
            _must(packet.source.version == (4 if family == "ip" else 6))
            return int(packet.source if which == "saddr" else packet.destination)
        case ["tcp" | "udp" as protocol, which]:
            _must(packet.protocol == (6 if protocol == "tcp" else 17))
            return {"sport": packet.sport, "dport": packet.dport, "flags": packet.flags}[which]
        case ["meta", "l4proto"]:
            return packet.protocol
        case ["meta", "nfproto"]:
            return 2 if packet.source.version == 4 else 10
        case ["ct", "state"]:
            return walk.state
        case ["ct", "mark"]:
            return _connection(walk).mark
        case ["ct", "status"]:
            return _connection(walk).status
        case ["ct", "direction"]:
            _connection(walk)
            return walk.direction
        case ["ct", "original", "ip" | "ip6" as family, "daddr"]:
            address = _connection(walk).original[2]
            _must(address.version == (4 if family == "ip" else 6))
            return int(address)
        case ["ct", "original", "proto-dst"]:
            return _connection(walk).original[3]
        case _:
            raise UnknownError(name)


def jhash(data: bytes, seed: int) -> int:
    """Bob Jenkins' hash (lookup3) of whole words, as the kernel has it."""
    words: Sequence[int] = struct.unpack(f"<{len(data) // 4}I", data)
    a = b = c = (0xDEADBEEF + len(data) + seed) & _ALL
    while len(words) > 3:
        a, b, c = (a + words[0]) & _ALL, (b + words[1]) & _ALL, (c + words[2]) & _ALL
        a, b, c = _mixed(a, b, c)
        words = words[3:]
    a, b, c = ((one + word) & _ALL for one, word in zip((a, b, c), (*words, 0, 0, 0), strict=False))
    for first, second, turn in ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)):
        three = [a, b, c]
        three[first] = ((three[first] ^ three[second]) - _turned(three[second], turn)) & _ALL
        a, b, c = three
    return c


_ALL = 0xFFFFFFFF


def _turned(word: int, by: int) -> int:
    return (word << by | word >> 32 - by) & _ALL


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    a, c = (a - c ^ _turned(c, 4)) & _ALL, c + b & _ALL
    b, a = (b - a ^ _turned(a, 6)) & _ALL, a + c & _ALL
    c, b = (c - b ^ _turned(b, 8)) & _ALL, b + a & _ALL
    a, c = (a - c ^ _turned(c, 16)) & _ALL, c + b & _ALL
    b, a = (b - a ^ _turned(a, 19)) & _ALL, a + c & _ALL
    c, b = (c - b ^ _turned(b, 4)) & _ALL, b + a & _ALL
    return a, b, c
