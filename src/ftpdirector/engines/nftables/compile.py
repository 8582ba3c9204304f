"""The desired state -> the one nftables table that implements it.

A packet passes a fixed number of rules, however many servers there are: base chains are the same for every cluster and
look things up in sets and maps. Pure: the same state gives the same text. This module carries nothing out.

    prerouting   drops what opens no connection and belongs to none; has the kernel's FTP helper read, where asked
    choose       a new connection to a virtual address gets its real server
    refuse       one that got none is reset
    forward      limits, and the passive gate; every packet of a control connection renews what is known of its client
    postrouting  active data connections come from the virtual address
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Final

from ftpdirector.change.setup import TABLE
from ftpdirector.engines.nftables.lookups import helped_of, lookups_of, session_key, verdicts_of
from ftpdirector.engines.nftables.marks import Marks, marks_of
from ftpdirector.engines.nftables.names import FAMILIES, family_of
from ftpdirector.engines.nftables.virtual import FamilyPool, chains_of, sets_of
from ftpdirector.failover.conntrackd import PORT, peers
from ftpdirector.model import Cluster, IPAddress, Placement, RealServer, VirtualServer
from ftpdirector.nft.objects import Chain, Counter, Helper, Rule, Set, Table, format_table
from ftpdirector.slices import Group, group_of, groups_of
from ftpdirector.wanted import Key, Offer, Wanted, want

_HELPER: Final = "ftp_control"
STATE: Final = "state_"

_COUNTERS: Final = (
    Counter(name="strays", purpose="Packets that open no connection and belong to none: dropped."),
    Counter(name="unserved", purpose="Connections to a virtual address that no real server was there for: reset."),
    Counter(name="gate", purpose="Data connections from clients that have no session with that real server: reset."),
)


def compile_table(wanted: Wanted) -> Table:
    """The whole table."""
    return Compiler(wanted.cluster).table(wanted.offers)


@dataclass(slots=True)
class _Part:
    """A virtual server with what was offered of it last, and what that came to."""

    bare: tuple[FamilyPool, ...]
    keys: tuple[tuple[Key, ...], ...]
    pools: tuple[FamilyPool, ...] = ()
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = ()
    digest: bytes = b""


class Compiler:
    """Makes tables of one cluster. A virtual server of which nothing else is offered than last time costs nothing."""

    def __init__(self, cluster: Cluster) -> None:
        """All that no verdict changes is made here."""
        self.cluster = cluster
        self._marks = marks = marks_of(cluster)
        groups = groups_of(cluster)
        self._parts = [_part(virtual, marks, groups) for virtual in cluster.virtual_servers]
        pools = [pool for part in self._parts for pool in part.bare]
        helped = [pool for pool in pools if pool.virtual.placement is Placement.HELPER]
        self._fixed = Table(
            name=TABLE,
            counters=_COUNTERS,
            helpers=tuple(_helper() for _ in helped[:1]),
            sets=(*lookups_of(cluster, pools, marks), *(helped_of(helped) if helped else ())),
            chains=(*_base_chains(has_helper=bool(helped)), *_peers(peers(cluster))),
        )
        self._digest = _digest_of(self._fixed)

    def session_key(self, virtual: VirtualServer, server: RealServer) -> str:
        """The element that counts the sessions of a real server behind one virtual server."""
        return session_key(self._marks[group_of(virtual), server.address], virtual)

    def pools(self, offers: Mapping[Key, Offer]) -> list[FamilyPool]:
        """Every virtual address with the real servers of its family, in the order of the file."""
        for part in self._parts:
            _renew(part, offers)
        return [pool for part in self._parts for pool in part.pools]

    @cached_property
    def identity(self) -> str:
        """Which cluster the tables are of, whatever is offered: equal for files that come to the same rules."""
        _, digests = self._compiled(want(self.cluster, {}, {}).offers)
        return blake2b(b"".join(digests), digest_size=4).hexdigest()

    def table(self, offers: Mapping[Key, Offer]) -> Table:
        """The whole table; objects that have not changed are those of the last one."""
        name = f"{STATE}{self.identity}_"
        verdicts, digests = self._compiled(offers)
        state = Chain(
            name=name + blake2b(b"".join(digests), digest_size=8).hexdigest(),
            purpose="Which cluster file and state the table is of; a change names the one before.",
        )
        return replace(
            self._fixed,
            sets=(*self._fixed.sets, *verdicts, *(nft_set for part in self._parts for nft_set in part.sets)),
            chains=(
                _above_limit(),
                *(chain for part in self._parts for chain in part.chains),
                *self._fixed.chains,
                state,
            ),
        )

    def _compiled(self, offers: Mapping[Key, Offer]) -> tuple[tuple[Set, ...], tuple[bytes, ...]]:
        """The sets of verdicts, and digests of all that the table is made of; the parts hold the rest."""
        pools = self.pools(offers)
        for part in self._parts:
            if not part.digest:
                part.sets = tuple(nft_set for pool in part.pools for nft_set in sets_of(pool))
                part.chains = tuple(chains_of(part.pools[0].virtual, part.pools))
                part.digest = _digest_of(Table(name=TABLE, sets=part.sets, chains=part.chains))
        verdicts = tuple(verdicts_of(pools))
        own = _digest_of(Table(name=TABLE, sets=verdicts))
        return verdicts, (self._digest, own, *(part.digest for part in self._parts))


def _digest_of(table: Table) -> bytes:
    return blake2b(format_table(table).encode(), digest_size=8).digest()


def _part(virtual: VirtualServer, marks: Marks, groups: Mapping[Group, Sequence[VirtualServer]]) -> _Part:
    bare = tuple(_bare(virtual, marks, groups))
    return _Part(bare=bare, keys=tuple(tuple((virtual.name, server.name) for server in pool.servers) for pool in bare))


def _bare(
    virtual: VirtualServer, marks: Marks, groups: Mapping[Group, Sequence[VirtualServer]]
) -> Iterator[FamilyPool]:
    # Data connections of virtual servers that share a range cannot be told apart, so that they share persistence too.
    by_persistence = virtual.placement is Placement.PERSISTENCE
    home = groups[group_of(virtual)][0] if by_persistence else virtual
    for address in sorted(virtual.addresses, key=lambda address: address.version):
        servers = tuple(server for server in virtual.real_servers if server.address.version == address.version)
        yield FamilyPool(
            virtual=virtual,
            address=address,
            family=family_of(address),
            servers=servers,
            marks=tuple(marks[group_of(virtual), server.address] for server in servers),
            offers=(),
            persistent=home.name,
        )


def _renew(part: _Part, offers: Mapping[Key, Offer]) -> None:
    now = [tuple(offers[key] for key in keys) for keys in part.keys]
    if not part.pools or now != [pool.offers for pool in part.pools]:
        part.pools = tuple(replace(pool, offers=offers_now) for pool, offers_now in zip(part.bare, now, strict=True))
        part.digest = b""


def _peers(directors: Sequence[IPAddress]) -> Iterator[Chain]:
    if directors:
        family = family_of(directors[0])
        among = ", ".join(map(str, directors))
        yield Chain(
            name="peers",
            hook="type filter hook input priority filter; policy accept;",
            rules=(
                Rule(
                    f"udp dport {PORT} {family.word} saddr != {{ {among} }} drop",
                    "What comes to this port goes into the kernel as connections: from directors alone.",
                ),
                Rule(f"udp dport {PORT} meta nfproto != ipv{family.version} drop"),
            ),
        )


def identity_in(table: Table) -> str:
    """Which cluster the table is of (`Compiler.identity`); empty where it does not say so, as one of version 0.1."""
    identity, separator, _ = state_in(table).removeprefix(STATE).partition("_")
    return identity if separator else ""


def state_in(table: Table) -> str:
    """The name of the chain that says what the table holds; empty where there is none."""
    return next((chain.name for chain in table.chains if chain.name.startswith(STATE)), "")


def _helper() -> Helper:
    return Helper(name=_HELPER, protocol="ftp", purpose="Reads PASV and PORT, and rewrites them.")


def _both(*texts: str) -> Iterator[str]:
    for family in FAMILIES:
        for text in texts:
            yield text.format(ip=family.word, v=family.suffix)


def _rules(texts: Iterable[str], reason: str) -> tuple[Rule, ...]:
    return tuple(Rule(text, "" if place else reason) for place, text in enumerate(texts))


def _above_limit() -> Chain:
    return Chain(
        name="above_limit",
        rules=tuple(
            Rule(text)
            for text in _both(
                "meta l4proto tcp ct original {ip} daddr . ct original proto-dst @refused_{v} reject with tcp reset"
            )
        ),
        purpose="A control connection too many.",
    )


def _base_chains(*, has_helper: bool) -> Iterator[Chain]:
    yield Chain(
        name="stray",
        rules=_rules(
            _both(
                '{ip} daddr . tcp dport @virtual_ports_{v} counter name "strays" drop',
                '{ip} saddr @real_{v} tcp sport @real_ports counter name "strays" drop',
            ),
            "After a failover another director may know the connection: an answer from here would reset it.",
        ),
        purpose="Packets that open no connection and belong to none.",
    )
    yield Chain(
        name="prerouting",
        hook="type filter hook prerouting priority mangle; policy accept;",
        rules=(
            Rule("tcp flags & (fin | syn | rst | ack) != syn ct state { invalid, new, untracked } goto stray"),
            *(
                _rules(
                    _both(f'ct state new {{ip}} daddr . tcp dport @helped_{{v}} ct helper set "{_HELPER}"'),
                    "Placement helper: the kernel reads this control connection.",
                )
                if has_helper
                else ()
            ),
        ),
    )
    yield Chain(
        name="choose",
        hook="type nat hook prerouting priority dstnat; policy accept;",
        rules=(
            *_rules(_both("{ip} daddr . tcp dport vmap @control_{v}"), "Control connections."),
            *_rules(
                _both(
                    "ct mark set {ip} daddr . tcp dport map @slice_{v} dnat {ip} to ct mark map @server_{v}",
                    "{ip} daddr . tcp dport vmap @passive_{v}",
                ),
                "Passive data connections: the port names the real server, or the client does.",
            ),
        ),
    )
    yield Chain(
        name="refuse",
        hook="type filter hook prerouting priority dstnat + 10; policy accept;",
        rules=_rules(
            _both(
                'ct state new {ip} daddr . tcp dport @virtual_ports_{v} counter name "unserved" reject with tcp reset'
            ),
            "What still goes to the virtual address got no real server.",
        ),
    )
    yield Chain(
        name="gate",
        rules=(
            *_rules(_both("{ip} saddr . {ip} daddr @admitted_{v} return"), "The client has a session with it."),
            Rule('counter name "gate" reject with tcp reset'),
        ),
        purpose="A data connection to a slice is admitted from clients of that very real server.",
    )
    yield Chain(
        name="forward",
        hook="type filter hook forward priority filter; policy accept;",
        rules=(
            *_rules(
                _both("meta l4proto tcp ct original {ip} daddr . ct original proto-dst vmap @session_{v}"),
                "Packets of control connections.",
            ),
            Rule("ct state new ct status dnat ct mark @gated jump gate", "A new data connection to a slice."),
            *_rules(
                _both(
                    "ct status snat,dnat {ip} saddr @bytes_to_clients_{v}",
                    "ct status snat,dnat {ip} daddr @bytes_to_servers_{v}",
                ),
                "Packets of data connections are counted.",
            ),
        ),
    )
    yield Chain(
        name="postrouting",
        hook="type nat hook postrouting priority srcnat; policy accept;",
        rules=(
            Rule("ct status dnat ct mark @fullnat masquerade", "Forwarding fullnat."),
            *_rules(
                _both("meta l4proto tcp {ip} daddr . {ip} saddr @admitted_{v} snat {ip} to {ip} saddr map @active_{v}"),
                "A real server connects to its client: an active data connection, from whatever port.",
            ),
        ),
    )
