"""The running director: verdicts and the operator's word become what is wanted, and the crew makes it true.

There is one path: a start, a reload, a verdict, a drain all end in `_changed`. This module knows no signal and no
socket of the operator.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ftpdirector.daemon.crew import Crew
from ftpdirector.daemon.here import load_here
from ftpdirector.daemon.logs import lines_dropped, where_of
from ftpdirector.daemon.parts import keep_running
from ftpdirector.daemon.predecessor import Predecessor
from ftpdirector.daemon.snapshot import compose
from ftpdirector.engines.ipvs.engine import drain_notes as ipvs_notes
from ftpdirector.engines.nftables.engine import drain_notes as nftables_notes
from ftpdirector.engines.proxy.runtime import Log
from ftpdirector.errors import ConfigError, ControlError, EngineError, Problem
from ftpdirector.failover.replication import replication_of
from ftpdirector.health.monitor import Monitor
from ftpdirector.health.probe import Secret
from ftpdirector.host.addresses import is_local, udp_ports
from ftpdirector.host.clock import HostClock
from ftpdirector.host.files import read_password
from ftpdirector.model import Cluster, Engine
from ftpdirector.state import EngineCounters, Health, Histogram, Override, SessionState, Snapshot, Verdict
from ftpdirector.wanted import Key, Wanted, want

_APPLY_SOON_S: Final = 0.02
"""Verdicts that change together are applied together."""
_APPLY_AGAIN_S: Final = 1.0


class App:
    """One director."""

    def __init__(self, cluster: Cluster, *, config_file: Path | None, log: Log) -> None:
        """`config_file` is what `reload` reads again; None for a cluster that was made up (the demo)."""
        self.cluster = cluster
        self.log = log
        self.overrides: dict[Key, Override] = {}
        self._config_file = config_file
        self._config_error = ""
        self._log_error = ""
        self.predecessor: Predecessor | None = None
        self._clock = HostClock()
        self._started_s = self._clock.now_s()
        self._crew: Crew | None = None
        self._due = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._refreshed_s = 0.0
        """When the newest answers were asked for, by the loop's clock."""
        self._monitor = Monitor(
            clock=self._clock,
            chance=random.SystemRandom(),
            read_password=lambda path: Secret(read_password(path)),
            on_verdict=self._on_verdict,
            sessions=self._sessions_at,
        )
        self._monitor.watch(cluster)

    async def start(self, crew: Crew, overrides: Mapping[Key, Override] | None = None) -> None:
        """Serve; `EngineError` when it cannot be."""
        self._crew = crew
        self.overrides.update(overrides or {})
        await crew.apply(self.wanted())

    async def run(self) -> None:
        """Look at real servers and follow what changes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("probes", self._monitor.run, self.log))
            group.create_task(keep_running("verdicts", self._follow, self.log))

    def wanted(self) -> Wanted:
        """What is to be true now."""
        return want(self.cluster, self._monitor.verdicts, self.overrides)

    def session_failed(self, key: Key, cause: str) -> None:
        """A real session could not use a real server."""
        self._monitor.session_failed(key, cause)

    @property
    def config_file(self) -> str:
        """What `reload` reads, as texts have it."""
        return str(self._config_file or "(demo)")

    async def reload(self) -> tuple[Problem, ...]:
        """Read the file again, and open the transfer log anew whatever comes of it.

        A ConfigError names all problems of the file, an EngineError what cannot be had; nothing is changed then.
        Returns the warnings.
        """
        if self._config_file is None or self._crew is None:
            raise ControlError("there is no cluster file to read again: this is the demo")
        try:
            warnings = await self._read_again(self._config_file, self._crew)
        except (ConfigError, EngineError) as error:
            self._refused(str(error))
            raise
        except Exception as error:  # a file of a kind that nobody thought of: it is refused like any other
            self._refused(f"{self._config_file}: {error!r}", where=where_of(error))
            raise EngineError(f"{self._config_file}: {error!r}") from error
        finally:
            try:
                await self._crew.reopen()
                self._log_error = ""
            except EngineError as error:
                self._log_not_reopened(error)
        return warnings

    async def reopen(self) -> None:
        """Open the transfer log anew: it was moved away. `EngineError` when it cannot be; the old one goes on then."""
        if self._crew is None:
            return
        try:
            await self._crew.reopen()
        except EngineError as error:
            self._log_not_reopened(error)
            raise
        self._log_error = ""
        self.log.info("transfer_log_reopened", file=self.cluster.transfer_log)

    def _log_not_reopened(self, error: EngineError) -> None:
        self._log_error = f"{error}; the file that was open before is written on"
        self.log.error("transfer_log_not_reopened", reason=str(error))

    def _refused(self, reason: str, **values: object) -> None:
        self._config_error = reason
        self.log.error("reload_refused", reason=reason, **values)

    async def _read_again(self, file: Path, crew: Crew) -> tuple[Problem, ...]:
        loaded = load_here(file)
        before = self.cluster
        if loaded.cluster.engine is not before.engine:
            raise EngineError(f'engine "{before.engine}" runs; restart the director for "{loaded.cluster.engine}"')
        if loaded.cluster.workers != before.workers:
            self.log.warning("workers_kept", wanted=loaded.cluster.workers, remedy="restart, or run --take-over")
        self.cluster = loaded.cluster
        self._monitor.watch(self.cluster)
        try:
            replaced = await crew.apply(self.wanted())
        except BaseException:
            self.cluster = before
            self._monitor.watch(before)
            raise
        keys = {
            (virtual.name, server.name) for virtual in self.cluster.virtual_servers for server in virtual.real_servers
        }
        self.overrides = {key: override for key, override in self.overrides.items() if key in keys}
        self._config_error = ""
        self.log.info("reloaded", file=str(file))
        for text in replaced:
            self.log.warning("worker_replaced", reason=text)
        return loaded.warnings

    async def override(self, name: str, override: Override) -> tuple[list[Key], tuple[str, ...]]:
        """The operator's word for `alpha` or `ftp/alpha`; a ControlError when nobody is called so.

        True when this returns: every worker has it, or is gone and named in the second value.
        """
        keys = self.keys_of(name)
        for key in keys:
            self.overrides[key] = override
            self.log.info("override", virtual_server=key[0], real_server=key[1], override=override.value)
        try:
            return keys, await self._crew.apply(self.wanted()) if self._crew is not None else ()
        except EngineError as error:
            self._due.set()
            raise ControlError(f"kept in mind, and not in force yet: {error}") from error

    def notes_for(self, keys: Sequence[Key]) -> tuple[str, ...]:
        """What an operator must know who drains these."""
        match self.cluster.engine:
            case Engine.PROXY:
                return ()
            case Engine.IPVS:
                return ipvs_notes(self.cluster, keys)
            case Engine.NFTABLES:
                return nftables_notes(self.cluster)

    def keys_of(self, name: str) -> list[Key]:
        """Every real server of this name."""
        virtual_name, _, real_name = name.rpartition("/")
        keys = [
            (virtual.name, server.name)
            for virtual in self.cluster.virtual_servers
            for server in virtual.real_servers
            if server.name == real_name and virtual_name in ("", virtual.name)
        ]
        if not keys:
            known = sorted({server.name for virtual in self.cluster.virtual_servers for server in virtual.real_servers})
            raise ControlError(f'no real server is called "{name}"; known: {", ".join(known)}')
        return keys

    async def refresh(self) -> None:
        """Ask those who serve what they count now: a `snapshot` that follows is true of this moment.

        Those who ask while others wait for an answer share the next one: nobody waits for more than two.
        """
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        async with self._refreshing:
            if self._refreshed_s > asked_s:
                return
            begun_s = loop.time()
            async with asyncio.TaskGroup() as group:
                if self._crew is not None:
                    group.create_task(self._crew.refresh())
                if self.predecessor is not None:
                    group.create_task(self.predecessor.refresh())
            self._refreshed_s = begun_s

    async def sessions(self) -> list[SessionState]:
        """Every session that is open, those of a predecessor included."""
        sessions = await self._crew.sessions() if self._crew is not None else []
        return sessions + (await self.predecessor.sessions() if self.predecessor is not None else [])

    def snapshot(self) -> Snapshot:
        """All of it, as it was counted at the last `refresh` or later."""
        several = len(self.cluster.directors) > 1
        addresses = [address for one in self.cluster.virtual_servers for address in one.addresses]
        counters = [
            EngineCounters(
                virtual_servers={},
                data_setup=Histogram(bounds_s=(), counts=(0,), sum_s=0.0),
                log_lines_dropped={"log": lines_dropped()},
            )
        ]
        notes = [self._log_error] if self._log_error else []
        for source in (self._crew, self.predecessor):
            if source is not None:
                counters += source.counters()
                notes += source.notes()
        return compose(
            wanted=self.wanted(),
            verdicts=self._monitor.verdicts,
            overrides=self.overrides,
            counters=counters,
            taken_s=self._clock.now_s(),
            started_s=self._started_s,
            config_file=self.config_file,
            config_error=self._config_error,
            workers=self.cluster.workers,
            director=next((one.name for one in self.cluster.directors if several and is_local(one.address)), ""),
            is_active=any(map(is_local, addresses)) if several else None,
            replication=replication_of(self.cluster, udp_ports()) if several else None,
            workers_running=self._crew.running if self._crew is not None else 0,
            notes=notes,
        )

    def _sessions_at(self, key: Key) -> int:
        """How many sessions live at a real server behind a virtual server."""
        virtual, real = key
        parts = [
            one.virtual_servers.get(virtual)
            for source in (self._crew, self.predecessor)
            if source is not None
            for one in source.counters()
        ]
        return sum(one.real_servers[real].sessions for one in parts if one and real in one.real_servers)

    def _on_verdict(self, key: Key, before: Verdict, now: Verdict) -> None:
        self._tell_undecided(key, before, now)
        if before.health is now.health:
            return
        # A server that goes down is for somebody to mend; one that comes up is the normal course of things.
        tell = self.log.warning if now.health in (Health.DOWN, Health.FULL) else self.log.info
        tell(
            "verdict",
            virtual_server=key[0],
            real_server=key[1],
            before=before.health.value,
            now=now.health.value,
            reason=now.reason,
        )
        self._due.set()

    def _tell_undecided(self, key: Key, before: Verdict, now: Verdict) -> None:
        """Once a change, not once a probe: what the director lacks it may lack for long."""
        names = {"virtual_server": key[0], "real_server": key[1], "health": now.health.value}
        if now.undecided and now.undecided != before.undecided:
            self.log.warning("probe_undecided", reason=now.undecided, **names)
        elif before.undecided and not now.undecided:
            self.log.info("probe_decided_again", **names)

    async def _follow(self) -> None:
        while True:
            await self._due.wait()
            await asyncio.sleep(_APPLY_SOON_S)
            self._due.clear()
            if self._crew is None:
                continue
            try:
                await self._crew.apply(self.wanted())
            except Exception as error:  # noqa: BLE001 - what holds now is tried again until it is in force
                self.log.error("apply_failed", reason=str(error) or repr(error), where=where_of(error))
                self._due.set()
                await asyncio.sleep(_APPLY_AGAIN_S)
