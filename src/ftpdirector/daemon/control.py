"""The operator's socket: one JSON line a request, one JSON line a reply, over a Unix socket with mode 0600.

Requests: status, sessions, drain, enable, reload, hand_over, finish. This module knows no command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from ftpdirector.errors import ControlError

LONGEST_LINE_BYTES: Final = 64 * 1024 * 1024
_LONGEST_REQUEST_BYTES: Final = 65536
_TIMEOUT_S: Final = 30.0
_SOCKET_NAME: Final = "control.sock"

Answer = tuple[dict[str, Any], list[int]]
"""A reply, and descriptors that go before it."""
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]


def default_socket_path() -> Path:
    """Below /run/ftpdirector for root, else below $XDG_RUNTIME_DIR; a ControlError says what to do without either."""
    if os.geteuid() == 0:
        return Path("/run/ftpdirector") / _SOCKET_NAME
    service = os.environ.get("RUNTIME_DIRECTORY")  # systemd.exec(5); root's commands then find it where they look
    if service:
        return Path(service.split(":")[0]) / _SOCKET_NAME
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime:
        raise ControlError("there is no $XDG_RUNTIME_DIR for the director's socket; give --socket PATH")
    return Path(runtime) / "ftpdirector" / _SOCKET_NAME


class ControlServer:
    """Listens, and lets `handler` answer."""

    def __init__(self, path: Path, handler: Handler) -> None:
        """Nothing listens yet."""
        self.path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def refuse_a_second(self) -> None:
        """A ControlError when a director answers here already."""
        if await _is_alive(self.path):
            raise ControlError(f"a director runs already and answers at {self.path}; use --take-over to replace it")

    async def start(self, *, replace: bool = False) -> None:
        """Listen; a dead director's socket is replaced, a living one's only if `replace` (a take-over)."""
        if not replace:
            await self.refuse_a_second()
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.path.exists() and not stat.S_ISSOCK(self.path.stat().st_mode):
            raise ControlError(f"{self.path} is there and is not a socket")
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self.path, limit=_LONGEST_REQUEST_BYTES)
        except OSError as error:
            raise ControlError(f"cannot listen on {self.path}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._inode = self.path.stat().st_ino

    def close(self) -> None:
        """Stop, and remove the socket unless a successor has put its own there."""
        if self._server is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                reply, fds = await self._answer(line)
                if fds:
                    _send_descriptors(writer, fds)
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # an operator who hung up, or a line beyond the limit: nobody is left to tell
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request: object = json.loads(line)
        except ValueError:
            return {"ok": False, "error": "not JSON"}, []
        if not isinstance(request, dict):
            return {"ok": False, "error": "not a JSON object"}, []
        try:
            return await self._handler(request)  # pyright: ignore[reportUnknownArgumentType]
        except ControlError as error:
            return {"ok": False, "error": str(error)}, []


def _send_descriptors(writer: asyncio.StreamWriter, fds: list[int]) -> None:
    # asyncio's socket cannot pass descriptors: a second view of the same one can. One byte and one descriptor a time.
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as plain:
        plain.setblocking(True)  # noqa: FBT003 - the name of the call
        for fd in fds:
            socket.send_fds(plain, [b"f"], [fd])
        plain.setblocking(False)  # noqa: FBT003


async def _is_alive(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


class ControlClient:
    """Asks a running director; blocking, for the command line. Use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Connect, or a ControlError says that nobody answers."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_TIMEOUT_S)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise ControlError(f"no director answers at {path}: {error.strerror or error}; is it running?") from None
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> ControlClient:
        """Itself."""
        return self

    def __exit__(self, *unused: object) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def ask(self, command: str, **values: object) -> dict[str, Any]:
        """The reply; a ControlError when the director refuses."""
        try:
            self._socket.sendall(json.dumps({"command": command, **values}).encode() + b"\n")
            line = self._file.readline(LONGEST_LINE_BYTES)
        except OSError as error:
            raise ControlError(f"the director does not answer: {error}") from None
        if not line:
            raise ControlError("the director hung up")
        reply: dict[str, Any] = json.loads(line)
        if not reply["ok"]:
            raise ControlError(reply["error"])
        return reply

    def take_over(self) -> tuple[dict[str, Any], dict[str, socket.socket]]:
        """The predecessor's word about itself, and its listening sockets by endpoint as text."""
        endpoints: list[str] = self.ask("listeners")["endpoints"]
        self._socket.sendall(json.dumps({"command": "hand_over", "endpoints": endpoints}).encode() + b"\n")
        sockets: dict[str, socket.socket] = {}
        for endpoint in endpoints:
            _, fds, _, _ = socket.recv_fds(self._socket, 1, 1)
            sockets[endpoint] = socket.socket(fileno=fds[0])
        return json.loads(self._file.readline(LONGEST_LINE_BYTES)), sockets
