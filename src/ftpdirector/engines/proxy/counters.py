"""What one process counts: by real server, by virtual server, and how long data connections took to set up.

Counts of sessions hold across workers (`shared`); all others are this process's own, and readers add them up. This
module knows no socket and writes no log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Final

from ftpdirector.engines.proxy.shared import WorkerCounts
from ftpdirector.ftp.actions import Direction, Outcome, TransferEnded
from ftpdirector.model import RealServer, VirtualServer
from ftpdirector.state import EngineCounters, Histogram, RealServerCounters, VirtualServerCounters

_SETUP_BOUNDS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class SetupTimes:
    """From a PASV, EPSV, PORT or EPRT to its reply."""

    def __init__(self) -> None:
        """Nothing was observed yet."""
        self._counts = [0] * (len(_SETUP_BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """One more."""
        self._sum_s += duration_s
        for place, bound_s in enumerate(_SETUP_BOUNDS_S):
            if duration_s <= bound_s:
                self._counts[place] += 1
                return
        self._counts[-1] += 1

    def histogram(self) -> Histogram:
        """As a value."""
        return Histogram(bounds_s=_SETUP_BOUNDS_S, counts=tuple(self._counts), sum_s=self._sum_s)


class RealServerStats:
    """A real server behind a virtual server: what is known and counted of it here."""

    __slots__ = (
        "_counts", "download_bytes", "downloads", "failures", "key", "refused", "server", "sessions_total",
        "text", "upload_bytes", "uploads", "virtual",
    )  # fmt: skip

    def __init__(self, counts: Callable[[str, int], int], virtual: VirtualServer, server: RealServer) -> None:
        """Nothing is counted yet; `counts` adds to a number that holds across workers."""
        self.virtual = virtual
        self.server = server
        self.text = str(server.address)
        self.key = f"r\0{virtual.name}\0{server.name}"
        self.refused: frozenset[str] = frozenset()
        self.sessions_total = 0
        self.downloads = self.uploads = self.download_bytes = self.upload_bytes = 0
        self.failures: dict[str, int] = {}
        self._counts = counts

    def count(self, change: int) -> None:
        """A session begins (+1) or ends (-1)."""
        self._counts(self.key, change)

    def failed(self, cause: str) -> None:
        """Count a failure by its cause."""
        self.failures[cause] = self.failures.get(cause, 0) + 1

    def count_transfer(self, ended: TransferEnded, moved: int) -> None:
        """A transfer ended that moved so many bytes."""
        upload = ended.direction is Direction.UPLOAD
        if ended.outcome is Outcome.COMPLETE:
            self.uploads += upload
            self.downloads += not upload
        elif ended.outcome in (Outcome.FAILED, Outcome.ABORTED):
            self.failed(ended.outcome.name.lower())
        if upload:
            self.upload_bytes += moved
        else:
            self.download_bytes += moved


class VirtualServerStats:
    """What is known and counted of a virtual server here; it outlives a reload."""

    __slots__ = ("key", "real", "refused", "server", "sessions_total")

    def __init__(self, server: VirtualServer) -> None:
        """Nothing is counted yet, and no real server is known."""
        self.server = server
        self.key = f"v\0{server.name}"
        self.real: dict[str, RealServerStats] = {}
        self.refused: dict[str, int] = {}
        self.sessions_total = 0


class Counters:
    """All of them, by the names of virtual servers, and which of those changed since they were last told."""

    def __init__(self, counts: WorkerCounts) -> None:
        """`counts` are the numbers that hold across workers."""
        self.virtual: dict[str, VirtualServerStats] = {}
        self.setup_times = SetupTimes()
        self._counts = counts
        self._touched: set[str] = set()

    def follow(self, servers: Iterable[VirtualServer]) -> None:
        """These virtual servers are configured now; what was counted of those that stay is kept."""
        names: set[str] = set()
        for server in servers:
            names.add(server.name)
            self._follow(server)
        self._touched |= names
        for name in [name for name in self.virtual if name not in names]:
            del self.virtual[name]

    def sessions_on(self, behind: RealServerStats) -> int:
        """The sessions that live on a real server, of all workers."""
        return self._counts.total(behind.key)

    def count_client(self, name: str, counted: str, change: int) -> tuple[int, int]:
        """A client comes (+1) or goes (-1); how many there are of all workers, and how many are counted as it is."""
        self._touched.add(name)
        return self._counts.add(f"v\0{name}", change), self._counts.add(counted, change)

    def count_refused(self, name: str, cause: str) -> None:
        """A client was refused."""
        virtual = self.virtual.get(name)
        if virtual is not None:
            virtual.refused[cause] = virtual.refused.get(cause, 0) + 1
            self._touched.add(name)

    def take_touched(self, live: Set[str]) -> Set[str]:
        """The virtual servers to which something happened since the last call; `live` have sessions now."""
        names, self._touched = self._touched | live, set()
        return names & self.virtual.keys()

    def engine_counters(
        self, names: Iterable[str], transfers: Mapping[str, int], endpoints: Callable[[VirtualServer], tuple[str, ...]]
    ) -> EngineCounters:
        """As values; `transfers` that run now are by the key of a real server."""
        servers: dict[str, VirtualServerCounters] = {}
        for name in names:
            virtual = self.virtual[name]
            servers[name] = VirtualServerCounters(
                endpoints=endpoints(virtual.server),
                sessions=self._counts.own(virtual.key),
                sessions_total=virtual.sessions_total,
                refused_total=dict(virtual.refused),
                real_servers={name: self._real_server(behind, transfers) for name, behind in virtual.real.items()},
            )
        return EngineCounters(virtual_servers=servers, data_setup=self.setup_times.histogram())

    def _follow(self, server: VirtualServer) -> None:
        virtual = self.virtual.get(server.name)
        if virtual is None:
            virtual = self.virtual[server.name] = VirtualServerStats(server)
        virtual.server = server
        old = virtual.real
        virtual.real = {}
        for real in server.real_servers:
            behind = old.get(real.name)
            if behind is None:
                behind = RealServerStats(self._counts.add, server, real)
            behind.virtual = server
            behind.server = real
            behind.text = str(real.address)
            virtual.real[real.name] = behind

    def _real_server(self, behind: RealServerStats, transfers: Mapping[str, int]) -> RealServerCounters:
        return RealServerCounters(
            sessions=self._counts.own(behind.key),
            sessions_total=behind.sessions_total,
            transfers=transfers.get(behind.key, 0),
            downloads_total=behind.downloads,
            uploads_total=behind.uploads,
            download_bytes_total=behind.download_bytes,
            upload_bytes_total=behind.upload_bytes,
            failures_total=dict(behind.failures),
        )
