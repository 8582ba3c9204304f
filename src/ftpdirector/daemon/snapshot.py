"""Cluster, offers, verdicts, overrides and counters -> the snapshot. This module observes nothing itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ftpdirector import __version__
from ftpdirector.model import Endpoint, VirtualServer
from ftpdirector.state import (
    EngineCounters,
    Histogram,
    Override,
    RealServerCounters,
    RealServerState,
    Replication,
    Snapshot,
    Verdict,
    VirtualServerCounters,
    VirtualServerState,
)
from ftpdirector.wanted import Key, Wanted


def compose(
    *,
    wanted: Wanted,
    verdicts: Mapping[Key, Verdict],
    overrides: Mapping[Key, Override],
    counters: Sequence[EngineCounters],
    taken_s: float,
    started_s: float,
    config_file: str,
    config_error: str,
    workers: int,
    director: str = "",
    is_active: bool | None = None,
    replication: Mapping[str, Replication] | None = None,
    workers_running: int = 0,
    notes: Sequence[str] = (),
) -> Snapshot:
    """All of it at one moment; counters of several processes are summed."""
    return Snapshot(
        taken_s=taken_s,
        started_s=started_s,
        version=__version__,
        engine=wanted.cluster.engine,
        config_file=config_file,
        config_error=config_error,
        workers=workers,
        virtual_servers=tuple(
            _virtual(virtual, wanted, verdicts, overrides, counters) for virtual in wanted.cluster.virtual_servers
        ),
        data_setup=_histogram([one.data_setup for one in counters]),
        director=director,
        is_active=is_active,
        replication=dict(replication or {}),
        refused_total=dict(sum((Counter(one.refused_total) for one in counters), Counter[str]())),
        workers_running=workers_running,
        notes=tuple(notes),
        log_lines_dropped_total={
            log: sum(one.log_lines_dropped.get(log, 0) for one in counters) for log in ("log", "transfer_log")
        },
    )


def _virtual(
    virtual: VirtualServer,
    wanted: Wanted,
    verdicts: Mapping[Key, Verdict],
    overrides: Mapping[Key, Override],
    counters: Sequence[EngineCounters],
) -> VirtualServerState:
    parts = [one.virtual_servers[virtual.name] for one in counters if virtual.name in one.virtual_servers]
    refused: Counter[str] = Counter()
    for part in parts:
        refused.update(part.refused_total)
    states: list[RealServerState] = []
    for server in virtual.real_servers:
        key = (virtual.name, server.name)
        total = _sum([part.real_servers[server.name] for part in parts if server.name in part.real_servers])
        states.append(
            RealServerState(
                name=server.name,
                endpoint=str(server.endpoint),
                weight=server.weight,
                effective_weight=wanted.offers[key].weight,
                verdict=verdicts.get(key, Verdict()),
                override=overrides.get(key, Override.NONE),
                sorry=server.sorry,
                sessions=total.sessions,
                sessions_total=total.sessions_total,
                transfers=total.transfers,
                downloads_total=total.downloads_total,
                uploads_total=total.uploads_total,
                download_bytes_total=total.download_bytes_total,
                upload_bytes_total=total.upload_bytes_total,
                failures_total=total.failures_total,
            )
        )
    return VirtualServerState(
        name=virtual.name,
        endpoints=tuple(str(Endpoint(address, virtual.port)) for address in virtual.addresses),
        scheduler=virtual.scheduler,
        sessions=sum(part.sessions for part in parts),
        sessions_total=sum(part.sessions_total for part in parts),
        refused_total=dict(refused),
        real_servers=tuple(states),
    )


def _sum(parts: Sequence[RealServerCounters]) -> RealServerCounters:
    failures: Counter[str] = Counter()
    for part in parts:
        failures.update(part.failures_total)
    return RealServerCounters(
        sessions=sum(part.sessions for part in parts),
        sessions_total=sum(part.sessions_total for part in parts),
        transfers=sum(part.transfers for part in parts),
        downloads_total=sum(part.downloads_total for part in parts),
        uploads_total=sum(part.uploads_total for part in parts),
        download_bytes_total=sum(part.download_bytes_total for part in parts),
        upload_bytes_total=sum(part.upload_bytes_total for part in parts),
        failures_total=dict(failures),
    )


def _histogram(parts: Sequence[Histogram]) -> Histogram:
    parts = [part for part in parts if part.bounds_s]  # a predecessor of another version may have others, or none
    parts = [part for part in parts if part.bounds_s == parts[0].bounds_s]
    if not parts:
        return Histogram(bounds_s=(), counts=(0,), sum_s=0.0)
    columns = zip(*(part.counts for part in parts), strict=True)
    return Histogram(
        bounds_s=parts[0].bounds_s, counts=tuple(map(sum, columns)), sum_s=sum(part.sum_s for part in parts)
    )


def without_sessions(counters: EngineCounters) -> EngineCounters:
    """What is left of a process that has ended: nothing runs there any more, what it counted stays."""
    return replace(
        counters,
        virtual_servers={
            name: replace(
                virtual,
                sessions=0,
                endpoints=(),
                real_servers={
                    real: replace(values, sessions=0, transfers=0) for real, values in virtual.real_servers.items()
                },
            )
            for name, virtual in counters.virtual_servers.items()
        },
    )


def summed(counters: Sequence[EngineCounters]) -> EngineCounters:
    """Several processes as one."""
    names = dict.fromkeys(name for one in counters for name in one.virtual_servers)
    return EngineCounters(
        virtual_servers={
            name: _sum_virtual([one.virtual_servers[name] for one in counters if name in one.virtual_servers])
            for name in names
        },
        data_setup=_histogram([one.data_setup for one in counters]),
        refused_total=_added([one.refused_total for one in counters]),
        log_lines_dropped=_added([one.log_lines_dropped for one in counters]),
    )


def _sum_virtual(parts: Sequence[VirtualServerCounters]) -> VirtualServerCounters:
    names = dict.fromkeys(name for part in parts for name in part.real_servers)
    return VirtualServerCounters(
        sessions=sum(part.sessions for part in parts),
        sessions_total=sum(part.sessions_total for part in parts),
        refused_total=_added([part.refused_total for part in parts]),
        real_servers={
            name: _sum([part.real_servers[name] for part in parts if name in part.real_servers]) for name in names
        },
    )


def _added(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)
