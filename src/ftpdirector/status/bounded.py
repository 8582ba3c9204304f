"""HTTP connections that are bounded: in number, in the time that a header or an answer may take, and in bytes.

The page shares its process with the probes and its descriptors with the data path's sockets, so that a client of the
page must not be able to use up either. The bound is at the socket: what is beyond it stays in the kernel's listen
queue and costs no descriptor. This module knows no page.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from starlette.applications import Starlette

CONNECTIONS: Final = 64
"""At most so many at a time."""
HEADER_S: Final = 5.0
"""From the connection, or from the last answer, to the end of the next request's header."""
ANSWER_S: Final = 30.0
"""From a request to the last byte of its answer, however slowly the client reads."""
HEADER_BYTES: Final = 16 * 1024
REQUEST_BYTES: Final = 32 * 1024
"""Header and body of one request: nothing here is asked with a body."""

_SPARED_S: Final = 0.2
"""A connection that waits so long for its header makes room for a new one."""
_AT_A_TIME: Final = 16
"""Connections accepted in one turn of the loop: probes have their turns, too."""
_REST_S: Final = 1.0
"""How long nothing is accepted when the process is out of descriptors: a loop that goes on would spin."""


class _Connection(H11Protocol):
    """One connection, and the one timer that ends it."""

    def __init__(self, config: uvicorn.Config, state: ServerState, on_lost: Callable[[_Connection], None]) -> None:
        super().__init__(config, state, {})
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._request_s: float | None = None
        self.waiting_since_s: float | None = self.loop.time()
        """Since when it owes a header; None while it is answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override, unused-ignore]
        super().connection_made(transport)
        self._arm(HEADER_S)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > REQUEST_BYTES:
            self.abort()
            return
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        super().data_received(data)
        if self.waiting_since_s is not None and self._is_answered():
            self.waiting_since_s, self._request_s = None, self.loop.time()
            self._arm(ANSWER_S)

    def on_response_complete(self) -> None:
        self._received = 0
        self.waiting_since_s = self.loop.time()
        self._arm(HEADER_S)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        self._on_lost(self)

    def abort(self) -> None:
        """End it now, whatever is still to be sent: a client that does not read would hold it for ever."""
        if self.transport is not None:  # pyright: ignore[reportUnnecessaryComparison] - None before connection_made
            self.transport.abort()

    def _is_answered(self) -> bool:
        return self.conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY)

    def _arm(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._overdue)

    def _overdue(self) -> None:
        left_s = 0.0 if self._request_s is None else self._request_s + ANSWER_S - self.loop.time()
        if self.transport.get_write_buffer_size() and left_s > 0:
            self._arm(left_s)  # it reads its answer, slowly
        else:
            self.abort()


class BoundedServer:
    """Accepts from one listening socket while there is room."""

    def __init__(self, application: Starlette, sock: socket.socket, *, at_most: int = CONNECTIONS) -> None:
        """Nothing is accepted yet; the socket stays the caller's."""
        self._sock = sock
        self._at_most = at_most
        self._config = uvicorn.Config(
            application, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            timeout_keep_alive=int(HEADER_S), h11_max_incomplete_event_size=HEADER_BYTES,
        )  # fmt: skip
        self._config.load()
        self._state = ServerState()
        self._open: dict[_Connection, None] = {}
        self._attaching: set[asyncio.Task[Any]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._end = asyncio.Event()

    async def serve(self) -> None:
        """Until closed or cancelled."""
        self._listen()
        try:
            await self._end.wait()
        finally:
            self.close()
            for connection in list(self._open):
                connection.abort()

    def close(self) -> None:
        """Accept no more; who is connected is let go by `serve`."""
        self._end.set()
        self._rest(None)

    def _listen(self) -> None:
        self._again = None
        if not self._end.is_set():
            asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def _rest(self, seconds: float | None) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._sock.fileno() < 0:
            return
        with contextlib.suppress(RuntimeError):  # no loop runs any more: nothing is watched
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock)
            if seconds is not None:
                self._again = loop.call_later(seconds, self._listen)

    def _accept(self) -> None:
        for _ in range(_AT_A_TIME):
            if not self._has_room():
                return
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                self._rest(_REST_S)
                return
            self._attach(sock)

    def _has_room(self) -> bool:
        """Room for one more; who has owed a header for longest makes it."""
        if len(self._open) < self._at_most:
            return True
        waiting = [one for one in self._open if one.waiting_since_s is not None]
        if not waiting:
            self._rest(_REST_S)  # an answer that ends brings it forward
            return False
        oldest = min(waiting, key=lambda one: one.waiting_since_s or 0.0)
        age_s = asyncio.get_running_loop().time() - (oldest.waiting_since_s or 0.0)
        if age_s < _SPARED_S:
            self._rest(_SPARED_S - age_s)
            return False
        # It is gone when the loop has called connection_lost; until then there is no room.
        oldest.abort()
        return False

    def _attach(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the name of the call
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # header and body are two writes
        loop = asyncio.get_running_loop()
        connection = _Connection(self._config, self._state, self._lost)
        self._open[connection] = None
        task = loop.create_task(loop.connect_accepted_socket(lambda: connection, sock))
        self._attaching.add(task)

        def attached(done: asyncio.Task[Any]) -> None:
            self._attaching.discard(done)
            if done.cancelled() or done.exception() is not None:
                sock.close()
                self._lost(connection)

        task.add_done_callback(attached)

    def _lost(self, connection: _Connection) -> None:
        self._open.pop(connection, None)
        if self._again is not None and not self._end.is_set():
            self._rest(None)
            self._listen()
