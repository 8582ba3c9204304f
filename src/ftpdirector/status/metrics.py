"""A snapshot as Prometheus metrics: `ftpdirector_<noun>_<unit>[_total]`. This module keeps no number of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ftpdirector.state import Health, Override, RealServerState, Replication, Snapshot
from ftpdirector.text import shown

_LABELS = ("virtual_server", "real_server")
_GAUGES: tuple[tuple[str, str, Callable[[RealServerState], float]], ...] = (
    ("sessions", "Sessions that are open.", lambda one: one.sessions),
    ("transfers", "Transfers that run.", lambda one: one.transfers),
    ("real_server_weight", "Weight as the cluster file has it.", lambda one: one.weight),
    ("real_server_effective_weight", "Weight after verdict and override.", lambda one: one.effective_weight),
    ("probe_duration_seconds", "How long the last probe took.", lambda one: one.verdict.last_probe_duration_s),
    ("real_server_drained", "1 when the operator drains it.", lambda one: one.override is Override.DRAIN),
)
_COUNTERS: tuple[tuple[str, str, Callable[[RealServerState], float]], ...] = (
    ("sessions_opened", "Sessions given to the real server.", lambda one: one.sessions_total),
    ("downloads", "Downloads that ended well.", lambda one: one.downloads_total),
    ("uploads", "Uploads that ended well.", lambda one: one.uploads_total),
    ("download_bytes", "Bytes handed to clients.", lambda one: one.download_bytes_total),
    ("upload_bytes", "Bytes handed to real servers.", lambda one: one.upload_bytes_total),
)


class SnapshotCollector(Collector):
    """Takes the snapshot anew at each scrape."""

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        """`take` is called once a scrape."""
        self._take = take

    def collect(self) -> Iterable[Metric]:
        """Every family."""
        snapshot = self._take()
        rows = [
            ((shown(virtual.name), shown(real.name)), real)
            for virtual in snapshot.virtual_servers
            for real in virtual.real_servers
        ]
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(f"ftpdirector_{name}", text, labels=_LABELS)
            for labels, real in rows:
                gauge.add_metric(labels, float(value(real)))
            yield gauge
        for name, text, value in _COUNTERS:
            counter = CounterMetricFamily(f"ftpdirector_{name}", text, labels=_LABELS)
            for labels, real in rows:
                counter.add_metric(labels, float(value(real)))
            yield counter
        yield from _verdicts(rows)
        yield from _causes(snapshot, rows)
        dropped = CounterMetricFamily(
            "ftpdirector_refused",
            "Refused or dropped by the kernel, by cause.",
            labels=("cause",),
        )
        for cause, count in snapshot.refused_total.items():
            dropped.add_metric((shown(cause),), count)
        yield dropped
        lines = CounterMetricFamily(
            "ftpdirector_log_lines_dropped",
            "Log lines that could not be written: a full disk, a reader that stands still.",
            labels=("log",),
        )
        for log, count in snapshot.log_lines_dropped_total.items():
            lines.add_metric((log,), count)
        yield lines
        running = GaugeMetricFamily("ftpdirector_workers_running", "Worker processes that serve.")
        running.add_metric((), float(snapshot.workers_running))
        yield running
        active = GaugeMetricFamily("ftpdirector_active", "Whether this director serves: of several, one does.")
        active.add_metric((), float(snapshot.is_active is not False))
        yield active
        replication = GaugeMetricFamily(
            "ftpdirector_connection_sync_up",
            "Whether this program replicates connections with the other director: 1 it runs, 0 it does not.",
            labels=("by",),
        )
        for program, state in snapshot.replication.items():
            replication.add_metric((shown(program),), float(state is not Replication.SILENT))
        yield replication
        yield _setup(snapshot)


def _verdicts(rows: list[tuple[tuple[str, str], RealServerState]]) -> Iterable[Metric]:
    family = GaugeMetricFamily(
        "ftpdirector_real_server_health", "1 for the verdict that holds.", labels=(*_LABELS, "health")
    )
    for labels, real in rows:
        for health in Health:
            family.add_metric((*labels, health.value), float(real.verdict.health is health))
    yield family


def _causes(snapshot: Snapshot, rows: list[tuple[tuple[str, str], RealServerState]]) -> Iterable[Metric]:
    failures = CounterMetricFamily("ftpdirector_failures", "Failures by cause.", labels=(*_LABELS, "cause"))
    for labels, real in rows:
        for cause, count in real.failures_total.items():
            failures.add_metric((*labels, shown(cause)), count)
    yield failures
    undecided = CounterMetricFamily(
        "ftpdirector_probes_undecided",
        "Probes that could not tell, for the director itself lacked something, by cause: the verdict stayed.",
        labels=(*_LABELS, "cause"),
    )
    for labels, real in rows:
        for cause, count in real.verdict.undecided_total.items():
            undecided.add_metric((*labels, shown(cause)), count)
    yield undecided
    refused = CounterMetricFamily(
        "ftpdirector_sessions_refused", "Clients that got no session, by cause.", labels=("virtual_server", "cause")
    )
    for virtual in snapshot.virtual_servers:
        for cause, count in virtual.refused_total.items():
            refused.add_metric((shown(virtual.name), shown(cause)), count)
    yield refused


def _setup(snapshot: Snapshot) -> Metric:
    histogram = snapshot.data_setup
    family = HistogramMetricFamily(
        "ftpdirector_data_connection_setup_seconds", "From PASV, EPSV, PORT or EPRT to its reply."
    )
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip([*map(str, histogram.bounds_s), "+Inf"], histogram.counts, strict=True):
        total += count
        buckets.append((bound, total))
    family.add_metric((), buckets, histogram.sum_s)
    return family
