"""The status page, `/metrics`, `/api/v1/status` and `/healthz`, served from a snapshot.

Server-rendered: works without JavaScript. This module knows no engine; it is given a function that takes the snapshot.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import jinja2
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ftpdirector.errors import EngineError
from ftpdirector.host.files import open_files_limit
from ftpdirector.model import Endpoint
from ftpdirector.state import Snapshot
from ftpdirector.status.bounded import CONNECTIONS, BoundedServer
from ftpdirector.status.metrics import SnapshotCollector
from ftpdirector.text import shown_lines, shown_within

TakeSnapshot = Callable[[], Snapshot]
Refresh = Callable[[], Awaitable[None]]
"""Asks those who count, so that the snapshot taken next is true of this moment."""
_FEWEST_CONNECTIONS: Final = 4
_PART_OF_DESCRIPTORS: Final = 8
"""The page takes at most this part of the process' descriptors: probes and workers need the others."""
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


async def _nobody_to_ask() -> None:
    """The snapshot is true of every moment."""


def make_application(take: TakeSnapshot, refresh: Refresh = _nobody_to_ask) -> Starlette:
    """The web application. One answer at a time is made, and other tasks of the process have a turn between two."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        finalize=_finalize,
    )
    templates.filters["size"] = format_size
    templates.filters["moment"] = format_moment
    page = templates.get_template("status.html")
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(take))
    turn = asyncio.Lock()

    def route(path: str, make: Callable[[], Response], ask: Refresh = refresh) -> Route:
        async def answer(request: Request) -> Response:
            del request
            await ask()
            async with turn:
                await asyncio.sleep(0)
                return make()

        return Route(path, answer)

    return Starlette(
        routes=[
            route("/", lambda: HTMLResponse(page.render(snapshot=take()), headers={"Cache-Control": "no-store"})),
            route("/api/v1/status", lambda: _json(shown_within(dataclasses.asdict(take())))),
            route("/metrics", lambda: Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)),
            route("/healthz", lambda: PlainTextResponse("ok\n"), _nobody_to_ask),
        ]
    )


def _json(value: object) -> Response:
    return Response(json.dumps(value), media_type="application/json")


def _finalize(value: object) -> object:
    """Each expression of the page: what others said is text in which nothing acts, and that has an encoding."""
    return shown_lines(value) if type(value) is str else value


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
        self.socket.setblocking(False)  # noqa: FBT003 - the name of the call
        name = self.socket.getsockname()
        self.endpoint = Endpoint(endpoint.address, int(name[1]))
        at_most = max(_FEWEST_CONNECTIONS, min(CONNECTIONS, open_files_limit() // _PART_OF_DESCRIPTORS))
        self._server = BoundedServer(make_application(take, refresh), self.socket, at_most=at_most)

    async def serve(self) -> None:
        """Until cancelled or closed."""
        await self._server.serve()

    def close(self) -> None:
        """Stop to listen."""
        self._server.close()
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
    return sock
