"""The part of the table that belongs to one virtual server: its scheduling, its persistence, its limits.

This module knows no other virtual server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ftpdirector.engines.nftables.marks import DATA_BIT, format_mark
from ftpdirector.engines.nftables.names import ACCEPTED, Family, family_of, network_of_client
from ftpdirector.engines.nftables.tables import hashed, interleaved, maglev
from ftpdirector.model import IPAddress, Placement, RealServer, VirtualServer
from ftpdirector.nft.objects import Chain, Rule, Set
from ftpdirector.wanted import Offer, taking

FOLLOWING: Final = ("lc", "wlc")
"""Schedulers whose shares follow the number of sessions."""
_MOST_PERSISTENT: Final = 65_536
"""Client networks of one virtual server; the kernel sets 1 MiB aside for the map."""
_SHORTEST_S: Final = 60
_SLOT_TYPE: Final = "numgen inc mod 1024 : ct mark"
"""A slot is a number of 32 bits; nft has no name for that type, and 1.0.6 crashes on a listing with jhash in it."""
_SEED: Final = "0x00667470"
"""The same everywhere and always, so that a client's hash outlives restarts and is the same on every director."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPool:
    """A virtual address and the real servers of its family: their marks, and their weights as offered now."""

    virtual: VirtualServer
    address: IPAddress
    family: Family
    servers: tuple[RealServer, ...]
    marks: tuple[int, ...]
    offers: tuple[Offer, ...]
    persistent: str
    """The virtual server that the map of persistence is named after."""

    def named(self, part: str) -> str:
        """The name of a part of it in the table."""
        return f"{part}_{self.virtual.name}_{self.family.suffix}"

    @property
    def persistence(self) -> str:
        """The name of its map of persistence."""
        return f"persistent_{self.persistent}_{self.family.suffix}"

    @property
    def last_command(self) -> str:
        """The name of its map of who spoke last."""
        return f"last_command_{self.persistent}_{self.family.suffix}"

    @property
    def is_persistent(self) -> bool:
        """Whether clients keep their real server."""
        return self.virtual.persistence_timeout_s > 0

    @property
    def is_found_by_persistence(self) -> bool:
        """Whether data connections find their real server by it."""
        return self.virtual.placement is Placement.PERSISTENCE and self.owns_persistence

    @property
    def owns_persistence(self) -> bool:
        """Whether the map is its own; virtual servers that share a passive range may share one."""
        return self.persistent == self.virtual.name

    @property
    def taking(self) -> tuple[Offer, ...]:
        """The offers as they count for the next client."""
        return taking(self.servers, self.offers)

    @property
    def slots(self) -> tuple[int, ...]:
        """The scheduling table: places in `servers`."""
        offers = self.taking
        match self.virtual.scheduler:
            case "sh" | "mh" as scheduler:
                fill = hashed if scheduler == "sh" else maglev
                names = [str(server.address) for server in self.servers]
                weights = [0 if server.sorry else server.weight for server in self.servers]
                return fill(names, weights, [offer.weight for offer in offers])
            case "rr":
                return interleaved(tuple(min(1, offer.weight) for offer in offers))
            case "lc" if all(offer.share is None for offer in offers):
                return interleaved(tuple(min(1, offer.weight) for offer in offers))
            case _:
                shares = interleaved(tuple(_share(offer) for offer in offers))
                return shares or interleaved(tuple(offer.weight for offer in offers))


def _share(offer: Offer) -> int:
    return 0 if not offer.weight else offer.weight if offer.share is None else offer.share


def sets_of(pool: FamilyPool) -> Iterator[Set]:
    """Its maps."""
    yield Set(
        name=pool.named("offered"),
        type=f"mark : {pool.family.type} . inet_service",
        elements={
            format_mark(mark): f"{server.address} . {server.port}"
            for mark, server, offer in zip(pool.marks, pool.servers, pool.taking, strict=True)
            if offer.weight
        },
        purpose="Real servers that take new sessions.",
    )
    yield Set(
        name=pool.named("schedule"),
        type=_SLOT_TYPE,
        typeof=True,
        elements={str(slot): format_mark(pool.marks[place]) for slot, place in enumerate(pool.slots)},
        purpose=f"Whose turn it is, by scheduler {pool.virtual.scheduler}.",
    )
    if pool.is_persistent and pool.owns_persistence:
        yield _map_of_networks(pool, pool.persistence, "The real server that a client network keeps.")
    if pool.is_found_by_persistence:
        yield _map_of_networks(
            pool, pool.last_command, "The real server that a client network gave its last command to."
        )


def _map_of_networks(pool: FamilyPool, name: str, purpose: str) -> Set:
    return Set(
        name=name,
        type=f"{pool.family.type} : mark",
        size=_MOST_PERSISTENT,
        flags=("dynamic", "timeout"),
        purpose=purpose,
    )


def chains_of(virtual: VirtualServer, pools: Sequence[FamilyPool]) -> Iterator[Chain]:
    """Its chains, those that others call first."""
    yield Chain(name=f"limits_{virtual.name}", rules=tuple(_limits(virtual)), purpose="A new control connection.")
    for pool in pools:
        if pool.virtual is virtual:
            yield Chain(name=pool.named("control"), rules=tuple(_choose(pool)))
            yield Chain(name=pool.named("session"), rules=tuple(_session(pool)))
            if pool.is_found_by_persistence:
                yield Chain(name=pool.named("passive"), rules=tuple(_data_by_persistence(pool)))


def _limits(virtual: VirtualServer) -> Iterator[Rule]:
    families = tuple(dict.fromkeys(map(family_of, virtual.addresses)))
    if virtual.max_sessions_per_client:
        for family in families:
            who = f"{family.word} saddr . ct original {family.word} daddr . ct original proto-dst"
            count = f"ct count over {virtual.max_sessions_per_client}"
            yield Rule(f"meta l4proto tcp add @clients_{family.suffix} {{ {who} {count} }} goto above_limit")
    if virtual.max_sessions:
        yield Rule(f"meta l4proto tcp ct count over {virtual.max_sessions} goto above_limit")
    for family in families:
        yield Rule(
            f"meta l4proto tcp ct original {family.word} daddr . ct original proto-dst @{ACCEPTED}_{family.suffix}",
            "Counted." if family is families[0] else "",
        )
    yield Rule("meta l4proto tcp ct mark . ct original proto-dst @sessions")


def _choose(pool: FamilyPool) -> Iterator[Rule]:
    if not pool.slots:
        return
    family, client = pool.family.word, network_of_client(pool.virtual, pool.family)
    go = f"meta l4proto tcp dnat {family} to ct mark map @{pool.named('offered')}"
    if pool.is_persistent:
        yield Rule(f"ct mark set {client} map @{pool.persistence}", "The client's network keeps its real server,")
        yield Rule(go, "as long as that one takes new sessions.")
        yield Rule(f"delete @{pool.persistence} {{ {client} : ct mark }}")
    keep = f"update @{pool.persistence} {{ {client} timeout {_timeout_s(pool)}s : ct mark }}"
    turn = f"ct mark set {_turn(pool)} map @{pool.named('schedule')}"
    if pool.is_persistent:
        yield Rule(turn)
        yield Rule(keep)
        yield Rule(go)
    else:
        yield Rule(f"{turn} {go}")


def _turn(pool: FamilyPool) -> str:
    match pool.virtual.scheduler:
        case "sh" | "mh":
            return f"jhash {pool.family.word} saddr mod {len(pool.slots)} seed {_SEED}"
        case _:
            return f"numgen inc mod {len(pool.slots)}"


def _session(pool: FamilyPool) -> Iterator[Rule]:
    family, client = pool.family, network_of_client(pool.virtual, pool.family)
    idle_s = max(_SHORTEST_S, round(pool.virtual.idle_timeout_s))
    # An address that a SYN alone names may be anyone's, who may answer by a reset: only who has agreed is let in.
    known = "tcp flags & (syn | rst) == 0 ct state established ct direction original"
    yield Rule(f"ct state new jump limits_{pool.virtual.name}")
    yield Rule(
        f"{known} update @admitted_{family.suffix} {{ {family.word} saddr . {family.word} daddr timeout {idle_s}s }}",
        "The client may open data connections to this real server, and this real server to it.",
    )
    if not pool.is_persistent:
        return
    yield Rule(f"{known} update @{pool.persistence} {{ {client} timeout {_timeout_s(pool)}s : ct mark }}")
    if pool.virtual.placement is Placement.PERSISTENCE:
        # An update renews an entry and does not change it: it has to go first.
        commands = "tcp flags & (syn | psh) == psh ct state established ct direction original"
        yield Rule(
            f"{commands} delete @{pool.last_command} {{ {client} : ct mark }}",
            "The next data connection of this network belongs to the session that gave the last command.",
        )
        yield Rule(f"{commands} update @{pool.last_command} {{ {client} timeout {_timeout_s(pool)}s : ct mark }}")


def _timeout_s(pool: FamilyPool) -> int:
    return max(1, round(pool.virtual.persistence_timeout_s))


def _data_by_persistence(pool: FamilyPool) -> Iterator[Rule]:
    client, family = network_of_client(pool.virtual, pool.family), pool.family
    for known in (pool.last_command, pool.persistence):
        yield Rule(
            f"ct mark set {client} map @{known} ct mark set ct mark | {format_mark(DATA_BIT)} "
            f"dnat {family.word} to ct mark map @server_{family.suffix}"
        )
