"""`ftpdirector demo`: three small FTP servers, the director and its status page in one process.

The servers are pyftpdlib's, one thread each, with files below a temporary directory. This module knows no command line.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop

from ftpdirector.daemon.app import App
from ftpdirector.daemon.supervisor import Settings, Supervisor, one_error
from ftpdirector.errors import HostError
from ftpdirector.model import (
    Cluster,
    Endpoint,
    HealthCheck,
    PortRange,
    ProbeKind,
    RealServer,
    StatusPage,
    VirtualServer,
)

NAMES: Final = ("alpha", "bravo", "charlie")
SHARED_FILE: Final = "/readme.txt"
HOST: Final = IPv4Address("127.0.0.1")
_TURN_S: Final = 0.1
_LARGE_BYTES: Final = 8 << 20


@contextmanager
def real_servers(below: Path) -> Generator[tuple[RealServer, ...], None, None]:
    """The three, each with its own files, a directory `incoming` that takes uploads, and one user: anonymous."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_real_server(name, below / name)) for name in NAMES)


def cluster(
    servers: tuple[RealServer, ...], *, port: int, status_port: int | None, passive_ports: PortRange
) -> Cluster:
    """One virtual server on 127.0.0.1, round robin, so that two visits show two servers."""
    return Cluster(
        status=StatusPage(listen=Endpoint(HOST, status_port)) if status_port is not None else None,
        virtual_servers=(
            VirtualServer(
                name="demo",
                addresses=(HOST,),
                port=port,
                passive_ports=passive_ports,
                scheduler="rr",
                health_check=HealthCheck(probe=ProbeKind.TRANSFER, path=SHARED_FILE, interval_s=2.0),
                real_servers=servers,
            ),
        ),
    )


def serve(wanted: Cluster, socket_path: Path, beside: Callable[[Supervisor], Awaitable[None]]) -> None:
    """Run the director in this process; `beside` is awaited once it serves, and its end ends the director."""

    async def life() -> None:
        app = App(wanted, config_file=None, log=structlog.get_logger())
        supervisor = Supervisor(app, Settings(socket_path=socket_path, stop_timeout_s=2.0))
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.run_in_process(ready))
            try:
                await ready.wait()
                await beside(supervisor)
            finally:
                supervisor.end()

    with one_error(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(life())


@contextmanager
def temporary_directory() -> Generator[Path, None, None]:
    """Where files and socket lie; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="ftpdirector-demo-") as name:
        yield Path(name)


def _pyftpdlib() -> tuple[Any, Any, Any, Any]:
    """Its authorizer, handler, loop and server. Only the demo needs it, so it is an extra: `HostError` without it."""
    try:
        with warnings.catch_warnings():
            # On Python 3.11 pyftpdlib takes asyncore from the standard library, which warns.
            warnings.simplefilter("ignore", DeprecationWarning)
            from pyftpdlib.authorizers import DummyAuthorizer
            from pyftpdlib.handlers import FTPHandler
            from pyftpdlib.ioloop import IOLoop
            from pyftpdlib.servers import FTPServer
    except ModuleNotFoundError as error:
        name = (error.name or "pyftpdlib").partition(".")[0]
        raise HostError(f"the demo needs {name}, which is not installed; pip install 'ftpdirector[demo]'") from None
    return DummyAuthorizer, FTPHandler, IOLoop, FTPServer


@contextmanager
def _real_server(name: str, root: Path) -> Generator[RealServer, None, None]:
    authorizer_type, handler_type, loop_type, server_type = _pyftpdlib()
    _fill(root, name)
    authorizer: Any = authorizer_type()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # anonymous may write: that is the demo
        authorizer.add_anonymous(str(root))
        authorizer.override_perm("anonymous", str(root / "incoming"), perm="elradfmwMT", recursive=True)
    handler: Any = type("Handler", (handler_type,), {"authorizer": authorizer, "banner": f"{name} ready"})
    loop: Any = loop_type()
    server: Any = server_type((str(HOST), 0), handler, ioloop=loop)
    end = threading.Event()

    def turn() -> None:
        while not end.is_set():
            loop.loop(timeout=_TURN_S, blocking=False)
        server.close_all()

    logging.getLogger("pyftpdlib").setLevel(logging.WARNING)
    thread = threading.Thread(target=turn, name=name, daemon=True)
    thread.start()
    try:
        yield RealServer(name=name, address=HOST, port=int(server.address[1]))
    finally:
        end.set()
        thread.join()


def _fill(root: Path, name: str) -> None:
    (root / "incoming").mkdir(parents=True)
    (root / "readme.txt").write_text("The same file on every real server: replicas, as a cluster has them.\n")
    (root / f"this-is-{name}.txt").write_text(f"You were sent to {name}.\n")
    block = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(256))
    (root / "large.bin").write_bytes(block * (_LARGE_BYTES // len(block)))
