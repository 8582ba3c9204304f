"""What is observed, as values: verdicts, overrides, counters and the snapshot that every view is drawn from.

Times of day are seconds since the epoch; they are given by whoever observed. This module knows no engine, no page and
no metrics format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Health(StrEnum):
    """The outcome of probes over time."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"
    FULL = "full"
    """Answers 421 (too many users): takes no new sessions; the ones it has are not harmed."""


class Override(StrEnum):
    """The operator's word against the verdict."""

    NONE = "none"
    DRAIN = "drain"


class Replication(StrEnum):
    """What a program that replicates connections to another director does now."""

    SENDS = "sends"
    RECEIVES = "receives"
    RUNS = "runs"
    """In both directions."""
    SILENT = "does not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the director holds of a real server now, with the reason in words and since when."""

    health: Health = Health.UNKNOWN
    reason: str = "not probed yet"
    since_s: float = 0.0
    last_probe_duration_s: float = 0.0
    undecided: str = ""
    """Why the last probe could not tell (the director lacked something), so that the verdict stayed; else empty."""
    undecided_total: dict[str, int] = field(default_factory=dict[str, int])
    """Probes that could not tell, by cause, in words that are label values: `open_files`, `local_ports` ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerState:
    """One real server behind one virtual server."""

    name: str
    endpoint: str
    weight: int
    effective_weight: int
    verdict: Verdict
    override: Override
    sorry: bool = False
    """It stands in for the others: it takes new sessions only while none of them does."""
    sessions: int = 0
    sessions_total: int = 0
    transfers: int = 0
    """Transfers that run now."""
    downloads_total: int = 0
    uploads_total: int = 0
    download_bytes_total: int = 0
    upload_bytes_total: int = 0
    failures_total: dict[str, int] = field(default_factory=dict[str, int])
    """By cause, in words that are label values: `connect`, `greeting`, `data_connect`, `data_lost`, `aborted` ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServerState:
    """One virtual server and its real servers."""

    name: str
    endpoints: tuple[str, ...]
    scheduler: str
    sessions: int
    sessions_total: int
    refused_total: dict[str, int]
    real_servers: tuple[RealServerState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts by upper bound in seconds, Prometheus fashion: not cumulative here; the last bucket has no bound."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All of it at one moment."""

    taken_s: float
    started_s: float
    version: str
    engine: str
    config_file: str
    config_error: str
    """Why the newest file was not taken; empty when it was."""
    workers: int
    virtual_servers: tuple[VirtualServerState, ...]
    data_setup: Histogram
    """Time from a PASV, EPSV, PORT or EPRT command to its reply, data connection set up on the server's side."""
    refused_total: dict[str, int] = field(default_factory=dict[str, int])
    """What no virtual server can be named for, by cause."""
    director: str = ""
    """Which of several directors this host is; empty where there is one."""
    is_active: bool | None = None
    """Whether this host holds the virtual addresses; None where there is one director."""
    replication: dict[str, Replication] = field(default_factory=dict[str, Replication])
    """By the name of the program that replicates connections to the other director."""
    workers_running: int = 0
    """Worker processes that serve now; 0 where no connection passes the director."""
    notes: tuple[str, ...] = ()
    """What an operator should know of the director itself, in words: a worker that does not start, a predecessor."""
    log_lines_dropped_total: dict[str, int] = field(default_factory=dict[str, int])
    """Lines that could not be written, by log: `log` (standard error) and `transfer_log`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServerCounters:
    """What one engine process counted for one real server behind one virtual server; sums over processes make sense."""

    sessions: int = 0
    sessions_total: int = 0
    transfers: int = 0
    downloads_total: int = 0
    uploads_total: int = 0
    download_bytes_total: int = 0
    upload_bytes_total: int = 0
    failures_total: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServerCounters:
    """What one engine process counted for one virtual server."""

    endpoints: tuple[str, ...] = ()
    sessions: int = 0
    sessions_total: int = 0
    refused_total: dict[str, int] = field(default_factory=dict[str, int])
    real_servers: dict[str, RealServerCounters] = field(default_factory=dict[str, RealServerCounters])


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounters:
    """What one engine process counted, by name of the virtual server."""

    virtual_servers: dict[str, VirtualServerCounters]
    data_setup: Histogram
    refused_total: dict[str, int] = field(default_factory=dict[str, int])
    """What no virtual server can be named for, by cause (engine nftables): `gate`, `strays`, `unserved`."""
    log_lines_dropped: dict[str, int] = field(default_factory=dict[str, int])
    """Lines that this process could not write, by log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRecord:
    """One transfer that is over, for the transfer log. `user` and `path` as the client wrote them (8-bit safe)."""

    session: int
    started_s: float
    """Since the epoch."""
    duration_s: float
    bytes: int
    """Handed over to the receiver's socket."""
    client: str
    user: str
    verb: str
    path: str
    upload: bool
    binary: bool
    """TYPE I; false for TYPE A."""
    complete: bool
    outcome: str
    """`complete`, `refused`, `failed` or `aborted`."""
    reply: str
    virtual_server: str
    real_server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """One session that is open now."""

    number: int
    client: str
    user: str
    virtual_server: str
    real_server: str
    age_s: float
    idle_s: float
    transferring: bool
