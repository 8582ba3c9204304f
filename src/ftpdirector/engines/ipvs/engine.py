"""The part beside keepalived: verdicts and drains become track files, the kernel's table becomes counters.

A track file holds 0 (takes new sessions), 1 (failed or full) or 2 (drained by the operator), and outlives the process
that wrote it: keepalived goes on with it, and the next director takes drains over from it. This module serves no
connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ftpdirector.engines.ipvs.keepalived import TRACKS, track_name
from ftpdirector.engines.ipvs.observe import TABLE, IpvsService, parse_ip_vs
from ftpdirector.errors import EngineError, HostError
from ftpdirector.host import files
from ftpdirector.model import Cluster, Placement, RealServer, VirtualServer
from ftpdirector.slices import assign, group_of, groups_of, slice_marks
from ftpdirector.state import EngineCounters, Histogram, RealServerCounters, VirtualServerCounters
from ftpdirector.wanted import Key, Offer, Wanted

_OFFERED: Final = "0"
_WITHHELD: Final = "1"
_DRAINED: Final = "2"


class IpvsEngine:
    """Writes verdicts for keepalived, and reads what the kernel counts."""

    def __init__(self, tracks: Path = Path(TRACKS), table: Path = Path(TABLE)) -> None:
        """`tracks`: where the track files are; `table`: what the kernel prints of its virtual servers."""
        self._tracks = tracks
        self._table = table
        self._cluster = Cluster()
        self._is_begun = False

    def apply(self, wanted: Wanted) -> None:
        """Write the verdicts for keepalived; a server that was not probed yet keeps the verdict on disk.

        Raises `EngineError` where a file cannot be written, or where their directory was taken away (`remove`): what is
        gone on purpose is not made again.
        """
        if self._is_begun and not self._tracks.is_dir():
            raise EngineError(f"{self._tracks} is not there any more: ftpdirector apply FILE makes it")
        self._cluster = wanted.cluster
        for virtual in wanted.cluster.virtual_servers:
            for server in virtual.real_servers:
                self._write_verdict(virtual, server, wanted.offers[virtual.name, server.name])
        self._is_begun = True

    def look(self) -> None:
        """Does nothing: keepalived watches its table, and the kernel schedules by itself."""

    def follow(self) -> None:
        """Does nothing: no schedule depends on what is counted."""

    def drained(self, cluster: Cluster) -> tuple[Key, ...]:
        """The real servers that the track files of an earlier director drain."""
        return tuple(
            (virtual.name, server.name)
            for virtual in cluster.virtual_servers
            for server in virtual.real_servers
            if self._written_verdict(virtual, server) == _DRAINED
        )

    def snapshot_counters(self) -> EngineCounters:
        """The connections that stand now, by real server: control connections and, by slices, data connections."""
        services = {(service.mark, family): service for service in self._services() for family in _families(service)}
        marks = slice_marks(self._cluster)
        slots = {
            group: {assigned.server.address: assigned.slot for assigned in assign(virtuals)}
            for group, virtuals in groups_of(self._cluster).items()
            if virtuals[0].placement is Placement.SLICES
        }
        found: dict[str, VirtualServerCounters] = {}
        for virtual in self._cluster.virtual_servers:
            group = group_of(virtual)
            by_server: dict[str, RealServerCounters] = {}
            for server in virtual.real_servers:
                own = [services.get((virtual.firewall_mark, server.address.version))]
                if group in slots:
                    own.append(services.get((marks[group][slots[group][server.address]], server.address.version)))
                control, data = _active(own[:1], server), _active(own[1:], server)
                by_server[server.name] = RealServerCounters(sessions=control + data, transfers=data)
            found[virtual.name] = VirtualServerCounters(
                sessions=sum(counters.sessions - counters.transfers for counters in by_server.values()),
                real_servers=by_server,
            )
        return EngineCounters(virtual_servers=found, data_setup=Histogram(bounds_s=(), counts=(0,), sum_s=0.0))

    def _services(self) -> tuple[IpvsService, ...]:
        return parse_ip_vs(files.read_text(self._table) or "")

    def _write_verdict(self, virtual: VirtualServer, server: RealServer, offer: Offer) -> None:
        word = _DRAINED if offer.drained else _OFFERED if offer.weight or not server.weight else _WITHHELD
        said = self._written_verdict(virtual, server)
        if said == word or (said is not None and not offer.judged and not offer.drained and said != _DRAINED):
            return
        try:
            files.replace_text(self._tracks / track_name(virtual, server), f"{word}\n", mode=0o644)
        except HostError as error:
            raise EngineError(str(error)) from error

    def _written_verdict(self, virtual: VirtualServer, server: RealServer) -> str | None:
        text = files.read_text(self._tracks / track_name(virtual, server))
        return None if text is None else text.strip()


def _families(service: IpvsService) -> set[int]:
    return {address.version for address, _ in service.destinations}


def _active(services: list[IpvsService | None], server: RealServer) -> int:
    return sum(
        destination.active
        for service in services
        if service is not None
        for (address, _), destination in service.destinations.items()
        if address == server.address
    )


def drain_notes(cluster: Cluster, keys: Sequence[Key]) -> tuple[str, ...]:
    """What an operator must know who drains these real servers."""
    drained = {name for name, _ in keys}
    notes = [
        f'virtual_server "{virtual.name}": placement "persistence" cannot drain in peace: clients in session lose '
        "their next data connection, so that new sessions go elsewhere (expire_quiescent_template); placement "
        '"slices" can'
        for virtual in cluster.virtual_servers
        if virtual.name in drained and virtual.placement is Placement.PERSISTENCE
    ]
    notes += [
        f'virtual_server "{virtual.name}": keepalived drains no sorry server: "{server.name}" gets new sessions still '
        "while no other real server takes any"
        for virtual in cluster.virtual_servers
        for server in virtual.real_servers
        if server.sorry and (virtual.name, server.name) in keys
    ]
    if len(cluster.directors) > 1:
        others = ", ".join(director.name for director in cluster.directors)
        notes.append(f"this director alone was told; say the same on each of: {others}")
    return tuple(notes)
