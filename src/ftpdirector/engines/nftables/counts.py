"""What the kernel counts -> sessions, transfers and bytes by real server: from its connections, and from our table.

Reading costs a process or two each; what was read lately is told again. This module changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ftpdirector.change.setup import TABLE
from ftpdirector.engines.nftables.compile import Compiler
from ftpdirector.engines.nftables.connections import Open, count_open, first_of_each_range_first
from ftpdirector.engines.nftables.lookups import DOWN, SERVED, UP
from ftpdirector.engines.nftables.names import family_of
from ftpdirector.errors import EngineError, HostError
from ftpdirector.host import packetfilter
from ftpdirector.host.clock import HostClock
from ftpdirector.model import Cluster, VirtualServer
from ftpdirector.state import EngineCounters, Histogram, RealServerCounters, VirtualServerCounters

_FRESH_S: Final = 0.5
_REMEMBERED: Final = 3
"""Looks whose arrivals are remembered."""
_OF_NOBODY: Final = ("gate", "strays", "unserved")
_NEVER_S: Final = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traffic:
    """What the table has counted of each real server since it stands there."""

    served: Mapping[str, int] = field(default_factory=dict[str, int])
    """Control connections, by mark and virtual port."""
    down: Mapping[str, int] = field(default_factory=dict[str, int])
    up: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of data connections, by address."""


class Counts:
    """Reads, and remembers for a moment."""

    def __init__(self, clock: HostClock) -> None:
        """Nothing is read yet."""
        self._clock = clock
        self.open = Open(control={}, data={})
        self._counters: Mapping[str, int] = {}
        self._read_at_s = _NEVER_S
        self._arrivals: dict[str, deque[int]] = {}
        self._traffic = _Traffic()
        self._traffic_at_s = _NEVER_S

    @property
    def is_fresh(self) -> bool:
        """Whether what is open was read lately."""
        return self._clock.monotonic_s() - self._read_at_s < _FRESH_S

    def arrivals(self, virtual_server: str) -> Sequence[int]:
        """How many sessions came between the last looks."""
        return tuple(self._arrivals.get(virtual_server, ()))

    def read(self, cluster: Cluster) -> None:
        """Read what is open, and who came. Raises `EngineError`."""
        versions = {address.version for one in cluster.virtual_servers for address in one.addresses}
        try:
            listing = "".join(packetfilter.list_connections(version) for version in sorted(versions))
            counters = packetfilter.list_counters(TABLE)
        except HostError as error:
            raise EngineError(str(error)) from error
        before, self._counters = self._counters, counters
        self.open = count_open(listing, cluster)
        self._read_at_s = self._clock.monotonic_s()
        for virtual in cluster.virtual_servers:
            name = _sessions(virtual)
            came = max(0, counters.get(name, 0) - before.get(name, 0)) if before else 0
            self._arrivals.setdefault(virtual.name, deque(maxlen=_REMEMBERED)).append(came)

    def counters(self, compiler: Compiler) -> EngineCounters:
        """Everything, read anew where it is old. Raises `EngineError`."""
        cluster = compiler.cluster
        if not self.is_fresh:
            self.read(cluster)
        if self._clock.monotonic_s() - self._traffic_at_s >= _FRESH_S:
            self._traffic = _read_traffic(cluster)
            self._traffic_at_s = self._clock.monotonic_s()
        return EngineCounters(
            virtual_servers=dict(self._by_virtual_server(compiler)),
            data_setup=Histogram(bounds_s=(), counts=(0,), sum_s=0.0),
            refused_total={name: self._counters.get(name, 0) for name in _OF_NOBODY},
        )

    def _by_virtual_server(self, compiler: Compiler) -> Iterator[tuple[str, VirtualServerCounters]]:
        named: set[str] = set()
        for virtual in first_of_each_range_first(compiler.cluster.virtual_servers):
            by_server: dict[str, RealServerCounters] = {}
            for server in virtual.real_servers:
                key, address = (virtual.name, server.name), str(server.address)
                # Data of a shared range counts for its first virtual server, as with what is open.
                is_first = address not in named
                named.add(address)
                by_server[server.name] = RealServerCounters(
                    sessions=self.open.control.get(key, 0),
                    sessions_total=self._traffic.served.get(compiler.served_key(virtual, server), 0),
                    transfers=self.open.data.get(key, 0),
                    download_bytes_total=self._traffic.down.get(address, 0) if is_first else 0,
                    upload_bytes_total=self._traffic.up.get(address, 0) if is_first else 0,
                )
            yield (
                virtual.name,
                VirtualServerCounters(
                    sessions=sum(one.sessions for one in by_server.values()),
                    sessions_total=self._counters.get(_sessions(virtual), 0),
                    refused_total={"limit": self._counters.get(f"refused_{virtual.name}", 0)},
                    real_servers=by_server,
                ),
            )


def _sessions(virtual: VirtualServer) -> str:
    return f"sessions_{virtual.name}"


def _read_traffic(cluster: Cluster) -> _Traffic:
    families = {family_of(address).suffix for one in cluster.virtual_servers for address in one.addresses}
    try:
        served = packetfilter.list_counting_set(TABLE, SERVED)
        down, up = (
            {
                address: size
                for suffix in families
                for address, (_, size) in packetfilter.list_counting_set(TABLE, f"{name}_{suffix}").items()
            }
            for name in (DOWN, UP)
        )
    except HostError as error:
        raise EngineError(str(error)) from error
    return _Traffic(served={key: packets for key, (packets, _) in served.items()}, down=down, up=up)
