"""`ftpdirector run`: the supervisor's life from start to end, signals, successor and service manager included.

This module knows no FTP and no way to schedule.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import structlog

from ftpdirector.daemon.app import App
from ftpdirector.daemon.control import Answer, ControlClient, ControlServer
from ftpdirector.daemon.crew import BesideKernel, Crew, InProcess, KernelEngine, Workers, fronts_of
from ftpdirector.daemon.here import load_here
from ftpdirector.engines.ipvs.engine import IpvsEngine
from ftpdirector.engines.nftables.engine import NftablesEngine
from ftpdirector.errors import ConfigError, ControlError, EngineError
from ftpdirector.host.files import raise_open_files_limit
from ftpdirector.host.notify import inherited_sockets, notify, watchdog_interval_s
from ftpdirector.model import Cluster, Endpoint, Engine
from ftpdirector.state import Override
from ftpdirector.status.server import StatusServer

_DESCRIPTORS_A_SESSION: Final = 6
"""Two control connections, two data connections, a pipe."""

_LISTENERS_SHOWN: Final = 8
_SUCCEEDED_BOUND_S: Final = 24 * 3600.0
"""A successor serves already: nothing hurries the transfers that are left, and a second TERM ends them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says beside the cluster file."""

    socket_path: Path
    stop_timeout_s: float = 60.0
    take_over: bool = False
    json_log: bool = False


class Supervisor:
    """Holds an App, its crew, the operator's socket and the status page together."""

    def __init__(self, app: App, settings: Settings) -> None:
        """Nothing listens yet."""
        self._app = app
        self._settings = settings
        self._log = app.log
        self._control = ControlServer(settings.socket_path, self._answer)
        self._status: StatusServer | None = None
        self._crew: Crew | None = None
        self._end = asyncio.Event()
        self._ends = 0
        self._reload = asyncio.Event()
        self._succeeded = False

    async def run_workers(self) -> None:
        """Serve with worker processes until told to end."""
        cluster = self._app.cluster
        predecessor, told, sockets = self._predecessor() if self._settings.take_over else (None, {}, {})
        if not self._settings.take_over:
            sockets = _by_endpoint(inherited_sockets())
        limit = raise_open_files_limit()
        self._log.info(
            "start", workers=cluster.workers, open_files=limit, sessions_at_most=limit // _DESCRIPTORS_A_SESSION
        )
        fronts = {
            Endpoint(address, virtual.port) for virtual in cluster.virtual_servers for address in virtual.addresses
        }
        status_socket = sockets.pop(cluster.status_listen, None) if cluster.status_listen else None
        for endpoint in [endpoint for endpoint in sockets if endpoint not in fronts]:
            sockets.pop(endpoint).close()
        crew = Workers(
            self._log,
            self._app.session_failed,
            workers=cluster.workers,
            sockets=sockets,
            json_log=self._settings.json_log,
        )
        overrides = {(virtual, real): Override(word) for virtual, real, word in told.get("overrides", [])}
        async with _running(crew):
            await self._live(crew, overrides, status_socket, predecessor)

    async def run_beside_kernel(self, engine: KernelEngine) -> None:
        """Probe, tell the kernel, show, until told to end; the kernel serves."""
        crew = BesideKernel(engine, self._log)
        overrides = dict.fromkeys(crew.drained(self._app.cluster), Override.DRAIN)
        async with _running(crew):
            await self._live(crew, overrides, None, None)

    async def run_in_process(self, ready: asyncio.Event | None = None) -> None:
        """Serve with one engine in this process until told to end (the demo)."""
        await self._live(InProcess(self._log, self._app.session_failed), {}, None, None, ready)

    def end(self) -> None:
        """Begin the end; the second time, end now."""
        self._ends += 1
        self._end.set()
        if self._ends > 1 and isinstance(self._crew, Workers):
            self._crew.kill()

    async def ended(self) -> None:
        """Wait until the end has begun."""
        await self._end.wait()

    async def _live(
        self,
        crew: Crew,
        overrides: dict[tuple[str, str], Override],
        status_socket: socket.socket | None,
        predecessor: ControlClient | None,
        ready: asyncio.Event | None = None,
    ) -> None:
        self._crew = crew
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        try:
            if predecessor is None:
                await self._control.refuse_a_second()
            await self._app.start(crew, overrides)
            await self._control.start(replace=predecessor is not None)
            if self._app.cluster.status_listen:
                self._status = StatusServer(self._app.cluster.status_listen, self._app.snapshot, status_socket)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._app.run()), group.create_task(self._reload_for_ever())]
                tasks.append(group.create_task(_watchdog()))
                if self._status:
                    tasks.append(group.create_task(self._status.serve()))
                self._tell_ready(crew)
                if predecessor is not None:
                    with predecessor:
                        predecessor.ask("finish")
                if ready is not None:
                    ready.set()
                await self._end.wait()
                notify("STOPPING=1")
                self._log.info("stopping", bound_s=self._settings.stop_timeout_s, successor=self._succeeded)
                self._control.close()
                for task in tasks:
                    task.cancel()
        finally:
            self._control.close()
            if self._status:
                self._status.close()
            bound_s = self._settings.stop_timeout_s if self._ends < 2 else 0
            if self._succeeded:
                await crew.stop(_SUCCEEDED_BOUND_S, grace_s=bound_s)
            else:
                await crew.stop(bound_s)
        self._log.info("stopped")

    def _tell_ready(self, crew: Crew) -> None:
        fds = tuple(sock.fileno() for sock in crew.listeners.values())
        for place in range(0, len(fds), 250):
            notify("FDSTORE=1", "FDNAME=ftpdirector", fds=fds[place : place + 250])
        notify("READY=1", "STATUS=serving")
        fronts = [str(one) for one in fronts_of(self._app.cluster)]
        self._log.info("ready", listeners=len(fronts), listening=" ".join(fronts[:_LISTENERS_SHOWN]))

    async def _reload_for_ever(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            with contextlib.suppress(ConfigError, EngineError, ControlError):  # logged, and shown in the status
                await self._app.reload()

    def _predecessor(self) -> tuple[ControlClient, dict[str, Any], dict[Endpoint, socket.socket]]:
        client = ControlClient(self._settings.socket_path)
        told, sockets = client.take_over()
        return client, told, _by_endpoint(list(sockets.values()))

    def _handed(self) -> dict[str, socket.socket]:
        listeners = dict(self._crew.listeners) if self._crew else {}
        handed = {str(endpoint): sock for endpoint, sock in listeners.items()}
        if self._status is not None:
            handed[f"status {self._status.endpoint}"] = self._status.socket
        return handed

    async def _answer(self, request: dict[str, Any]) -> Answer:
        app = self._app
        name = str(request.get("name", ""))
        match request.get("command"):
            case "status":
                return {"ok": True, "status": dataclasses.asdict(app.snapshot())}, []
            case "sessions":
                sessions = await self._crew.sessions() if self._crew else []
                return {"ok": True, "sessions": [dataclasses.asdict(one) for one in sessions]}, []
            case "drain":
                keys = app.override(name, Override.DRAIN)
                return {"ok": True, "real_servers": keys, "notes": app.notes_for(keys)}, []
            case "enable":
                return {"ok": True, "real_servers": app.override(name, Override.NONE)}, []
            case "reload":
                try:
                    return {"ok": True, "warnings": [str(problem) for problem in await app.reload()]}, []
                except (ConfigError, EngineError) as error:
                    raise ControlError(str(error)) from error
            case "listeners":
                return {"ok": True, "endpoints": list(self._handed())}, []
            case "hand_over":
                fds = [sock.fileno() for sock in self._handed().values()]
                words = [(*key, override.value) for key, override in app.overrides.items()]
                return {"ok": True, "overrides": words}, fds
            case "finish":
                self._succeeded = True
                self.end()
                return {"ok": True}, []
            case unknown:
                raise ControlError(f"unknown command {unknown!r}")


@contextlib.asynccontextmanager
async def _running(crew: Workers | BesideKernel) -> AsyncGenerator[None, None]:
    async with asyncio.TaskGroup() as group:
        hearing = group.create_task(crew.run())
        await asyncio.sleep(0)  # its own TaskGroup stands before the first worker is started
        try:
            yield
        finally:
            hearing.cancel()


async def _watchdog() -> None:
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)


def _by_endpoint(sockets: list[socket.socket]) -> dict[Endpoint, socket.socket]:
    return {Endpoint(ip_address(sock.getsockname()[0]), int(sock.getsockname()[1])): sock for sock in sockets}


def run(path: Path, settings: Settings) -> None:
    """Load, check and serve; ConfigError, EngineError or ControlError when that cannot be."""
    loaded = load_here(path)
    log = structlog.get_logger()
    for problem in loaded.warnings:
        log.warning("cluster_file", rule=problem.rule, problem=str(problem))
    _run(loaded.cluster, path.resolve(), settings)


def _run(cluster: Cluster, path: Path, settings: Settings) -> None:
    async def life() -> None:
        app = App(cluster, config_file=path, log=structlog.get_logger())
        supervisor = Supervisor(app, settings)
        match cluster.engine:
            case Engine.PROXY:
                await supervisor.run_workers()
            case Engine.IPVS:
                await supervisor.run_beside_kernel(IpvsEngine())
            case Engine.NFTABLES:
                await supervisor.run_beside_kernel(NftablesEngine())

    with one_error():
        asyncio.run(life())


@contextlib.contextmanager
def one_error() -> Generator[None, None, None]:
    """What a TaskGroup collected is told as its first error alone."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours, others = group.split((EngineError, ControlError))
        if ours is None or others is not None:
            raise
        # Not in an `except*`: on Debian's Python 3.11.2 what is raised there comes out in a group once more.
        raise _first(ours) from None


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    assert isinstance(error, Exception)  # noqa: S101 - KeyboardInterrupt is not in such a group
    return error
