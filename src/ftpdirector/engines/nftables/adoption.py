"""The table as the kernel lists it -> who is offered, at which share, and who is drained: what a director left there.

The table is the only memory of verdicts and drains: it outlives the daemon, and goes with the boot. Pure: the listing
is an argument. This module runs no program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ftpdirector.engines.nftables.compile import Compiler, identity_in, state_in
from ftpdirector.engines.nftables.lookups import verdict_key
from ftpdirector.engines.nftables.virtual import FOLLOWING
from ftpdirector.nft.listing import parse_table
from ftpdirector.nft.objects import Set, Table
from ftpdirector.wanted import Key, Offer, want


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What stands: the table in our words where it is the one of this cluster, in the kernel's where it is not."""

    table: Table
    identity: str
    """Of the cluster that it was made from; empty where it does not say."""
    offers: Mapping[Key, Offer]
    """Of every real server of the cluster; one that the table does not know is offered as the file says."""


def adopt(listing: str, compiler: Compiler) -> Adoption:
    """What a listing holds of the compiler's cluster. Raises `ValueError` where it is no table of ours."""
    listed = parse_table(listing)
    sets = {nft_set.name: nft_set for nft_set in listed.sets}
    offers = dict(_offers(sets, compiler))
    compiled = compiler.table(offers)
    is_ours = state_in(listed) == state_in(compiled)
    return Adoption(table=compiled if is_ours else listed, identity=identity_in(listed), offers=offers)


def _offers(sets: Mapping[str, Set], compiler: Compiler) -> Iterator[tuple[Key, Offer]]:
    for pool in compiler.pools(want(compiler.cluster, {}, {}).offers):
        slots = Counter(_elements(sets, pool.named("schedule")).values())
        marks = {endpoint: mark for mark, endpoint in _elements(sets, pool.named("offered")).items()}
        follows = pool.virtual.scheduler in FOLLOWING
        for server in pool.servers:
            key = verdict_key(pool, server)
            is_withheld = key in _elements(sets, f"withheld_{pool.family.suffix}")
            mark = marks.get(f"{server.address} . {server.port}")
            yield (
                (pool.virtual.name, server.name),
                Offer(
                    0 if is_withheld else server.weight,
                    drained=key in _elements(sets, f"drained_{pool.family.suffix}"),
                    share=slots[mark] if follows and mark is not None and not is_withheld else None,
                ),
            )


def _elements(sets: Mapping[str, Set], name: str) -> Mapping[str, str]:
    return sets[name].elements if name in sets else {}
