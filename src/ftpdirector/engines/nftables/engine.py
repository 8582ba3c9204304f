"""The part beside the kernel: verdicts, drains and loads become the smallest change of the table.

Verdicts and drains stand in the table alone: traffic goes on without this process, and the next one takes them over.
This module serves no connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ftpdirector.change.setup import TABLE
from ftpdirector.engines.nftables.adoption import adopt
from ftpdirector.engines.nftables.compile import Compiler, state_in
from ftpdirector.engines.nftables.counts import Counts
from ftpdirector.engines.nftables.shares import expected, shares
from ftpdirector.engines.nftables.virtual import FOLLOWING
from ftpdirector.errors import EngineError, HostError
from ftpdirector.host import packetfilter
from ftpdirector.host.clock import HostClock
from ftpdirector.model import Cluster
from ftpdirector.nft.objects import Table
from ftpdirector.nft.transaction import transaction
from ftpdirector.state import EngineCounters
from ftpdirector.wanted import Key, Offer, Wanted

_CHECK_EVERY_S: Final = 5.0
_PART_OF_A_CORE: Final = 0.01
"""What looking whether the table still stands may cost."""
_GONE: Final = f'the table "{TABLE}" is not there: ftpdirector apply FILE puts it there, now and at each boot'


_OTHER: Final = (
    f'the table "{TABLE}" is of another cluster file than this process, and stays as it is: ftpdirector reload has the '
    "process take the file anew, ftpdirector apply FILE makes the table of it"
)


class NftablesEngine:
    """Edits the one table, and reads what the kernel counts. One caller at a time, but for `look`."""

    def __init__(self) -> None:
        """The table is first read by `drained`."""
        self._clock = HostClock()
        self._table: Table | None = None
        self._adopted: Mapping[Key, Offer] = {}
        self._wanted = Wanted(Cluster(), {})
        self._compiler = Compiler(self._wanted.cluster)
        self._counts = Counts(self._clock)
        self._check_at_s = self._clock.monotonic_s() + _CHECK_EVERY_S
        self._is_changed = False
        self._identity = ""
        """Of the cluster that was last applied here."""

    def drained(self, cluster: Cluster) -> tuple[Key, ...]:
        """What an earlier director had drained. Takes the table over as it stands; an `EngineError` without one."""
        self._adopt(cluster)
        return tuple(key for key, offer in self._adopted.items() if offer.drained)

    def apply(self, wanted: Wanted) -> None:
        """Change the table to it; a server that was not probed yet keeps the verdict in the table.

        Raises `EngineError` where the kernel refuses, or where another cluster file was applied since; nothing has
        changed then.
        """
        if _needs_counts(wanted.cluster) and not self._counts.is_fresh:
            self._counts.look(wanted.cluster)
        self._load_wanted(wanted)
        self._wanted = wanted
        self._identity = self._compiler_of(wanted.cluster).identity

    def look(self) -> None:
        """Read what the schedule depends on; may take a while, and may be called from another thread."""
        if _needs_counts(self._wanted.cluster):
            self._counts.look(self._wanted.cluster)
        now_s = self._clock.monotonic_s()
        if now_s >= self._check_at_s:
            self._is_changed = not self._stands()
            took_s = self._clock.monotonic_s() - now_s  # nft reads all of a table to find a chain
            self._check_at_s = now_s + max(_CHECK_EVERY_S, took_s / _PART_OF_A_CORE)

    def follow(self) -> None:
        """Change the table after a look. Raises `EngineError`."""
        if self._is_changed:
            self._is_changed = False
            self._adopt(self._wanted.cluster, keep=True)
            self._load_wanted(self._wanted)
        elif _needs_counts(self._wanted.cluster):
            self._load_wanted(self._wanted)

    def snapshot_counters(self) -> EngineCounters:
        """The connections that are open now by real server, and what the table has counted since it was made."""
        return self._counts.counters(self._compiler_of(self._wanted.cluster))

    def _stands(self) -> bool:
        return self._table is not None and packetfilter.has_chain(TABLE, state_in(self._table))

    def _adopt(self, cluster: Cluster, *, keep: bool = False) -> None:
        try:
            listing = packetfilter.list_table(TABLE)
            if listing is None:
                raise EngineError(_GONE)
            found = adopt(listing, self._compiler_of(cluster))
        except HostError as error:
            raise EngineError(f"{error}\nthe engine nftables needs CAP_NET_ADMIN") from error
        except ValueError as error:
            raise EngineError(f'the table "{TABLE}" is not one of ours ({error}): ftpdirector apply FILE') from error
        # Another file was applied meanwhile: what was changed on purpose is not put back.
        if keep and found.identity not in ("", self._identity, self._compiler_of(cluster).identity):
            raise EngineError(_OTHER)
        self._table = found.table
        if not keep:
            self._adopted = found.offers

    def _load_wanted(self, wanted: Wanted) -> None:
        after = self._compiler_of(wanted.cluster).table(self._effective(wanted))
        if self._table is None:
            self._adopt(wanted.cluster)
        try:
            self._load(after)
        except HostError:
            # Another process has changed the table since: `apply`, most likely, or the boot file.
            self._adopt(wanted.cluster, keep=True)
            try:
                self._load(after)
            except HostError as error:
                raise EngineError(str(error)) from error

    def _compiler_of(self, cluster: Cluster) -> Compiler:
        if self._compiler.cluster != cluster:
            self._compiler = Compiler(cluster)
        return self._compiler

    def _load(self, after: Table) -> None:
        assert self._table is not None  # noqa: S101 - _carry_out has taken it over
        text = transaction(self._table, after)
        if text:
            packetfilter.load_nft(text)
            self._table = after

    def _effective(self, wanted: Wanted) -> Mapping[Key, Offer]:
        control = self._counts.open.control
        offers: dict[Key, Offer] = dict(wanted.offers)
        for virtual in wanted.cluster.virtual_servers:
            for server in virtual.real_servers:
                key = virtual.name, server.name
                offer, stood = offers[key], self._adopted.get(key)
                is_full = bool(server.max_sessions) and control.get(key, 0) >= server.max_sessions
                is_down = not offer.judged and stood is not None and not stood.weight and not stood.drained
                if is_full or is_down:
                    offers[key] = replace(offer, weight=0)
        return self._with_shares(wanted.cluster, offers)

    def _with_shares(self, cluster: Cluster, offers: dict[Key, Offer]) -> Mapping[Key, Offer]:
        control = self._counts.open.control
        if not any(control.values()) or not any(virtual.scheduler in FOLLOWING for virtual in cluster.virtual_servers):
            return offers
        for pool in self._compiler_of(cluster).pools(offers):
            keys = [(pool.virtual.name, server.name) for server in pool.servers]
            sessions = [control.get(key, 0) for key in keys]
            if pool.virtual.scheduler not in FOLLOWING or not any(sessions):
                continue
            weighs = pool.virtual.scheduler == "wlc"
            weights = [offer.weight if weighs else min(1, offer.weight) for offer in pool.taking]
            coming = expected(self._counts.arrivals(pool.virtual.name), sum(map(bool, weights)))
            dealt = shares(weights, sessions, coming)
            if any(dealt):
                offers.update({key: replace(offers[key], share=share) for key, share in zip(keys, dealt, strict=True)})
        return offers


def _needs_counts(cluster: Cluster) -> bool:
    return any(
        virtual.scheduler in FOLLOWING or any(server.max_sessions for server in virtual.real_servers)
        for virtual in cluster.virtual_servers
    )


def drain_notes(cluster: Cluster) -> tuple[str, ...]:
    """What an operator must know who drains a real server."""
    others = ", ".join(director.name for director in cluster.directors)
    return (f"this director alone was told; say the same on each of: {others}",) if len(cluster.directors) > 1 else ()
