"""The status page, `/metrics`, `/api/v1/status` and `/healthz`, served from a snapshot.

Server-rendered: works without JavaScript. This module knows no engine; it is given a function that takes the snapshot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import jinja2
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ftpdirector.errors import EngineError
from ftpdirector.model import Endpoint
from ftpdirector.state import Snapshot
from ftpdirector.status.metrics import SnapshotCollector

TakeSnapshot = Callable[[], Snapshot]
Refresh = Callable[[], Awaitable[None]]
"""Asks those who count, so that the snapshot taken next is true of this moment."""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


async def _nobody_to_ask() -> None:
    """The snapshot is true of every moment."""


def make_application(take: TakeSnapshot, refresh: Refresh = _nobody_to_ask) -> Starlette:
    """The web application."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
    )
    templates.filters["size"] = format_size
    templates.filters["moment"] = format_moment
    page = templates.get_template("status.html")
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(take))

    async def status_page(request: Request) -> Response:
        del request
        await refresh()
        return HTMLResponse(page.render(snapshot=take()), headers={"Cache-Control": "no-store"})

    async def status_json(request: Request) -> Response:
        del request
        await refresh()
        return JSONResponse(dataclasses.asdict(take()))

    async def metrics(request: Request) -> Response:
        del request
        await refresh()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(request: Request) -> Response:
        del request
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[
            Route("/", status_page),
            Route("/api/v1/status", status_json),
            Route("/metrics", metrics),
            Route("/healthz", healthz),
        ]
    )


def format_size(size_bytes: int) -> str:
    """`1.5 GiB`."""
    size = float(size_bytes)
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"


def format_moment(time_s: float) -> str:
    """`2026-11-23 10:00:00 UTC`, or a dash for never."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if time_s else "-"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are the supervisor's."""
        yield


class StatusServer:
    """Listens at once, serves when told."""

    def __init__(
        self,
        endpoint: Endpoint,
        take: TakeSnapshot,
        given: socket.socket | None = None,
        *,
        refresh: Refresh = _nobody_to_ask,
    ) -> None:
        """`given` is a predecessor's socket; `EngineError` when the address is taken."""
        self.socket = given or _listen(endpoint)
        name = self.socket.getsockname()
        self.endpoint = Endpoint(endpoint.address, int(name[1]))
        self._server = _Server(
            uvicorn.Config(
                make_application(take, refresh), log_config=None, access_log=False, lifespan="off", ws="none"
            )
        )

    async def serve(self) -> None:
        """Until cancelled or closed."""
        await self._server.serve(sockets=[self.socket])

    def close(self) -> None:
        """Stop to listen."""
        self._server.should_exit = True
        self.socket.close()


def _listen(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((str(endpoint.address), endpoint.port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise EngineError(f"the status page cannot listen on {endpoint}: {error.strerror or error}") from error
    sock.setblocking(False)  # noqa: FBT003 - the name of the call
    return sock
