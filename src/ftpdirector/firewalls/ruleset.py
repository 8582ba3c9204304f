"""Everybody's packet filter rules, as nft prints them, and which of our packets they drop. Pure.

Packets are followed through base chains and the chains that they call. A condition that cannot be told (a set, a limit,
an interface that the cluster file does not name) makes a match unsure: such a rule lets nothing pass for certain, and
drops something of ours only if it names a port of ours. A look, not a proof.
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Final

from ftpdirector.firewalls.flow import RequiredFlow, Stage
from ftpdirector.model import IPAddress, PortRange

_HOOK: Final = re.compile(r"type \S+ hook (\w+) (?:device \S+ )?priority ([^;]+); policy (\w+)")
_PRIORITY: Final = re.compile(r"([a-z]*) ?([+-]?) ?(\d*)", re.ASCII)
_TOKEN: Final = re.compile(r'"[^"]*"|\{[^}]*\}|[^\s{}"]+')
_PRIORITIES: Final = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_DSTNAT: Final = _PRIORITIES["dstnat"]
_FAMILIES: Final[Mapping[str, tuple[int, ...]]] = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_DEEPEST: Final = 16
"""The kernel's own limit on jumps."""
_OF_CLIENTS: Final = PortRange(1024, 65535)

_Network = tuple[IPAddress, IPAddress]


@dataclass(frozen=True)
class FilterChain:
    """A chain of any program; `hook` is empty where packets come by a jump alone."""

    table: str
    name: str
    rules: tuple[str, ...]
    hook: str = ""
    priority: int = 0
    drops: bool = False
    """By its policy."""

    @property
    def family(self) -> str:
        """ip, ip6, inet and so on."""
        return self.table.partition(" ")[0]

    @cached_property
    def stages(self) -> frozenset[Stage]:
        """Which packets come by."""
        match self.hook:
            case "prerouting":
                return frozenset({Stage.ARRIVED if self.priority < _DSTNAT else Stage.TRANSLATED})
            case "input":
                return frozenset({Stage.INPUT})
            case "forward" | "postrouting":
                return frozenset({Stage.FORWARD})
            case _:
                return frozenset()


@dataclass(frozen=True)
class Drop:
    """A rule, or with an empty one the policy, that drops what belongs to a flow from or to `addresses`."""

    base: FilterChain
    chain: FilterChain
    rule: str
    flow: RequiredFlow
    addresses: frozenset[IPAddress]
    possibly_accepted: bool
    """An earlier rule, which cannot be judged, may have accepted the packets."""


def parse(listing: str) -> list[FilterChain]:
    """Every chain of `nft --stateless list ruleset`."""
    found: list[FilterChain] = []
    table = name = ""
    rules: list[str] = []
    for line in listing.splitlines():
        text = line.strip()
        if line.startswith("table "):
            table = text.removeprefix("table ").removesuffix("{").strip()
        elif text.startswith("chain ") and text.endswith("{"):
            name, rules = text.removeprefix("chain ").removesuffix("{").strip(), []
        elif text == "}" and name:
            found.append(_chain(table, name, rules))
            name = ""
        elif name and text:
            rules.append(text)
    return found


def _chain(table: str, name: str, rules: Sequence[str]) -> FilterChain:
    base = _HOOK.match(rules[0]) if rules else None
    if not base:
        return FilterChain(table, name, tuple(rules))
    return FilterChain(table, name, tuple(rules[1:]), base[1], _priority(base[2]), drops=base[3] == "drop")


def _priority(text: str) -> int:
    """`filter`, `dstnat + 10` or `-90`."""
    found = _PRIORITY.match(text)
    name, sign, by = found.groups() if found else ("", "", "")
    return _PRIORITIES.get(name, 0) + int(f"{sign}{by or 0}")


def drops(chains: Sequence[FilterChain], flows: Sequence[RequiredFlow]) -> Iterator[Drop]:
    """What of the flows is dropped, and by whom."""
    by_name = {(chain.table, chain.name): chain for chain in chains}
    for base in chains:
        for flow in flows:
            if flow.stages & base.stages and flow.version in _FAMILIES.get(base.family, ()):
                traversal = _Traversal(by_name, base, flow)
                rest = traversal.through(base, _Packets(flow.addresses))
                yield from traversal.found
                if base.drops and rest.addresses:
                    yield Drop(base, base, "", flow, rest.addresses, rest.possibly_accepted)


@dataclass(frozen=True)
class _Packets:
    addresses: frozenset[IPAddress]
    possibly_accepted: bool = False
    """A rule that cannot be judged may have let them pass."""
    certain: bool = True
    """They are surely here."""
    is_named: bool = False
    """A rule that names their port led them here."""

    def with_addresses(self, addresses: frozenset[IPAddress]) -> _Packets:
        return replace(self, addresses=addresses)

    def union(self, other: _Packets) -> _Packets:
        return replace(
            self,
            addresses=self.addresses | other.addresses,
            possibly_accepted=self.possibly_accepted or other.possibly_accepted,
        )


_NO_PACKETS: Final = _Packets(frozenset())


@dataclass
class _Traversal:
    chains: Mapping[tuple[str, str], FilterChain]
    base: FilterChain
    flow: RequiredFlow
    found: list[Drop] = field(default_factory=list[Drop])
    depth: int = 0
    known: dict[tuple[str, _Packets], _Packets] = field(default_factory=dict[tuple[str, _Packets], _Packets])

    def through(self, chain: FilterChain, packets: _Packets) -> _Packets:
        """Those that come out at its end. The same packets pass a chain once, however many rules lead there."""
        key = (chain.name, packets)
        if key not in self.known:
            self.known[key] = self._through(chain, packets)
        return self.known[key]

    def _through(self, chain: FilterChain, packets: _Packets) -> _Packets:
        returned = _NO_PACKETS
        self.depth += 1
        for text in chain.rules if self.depth <= _DEEPEST else ():
            if not packets.addresses:
                break
            rule = _read(text)
            for verdict in rule.verdicts(self.flow):
                seen = _Match(packets.addresses)
                for condition in rule.conditions:
                    seen = condition.on(self.flow, self.base, seen)
                if not seen.addresses:
                    break
                if not verdict.certain:
                    seen = replace(seen, certain=False)
                packets, returned = self.apply_verdict(verdict, seen, chain, text, packets, returned)
        self.depth -= 1
        return packets.union(returned) if packets.addresses else returned

    def apply_verdict(
        self, verdict: _Verdict, seen: _Match, chain: FilterChain, text: str, packets: _Packets, returned: _Packets
    ) -> tuple[_Packets, _Packets]:
        """Apply the verdict of one rule: which packets go on, and which have left this chain."""
        others = packets.with_addresses(packets.addresses - seen.addresses)
        here = packets.with_addresses(seen.addresses)
        match verdict.word:
            case "drop" | "reject":
                is_named = packets.is_named or seen.is_named
                if seen.certain and packets.certain:
                    self.found.append(
                        Drop(
                            self.base,
                            chain,
                            text,
                            self.flow,
                            seen.addresses,
                            packets.possibly_accepted and not seen.is_named,
                        )
                    )
                elif is_named and not seen.is_of_some_clients:
                    self.found.append(Drop(self.base, chain, text, self.flow, seen.addresses, possibly_accepted=True))
                return (others if seen.certain else packets), returned
            case "accept" | "return" if not seen.certain:
                return replace(packets, possibly_accepted=packets.possibly_accepted or not seen.is_partial), returned
            case "accept":
                return others, returned
            case "return":
                return others, here.union(returned)
            case _:
                return self.follow_jump(verdict, seen, packets, returned)

    def follow_jump(
        self, verdict: _Verdict, seen: _Match, packets: _Packets, returned: _Packets
    ) -> tuple[_Packets, _Packets]:
        """Follow a jump or a goto: which packets come back, and which have left this chain."""
        target = self.chains.get((self.base.table, verdict.target))
        if target is None:
            return packets, returned
        others = packets.with_addresses(packets.addresses - seen.addresses)
        led = replace(
            packets,
            addresses=seen.addresses,
            certain=packets.certain and seen.certain,
            is_named=packets.is_named or (seen.is_named and not seen.is_of_some_clients),
        )
        back = self.through(target, led)
        if not seen.certain:
            return replace(
                packets, possibly_accepted=packets.possibly_accepted or back.addresses != seen.addresses
            ), returned
        back = replace(back, certain=packets.certain, is_named=packets.is_named)
        if verdict.word == "goto":
            return others, back.union(returned)
        return others.union(back), returned


@dataclass(frozen=True)
class _Match:
    """What of the packets a rule is for."""

    addresses: frozenset[IPAddress]
    certain: bool = True
    is_partial: bool = False
    """For some of the ports; others are surely left."""
    is_named: bool = False
    is_of_some_clients: bool = False


_NONE: Final = _Match(frozenset())


@dataclass(frozen=True)
class _Verdict:
    word: str
    target: str = ""
    certain: bool = True


@dataclass(frozen=True)
class _Condition:
    """`subject` is what nft calls it; the empty one is a condition that cannot be told."""

    subject: str = ""
    values: str = ""
    is_not: bool = False

    def on(self, flow: RequiredFlow, base: FilterChain, seen: _Match) -> _Match:
        """What is left of the match."""
        match self.subject.split():
            case [("ip" | "ip6") as family, ("saddr" | "daddr") as end]:
                if flow.version != (4 if family == "ip" else 6):
                    return _NONE
                return self._by_address(flow, seen, flow.sources if end == "saddr" else flow.targets)
            case ["tcp" | "th", "dport"]:
                return self._by_port(seen, flow.to_ports or _OF_CLIENTS, is_ours=flow.to_ports is not None)
            case ["tcp" | "th", "sport"]:
                return self._by_port(seen, flow.from_ports) if flow.from_ports else replace(seen, certain=False)
            case ["ct", "state"]:
                return self._if(flow.state in self.words, seen)
            case ["ct", "status"] if self.words == {"dnat"}:
                return self._if(flow.is_translated, seen)
            case ["protocol"]:
                return self._if(bool(self.words & {"tcp", "6"}), seen)
            case ["nfproto"]:
                return self._if(f"ipv{flow.version}" in self.words, seen)
            case ["interface", end]:
                return self._by_interface(seen, flow.comes_in if end == "in" else flow.goes_out)
            case ["fib", "daddr", "type"] if self.words <= {"local", "broadcast", "multicast", "anycast"}:
                is_local = base.hook == "input" or (Stage.ARRIVED in base.stages and bool(flow.targets))
                return self._if(is_local and "local" in self.words, seen)
            case _:
                return replace(seen, certain=False)

    @cached_property
    def words(self) -> set[str]:
        """The values as words."""
        return {word.strip().strip('"') for word in self.values.strip("{} ").split(",") if word}

    def _if(self, is_so: bool, seen: _Match) -> _Match:  # noqa: FBT001
        return seen if is_so != self.is_not else _NONE

    def _by_interface(self, seen: _Match, ours: str | None) -> _Match:
        if self.words == {"lo"}:
            return self._if(is_so=False, seen=seen)
        if ours is None or not self.words or "@" in self.values:
            return replace(seen, certain=False)
        is_so = any(ours.startswith(name[:-1]) if name.endswith("*") else ours == name for name in self.words)
        return self._if(is_so=is_so, seen=seen)

    def _by_address(self, flow: RequiredFlow, seen: _Match, ours: frozenset[IPAddress]) -> _Match:
        networks = _networks(self.values)
        if not ours:
            if any(int(first) == 0 and int(last) == 2**last.max_prefixlen - 1 for first, last in networks or ()):
                return self._if(is_so=True, seen=seen)
            return replace(seen, certain=False, is_of_some_clients=seen.is_of_some_clients or not self.is_not)
        if networks is None:
            return replace(seen, certain=False)
        ordered = _in_order(seen.addresses)
        inside = frozenset(
            address
            for first, last in networks
            if first.version == flow.version
            for address in ordered[
                bisect_left(ordered, int(first), key=int) : bisect_right(ordered, int(last), key=int)
            ]
        )
        return replace(seen, addresses=seen.addresses - inside if self.is_not else inside)

    def _by_port(self, seen: _Match, due: PortRange, *, is_ours: bool = True) -> _Match:
        ranges = _ranges(self.values)
        if ranges is None:
            return replace(seen, certain=False)
        touched = [port_range for port_range in ranges if port_range.first <= due.last and due.first <= port_range.last]
        if not touched:
            return self._if(is_so=False, seen=seen)
        is_named = seen.is_named or (is_ours and not self.is_not)
        if _covers(touched, due):
            return replace(self._if(is_so=True, seen=seen), is_named=is_named)
        return replace(seen, certain=False, is_partial=True, is_named=is_named)


def _covers(ranges: Sequence[PortRange], ours: PortRange) -> bool:
    after = ours.first
    for port_range in sorted(ranges, key=lambda port_range: port_range.first):
        if port_range.first > after:
            return False
        after = max(after, port_range.last + 1)
    return after > ours.last


@lru_cache(maxsize=64)
def _in_order(addresses: frozenset[IPAddress]) -> tuple[IPAddress, ...]:
    return tuple(sorted(addresses, key=int))


@lru_cache(maxsize=1024)
def _networks(values: str) -> tuple[_Network, ...] | None:
    found: list[_Network] = []
    for part in values.strip("{} ").split(","):
        try:
            first, _, last = part.strip().partition("-")
            if last:
                found.append((ipaddress.ip_address(first), ipaddress.ip_address(last)))
            else:
                network = ipaddress.ip_network(first, strict=False)
                found.append((network.network_address, network.broadcast_address))
        except ValueError:
            return None
    return tuple(found)


@lru_cache(maxsize=1024)
def _ranges(values: str) -> tuple[PortRange, ...] | None:
    found: list[PortRange] = []
    for part in values.strip("{} ").split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            return None
        found.append(PortRange(int(first), int(last or first)))
    return tuple(found)


@dataclass(frozen=True)
class _Rule:
    conditions: tuple[_Condition, ...]
    verdict: _Verdict | None
    by_state: Mapping[str, _Verdict] | None = None
    uncertain: tuple[_Verdict, ...] = ()

    def verdicts(self, flow: RequiredFlow) -> tuple[_Verdict, ...]:
        """What it may come to."""
        if self.by_state is not None:
            return (self.by_state[flow.state],) if flow.state in self.by_state else ()
        return (self.verdict,) if self.verdict else self.uncertain


_OTHER_PROTOCOLS: Final = {
    "udp", "icmp", "icmpv6", "sctp", "dccp", "udplite", "ah", "esp", "comp", "igmp", "arp",
}  # fmt: skip
_WITH_ONE_WORD: Final = {
    "packets",
    "bytes",
    "prefix",
    "level",
    "flags",
    "group",
    "snaplen",
    "queue-threshold",
    "comment",
}
_SAYS_NOTHING: Final = {"counter", "log", "=="}
_INTERFACES: Final = {"iif": "in", "iifname": "in", "oif": "out", "oifname": "out"}
_ENDS: Final = {"accept", "drop", "reject", "return", "jump", "goto", "queue"}


@lru_cache(maxsize=4096)
def _read(text: str) -> _Rule:
    """A rule; words that say nothing here make it unsure."""
    words: list[str] = _TOKEN.findall(text)
    if " . " in text:  # several fields at once, in a set
        end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
        return _Rule((_Condition(),), _verdict(words[end:]))
    conditions: list[_Condition] = []
    place = 0
    while place < len(words):
        word, rest = words[place], words[place + 1 :]
        if word in _ENDS:
            return _Rule(tuple(conditions), _verdict(words[place:]))
        if rest[:2] and rest[0] == "set" and word in ("mark", "dscp", "priority"):
            place += 3
        elif word in _WITH_ONE_WORD and (word != "flags" or words[place - 1] != "tcp"):
            place += 1 if rest[:1] and rest[0] in _ENDS else 2
        elif word in _SAYS_NOTHING or (word in ("meta", "ct") and rest[1:2] == ["set"]):
            place += 1
        elif word == "vmap":
            return _mapped(conditions, rest)
        else:
            subject, taken = _subject(word, rest)
            place += taken
            if words[place : place + 1] == ["vmap"]:
                conditions.append(_Condition(subject))
                continue
            is_not = words[place : place + 1] == ["!="]
            place += words[place : place + 1] in (["!="], ["=="])
            if subject:
                conditions.append(_Condition(subject, "".join(words[place : place + 1]), is_not=is_not))
                place += 1
            else:
                conditions.append(_Condition())
    return _Rule(tuple(conditions), None)


def _subject(token: str, rest: Sequence[str]) -> tuple[str, int]:
    """What is compared, and how many words say so; empty where it cannot be judged."""
    match [token, *rest[:3]]:
        case [("ip" | "ip6") as family, ("saddr" | "daddr") as end, *_]:
            return f"{family} {end}", 2
        case ["ip", "protocol", *_] | ["ip6", "nexthdr", *_] | ["meta", "l4proto", *_]:
            return "protocol", 2
        case ["meta", "nfproto", *_]:
            return "nfproto", 2
        case [("tcp" | "th") as protocol, ("dport" | "sport") as end, *_]:
            return f"{protocol} {end}", 2
        case ["ct", ("state" | "status") as part, *_]:
            return f"ct {part}", 2
        case ["ct", "original" | "reply", "ip" | "ip6", *_]:
            return "ct other", 4
        case ["ct", "original" | "reply", *_]:
            return "ct other", 3
        case ["ct", "direction" | "mark" | "helper" | "zone" | "expiration" | "l3proto" | "protocol", *_]:
            return "ct other", 2
        case ["fib", *_]:
            words = [token, *rest]
            taken = next((n for n, word in enumerate(words) if word in ("type", "oif", "oifname", "missing")), 0) + 1
            return (" ".join(words[:taken]), taken)
        case [word, *_] if word in _INTERFACES:
            return f"interface {_INTERFACES[word]}", 1
        case [word, *_] if word in _OTHER_PROTOCOLS:
            return "protocol", 0
        case _:
            return "", 1


def _verdict(tokens: Sequence[str], *, certain: bool = True) -> _Verdict | None:
    match tokens:
        case [("jump" | "goto") as word, target, *_]:
            return _Verdict(word, target, certain)
        case [("accept" | "drop" | "reject" | "return") as word, *_]:
            return _Verdict(word, "", certain)
        case _:
            return None


def _mapped(conditions: Sequence[_Condition], rest: Sequence[str]) -> _Rule:
    """`ct state vmap { established : accept, invalid : drop }` and the like."""
    verdicts: dict[str, _Verdict] = {}
    for entry in rest[0].strip("{} ").split(",") if rest else ():
        key, _, value = entry.partition(" : ")
        found = _verdict(value.split(), certain=False)
        if found:
            verdicts[key.strip()] = found
    if conditions and conditions[-1].subject == "ct state":
        sure = {key: replace(verdict, certain=True) for key, verdict in verdicts.items()}
        return _Rule(tuple(conditions[:-1]), None, by_state=sure)
    return _Rule((*conditions[:-1], _Condition()), None, uncertain=tuple(dict.fromkeys(verdicts.values())))
