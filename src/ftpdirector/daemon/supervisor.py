"""`ftpdirector run`: the supervisor's life from start to end, signals, successor and service manager included.

This module knows no FTP and no way to schedule.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import structlog

from ftpdirector.daemon.app import App
from ftpdirector.daemon.control import Answer, ControlClient, ControlServer
from ftpdirector.daemon.crew import BesideKernel, Crew, InProcess, KernelEngine
from ftpdirector.daemon.here import load_here
from ftpdirector.daemon.logs import first_of
from ftpdirector.daemon.parts import keep_running
from ftpdirector.daemon.predecessor import Predecessor
from ftpdirector.daemon.workers import Workers, fronts_of
from ftpdirector.engines.ipvs.engine import IpvsEngine
from ftpdirector.engines.nftables.engine import NftablesEngine
from ftpdirector.errors import ConfigError, ControlError, DirectorError, EngineError, HostError
from ftpdirector.host.files import raise_open_files_limit
from ftpdirector.host.notify import inherited_sockets, notify, watchdog_interval_s
from ftpdirector.host.privileges import Account, account_of
from ftpdirector.model import Cluster, Endpoint, Engine
from ftpdirector.state import Override
from ftpdirector.status.server import StatusServer

_DESCRIPTORS_A_SESSION: Final = 6
"""Two control connections, two data connections, a pipe."""

_LISTENERS_SHOWN: Final = 8
_SETTLE_S: Final = 0.5
"""A successor that dies so soon after it has taken over was none: this director goes on."""
_DEFAULT_ACCOUNTS: Final = ("ftpdirector", "nobody")
_SUCCEEDED_BOUND_S: Final = 24 * 3600.0
"""A successor serves already: nothing hurries the transfers that are left, and a second TERM ends them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says beside the cluster file."""

    socket_path: Path
    stop_timeout_s: float = 60.0
    take_over: bool = False
    json_log: bool = False
    user: str | None = None
    """Who workers of root are to be; None: `ftpdirector` if there is that account, else `nobody`."""


class Supervisor:
    """Holds an App, its crew, the operator's socket and the status page together."""

    def __init__(self, app: App, settings: Settings) -> None:
        """Nothing listens yet."""
        self._app = app
        self._settings = settings
        self._log = app.log
        self._control = ControlServer(settings.socket_path, self._answer, self._on_successor_gone)
        self._status: StatusServer | None = None
        self._crew: Crew | None = None
        self._end = asyncio.Event()
        self._ends = 0
        self._reload = asyncio.Event()
        self._successor_gone = asyncio.Event()
        self._finish = asyncio.Event()
        self._succeeded = False
        self._serves = False

    async def run_workers(self) -> None:
        """Serve with worker processes until told to end."""
        cluster = self._app.cluster
        account = self._account()
        predecessor, told, sockets = self._predecessor() if self._settings.take_over else (None, {}, {})
        if not self._settings.take_over:
            await self._control.refuse_a_second()
            sockets = _by_endpoint(inherited_sockets())
        limit = raise_open_files_limit()
        self._log.info(
            "start", workers=cluster.workers, open_files=limit, sessions_at_most=limit // _DESCRIPTORS_A_SESSION,
            user=account.name if account else None,
        )  # fmt: skip
        fronts = fronts_of(cluster)
        status_socket = sockets.pop(cluster.status_listen, None) if cluster.status_listen else None
        for endpoint in [endpoint for endpoint in sockets if endpoint not in fronts]:
            sockets.pop(endpoint).close()
        crew = Workers(
            self._log,
            self._app.session_failed,
            workers=cluster.workers,
            sockets=sockets,
            json_log=self._settings.json_log,
            orphan_bound_s=self._settings.stop_timeout_s,
            account=account,
        )
        overrides = {(virtual, real): Override(word) for virtual, real, word in told.get("overrides", [])}
        self._app.predecessor = predecessor
        parts = {"workers": crew.run} | ({"predecessor": predecessor.run} if predecessor else {})
        async with self._beside(parts):
            await self._live(crew, overrides, status_socket)

    async def run_beside_kernel(self, engine: KernelEngine) -> None:
        """Probe, tell the kernel, show, until told to end; the kernel serves."""
        crew = BesideKernel(engine, self._log)
        overrides = dict.fromkeys(crew.drained(self._app.cluster), Override.DRAIN)
        async with self._beside({"kernel": crew.run}):
            await self._live(crew, overrides, None)

    async def run_in_process(self, ready: asyncio.Event | None = None) -> None:
        """Serve with one engine in this process until told to end (the demo)."""
        await self._live(InProcess(self._log, self._app.session_failed), {}, None, ready)

    def end(self) -> None:
        """Begin the end; the second time, reset what runs and end; the third time, kill the workers."""
        self._ends += 1
        self._end.set()
        if self._crew is None:
            return
        if self._ends > 1:
            self._crew.end_now()
        if self._ends > 2 and isinstance(self._crew, Workers):
            self._crew.kill()

    async def ended(self) -> None:
        """Wait until the end has begun."""
        await self._end.wait()

    @contextlib.asynccontextmanager
    async def _beside(self, parts: Mapping[str, Callable[[], Awaitable[None]]]) -> AsyncGenerator[None, None]:
        """What runs from before the first word to the engine until after the last one."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(keep_running(name, part, self._log)) for name, part in parts.items()]
            await asyncio.sleep(0)  # a TaskGroup of its own stands before the first worker is started
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _live(
        self,
        crew: Crew,
        overrides: dict[tuple[str, str], Override],
        status_socket: socket.socket | None,
        ready: asyncio.Event | None = None,
    ) -> None:
        self._crew = crew
        predecessor = self._app.predecessor
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.end)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        try:
            if predecessor is None:
                await self._control.refuse_a_second()
            self._serves = await self._has_started(crew, overrides)
            if not self._serves:
                return
            await self._control.listen_beside()
            if self._app.cluster.status_listen:
                self._status = StatusServer(
                    self._app.cluster.status_listen, self._app.snapshot, status_socket, refresh=self._app.refresh
                )
            async with asyncio.TaskGroup() as group:
                parts: dict[str, Callable[[], Awaitable[None]]] = {
                    "director": self._app.run, "reload": self._reload_loop, "successor": self._successor_loop,
                    "watchdog": _watchdog,
                }  # fmt: skip
                if self._status:
                    parts["status page"] = self._status.serve
                tasks = [group.create_task(keep_running(name, part, self._log)) for name, part in parts.items()]
                self._control.put_in_place()
                if predecessor is not None and await predecessor.ask("finish") is None:
                    self._log.warning("predecessor_silent", remedy="end it by hand if it goes on to serve")
                self._tell_ready(crew)
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
            await self._stop(crew)
            if self._succeeded:
                await self._control.say_farewell(dataclasses.asdict(self._app.snapshot()))
        self._log.info("stopped")

    async def _has_started(self, crew: Crew, overrides: dict[tuple[str, str], Override]) -> bool:
        """Start; False when it was told to end meanwhile, which waits for no worker that does not come up."""
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(self._app.start(crew, overrides))
            ending = group.create_task(self._end.wait())
            await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            starting.cancel()
        if starting.cancelled():
            self._log.info("stopped", reason="told to end before it served")
        return not starting.cancelled()

    async def _stop(self, crew: Crew) -> None:
        bound_s = self._settings.stop_timeout_s if self._ends < 2 and self._serves else 0
        if not self._succeeded:
            await crew.stop(bound_s)
            return
        await crew.stop(_SUCCEEDED_BOUND_S, grace_s=bound_s)
        before = self._app.predecessor
        if before is not None and self._ends < 2:
            # The successor knows of that one's sessions by this process alone.
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(before.ended.wait()), group.create_task(self._second_end())]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()

    async def _second_end(self) -> None:
        while self._ends < 2:
            self._end.clear()
            await self._end.wait()

    def _tell_ready(self, crew: Crew) -> None:
        fds = tuple(sock.fileno() for sock in crew.listeners.values())
        for place in range(0, len(fds), 250):
            notify("FDSTORE=1", "FDNAME=ftpdirector", fds=fds[place : place + 250])
        notify("READY=1", "STATUS=serving")
        fronts = [str(one) for one in fronts_of(self._app.cluster)]
        self._log.info("ready", listeners=len(fronts), listening=" ".join(fronts[:_LISTENERS_SHOWN]))

    async def _reload_loop(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            with contextlib.suppress(ConfigError, EngineError, ControlError):  # logged, and shown in the status
                await self._app.reload()

    def _account(self) -> Account | None:
        if os.geteuid() != 0:
            if self._settings.user is not None:
                raise EngineError("--user: root alone can run workers as somebody else")
            return None
        try:
            return account_of(*((self._settings.user,) if self._settings.user is not None else _DEFAULT_ACCOUNTS))
        except HostError as error:
            raise EngineError(f"{error}; name one that is there with --user") from error

    def _predecessor(self) -> tuple[Predecessor, dict[str, Any], dict[Endpoint, socket.socket]]:
        with ControlClient(self._settings.socket_path) as client:
            client.must_run(Path(self._app.config_file))
            told, sockets = client.take_over()
            return Predecessor(client.detach(), told.get("status")), told, _by_endpoint(list(sockets.values()))

    def _on_successor_gone(self) -> None:
        self._successor_gone.set()

    async def _successor_loop(self) -> None:
        """Make way for a successor that has taken over, and go on if it died before it had."""
        while True:
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(event.wait()) for event in (self._finish, self._successor_gone)]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()
            if self._finish.is_set() and not self._successor_gone.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_SETTLE_S):
                        await self._successor_gone.wait()
            is_finished, is_gone = self._finish.is_set(), self._successor_gone.is_set()
            self._finish.clear()
            self._successor_gone.clear()
            # One that hung up may live all the same: its socket, in the place of ours, answers then.
            if is_gone and await self._control.restore():
                self._log.warning("successor_gone", remedy="this director goes on; see the log of the other one")
            elif is_finished:
                self._succeeded = True
                self.end()

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
            case "director":
                return {"ok": True, "pid": os.getpid(), "config_file": app.config_file}, []
            case "status":
                await app.refresh()
                return {"ok": True, "status": dataclasses.asdict(app.snapshot())}, []
            case "sessions":
                return {"ok": True, "sessions": [dataclasses.asdict(one) for one in await app.sessions()]}, []
            case "drain":
                keys, replaced = await app.override(name, Override.DRAIN)
                return {"ok": True, "real_servers": keys, "notes": [*app.notes_for(keys), *replaced]}, []
            case "enable":
                keys, replaced = await app.override(name, Override.NONE)
                return {"ok": True, "real_servers": keys, "notes": list(replaced)}, []
            case "reload":
                try:
                    return {"ok": True, "warnings": [str(problem) for problem in await app.reload()]}, []
                except (ConfigError, EngineError) as error:
                    raise ControlError(str(error)) from error
            case "reopen":
                try:
                    await app.reopen()
                except EngineError as error:
                    raise ControlError(str(error)) from error
                return {"ok": True, "transfer_log": app.cluster.transfer_log}, []
            case "listeners":
                return {"ok": True, "endpoints": list(self._handed())}, []
            case "hand_over":
                await app.refresh()  # what the successor says of us until it has asked for the first time
                fds = [sock.fileno() for sock in self._handed().values()]
                words = [(*key, override.value) for key, override in app.overrides.items()]
                return {"ok": True, "overrides": words, "status": dataclasses.asdict(app.snapshot())}, fds
            case "finish":
                self._finish.set()
                return {"ok": True}, []
            case unknown:
                raise ControlError(f"unknown command {unknown!r}")


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
    """What a TaskGroup collected is told as its first error alone.

    Not by `except*`: Python 3.11.2, which Debian 12 has, wraps what is raised there into a group once more.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        error = first_of(group)
        if isinstance(error, DirectorError):
            raise error from None
        raise
