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
from ftpdirector.engines.nftables.names import (
    ACCEPTED,
    BYTES_TO_CLIENTS,
    BYTES_TO_SERVERS,
    REFUSED,
    SESSIONS,
    family_of,
)
from ftpdirector.errors import EngineError, HostError
from ftpdirector.host import packetfilter
from ftpdirector.host.clock import HostClock
from ftpdirector.model import Cluster, VirtualServer
from ftpdirector.state import EngineCounters, Histogram, RealServerCounters, VirtualServerCounters

_FRESH_S: Final = 0.5
_SELDOM_S: Final = 15.0
"""Connections that another director replicates to this one are no arrivals here."""
_REMEMBERED: Final = 3
"""Looks whose arrivals are remembered."""
_PART_OF_A_CORE: Final = 0.05
"""What reading totals may cost: with thousands of real servers they are as old as half a minute."""
_NEVER_S: Final = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traffic:
    """What the table has counted since it stands there."""

    accepted: Mapping[str, int] = field(default_factory=dict[str, int])
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    """Control connections, by virtual address and port."""
    sessions: Mapping[str, int] = field(default_factory=dict[str, int])
    """The same by mark and virtual port."""
    bytes_to_clients: Mapping[str, int] = field(default_factory=dict[str, int])
    bytes_to_servers: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of data connections, by address."""
    unassigned: Mapping[str, int] = field(default_factory=dict[str, int])
    """What belongs to no virtual server, by cause."""


class Counts:
    """Reads, and remembers for a moment."""

    def __init__(self, clock: HostClock) -> None:
        """`clock` says how old a reading is."""
        self._clock = clock
        self.open = Open(control={}, data={})
        self._accepted: Mapping[str, int] = {}
        self._read_at_s = _NEVER_S
        self._arrivals: dict[str, deque[int]] = {}
        self._traffic = _Traffic()
        self._traffic_until_s = _NEVER_S

    @property
    def is_fresh(self) -> bool:
        """Whether what is open was read lately."""
        return self._clock.monotonic_s() - self._read_at_s < _FRESH_S

    def arrivals(self, virtual_server: str) -> Sequence[int]:
        """How many sessions came between the last looks."""
        return tuple(self._arrivals.get(virtual_server, ()))

    def look(self, cluster: Cluster) -> None:
        """Read new and open connections; open ones seldom while there are none and none come.

        Raises `EngineError`.
        """
        before, self._accepted = self._accepted, _read_counting_sets(ACCEPTED, cluster)
        for virtual in cluster.virtual_servers:
            came = _at(self._accepted, virtual) - _at(before, virtual) if before else 0
            self._arrivals.setdefault(virtual.name, deque(maxlen=_REMEMBERED)).append(max(0, came))
        # Who came a look ago may have been answered since.
        is_quiet = not self.open and not any(map(any, self._arrivals.values()))
        if not is_quiet or self._clock.monotonic_s() - self._read_at_s >= _SELDOM_S:
            self._read_open(cluster)

    def counters(self, compiler: Compiler) -> EngineCounters:
        """Everything, read anew where it is old. Raises `EngineError`."""
        cluster = compiler.cluster
        if not self.is_fresh:
            self._read_open(cluster)
        if self._clock.monotonic_s() >= self._traffic_until_s:
            begun_s = self._clock.monotonic_s()
            self._traffic = _read_traffic(cluster)
            now_s = self._clock.monotonic_s()
            self._traffic_until_s = now_s + max(_FRESH_S, (now_s - begun_s) / _PART_OF_A_CORE)
        return EngineCounters(
            virtual_servers=dict(self._by_virtual_server(compiler)),
            data_setup=Histogram(bounds_s=(), counts=(0,), sum_s=0.0),
            refused_total=dict(self._traffic.unassigned),
        )

    def _read_open(self, cluster: Cluster) -> None:
        versions = {address.version for virtual in cluster.virtual_servers for address in virtual.addresses}
        try:
            listing = "".join(packetfilter.list_connections(version) for version in sorted(versions))
        except HostError as error:
            raise EngineError(str(error)) from error
        self.open = count_open(listing, cluster)
        self._read_at_s = self._clock.monotonic_s()

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
                    sessions_total=self._traffic.sessions.get(compiler.session_key(virtual, server), 0),
                    transfers=self.open.data.get(key, 0),
                    download_bytes_total=self._traffic.bytes_to_clients.get(address, 0) if is_first else 0,
                    upload_bytes_total=self._traffic.bytes_to_servers.get(address, 0) if is_first else 0,
                )
            yield (
                virtual.name,
                VirtualServerCounters(
                    sessions=sum(counters.sessions for counters in by_server.values()),
                    sessions_total=_at(self._traffic.accepted, virtual),
                    refused_total={"limit": _at(self._traffic.refused, virtual)},
                    real_servers=by_server,
                ),
            )


def _at(counted: Mapping[str, int], virtual: VirtualServer) -> int:
    return sum(counted.get(f"{address} . {virtual.port}", 0) for address in virtual.addresses)


def _read_counting_sets(name: str, cluster: Cluster, *, in_bytes: bool = False) -> Mapping[str, int]:
    """What the sets of this name have counted, in packets or bytes, of every family in use."""
    families = dict.fromkeys(family_of(address) for virtual in cluster.virtual_servers for address in virtual.addresses)
    try:
        return {
            key: counted[in_bytes]
            for family in families
            for key, counted in packetfilter.list_counting_set(TABLE, f"{name}_{family.suffix}").items()
        }
    except HostError as error:
        raise EngineError(str(error)) from error


def _read_traffic(cluster: Cluster) -> _Traffic:
    try:
        sessions = packetfilter.list_counting_set(TABLE, SESSIONS)
        unassigned = packetfilter.list_counters(TABLE)
    except HostError as error:
        raise EngineError(str(error)) from error
    return _Traffic(
        accepted=_read_counting_sets(ACCEPTED, cluster),
        refused=_read_counting_sets(REFUSED, cluster),
        sessions={key: packets for key, (packets, _) in sessions.items()},
        bytes_to_clients=_read_counting_sets(BYTES_TO_CLIENTS, cluster, in_bytes=True),
        bytes_to_servers=_read_counting_sets(BYTES_TO_SERVERS, cluster, in_bytes=True),
        unassigned=unassigned,
    )
