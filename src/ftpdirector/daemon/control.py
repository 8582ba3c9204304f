"""The operator's socket: one JSON line a request, one JSON line a reply, over a Unix socket with mode 0600.

Requests: director, status, sessions, drain, enable, reload, reopen, listeners, hand_over, finish.
This module knows no command line.
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

import structlog

from ftpdirector.daemon.logs import where_of
from ftpdirector.errors import ControlError

LONGEST_LINE_BYTES: Final = 64 * 1024 * 1024
_LONGEST_REQUEST_BYTES: Final = 65536
_TIMEOUT_S: Final = 30.0
_SOCKET_NAME: Final = "control.sock"
_BACKLOG: Final = 100
_WHO_S: Final = 2.0
_TRY_AGAIN_S: Final = 0.01
_TRIES: Final = 1000

Answer = tuple[dict[str, Any], list[int]]
"""A reply, and descriptors that go before it."""
Handler = Callable[[dict[str, Any]], Awaitable[Answer]]


def default_socket_path() -> Path:
    """Below /run/ftpdirector for root, else below $XDG_RUNTIME_DIR; a ControlError says what to do without either.

    `$FTPDIRECTOR_SOCKET` is looked at where options are read.
    """
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

    def __init__(self, path: Path, handler: Handler, on_successor_gone: Callable[[], None]) -> None:
        """Nothing listens yet. `on_successor_gone` hears when somebody who had the sockets handed over hung up."""
        self.path = path
        self._handler = handler
        self._on_successor_gone = on_successor_gone
        self._server: asyncio.Server | None = None
        self._identity = (0, 0)
        self._successors: set[asyncio.StreamWriter] = set()

    async def refuse_a_second(self) -> None:
        """A ControlError when a director answers here already."""
        who = await _who_answers(self.path)
        if who is not None:
            said = f" (process {who['pid']}, {who['config_file']})" if "pid" in who and "config_file" in who else ""
            raise ControlError(
                f"a director runs already{said} and answers at {self.path};"
                " use --take-over to replace it, or --socket PATH to run another one beside it"
            )

    async def listen_beside(self) -> None:
        """Listen, under a name that nobody looks for yet. Raises `ControlError`."""
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self.path.exists() and not stat.S_ISSOCK(self.path.stat().st_mode):
                raise ControlError(f"{self.path} is there and is not a socket")
            self._remove_left()
            sock = _bound(self._beside)
        except OSError as error:
            raise ControlError(f"cannot listen on {self.path}: {error.strerror or error}") from error
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=_LONGEST_REQUEST_BYTES)
        self._identity = _identity(self._beside)

    def put_in_place(self) -> None:
        """Be found from now on, instead of whoever was: at every moment somebody is. Raises `ControlError`."""
        try:
            self._beside.rename(self.path)
        except OSError as error:
            raise ControlError(f"cannot listen on {self.path}: {error.strerror or error}") from error

    async def restore(self) -> bool:
        """Be found again where a successor that has died had put its own socket; whether that is so.

        False when another director lives there. Raises `ControlError`.
        """
        if _identity(self.path) == self._identity:
            return True
        if await _who_answers(self.path) is not None:
            return False
        if self._server is not None:
            self._server.close()
        await self.listen_beside()
        self.put_in_place()
        return True

    def close(self) -> None:
        """Stop, and remove the socket unless a successor has put its own there."""
        if self._server is None:
            return
        for path in (self.path, self._beside):
            if _identity(path) == self._identity:
                with contextlib.suppress(OSError):
                    path.unlink()
        self._server.close()

    async def say_farewell(self, status: dict[str, Any]) -> None:
        """Tell a successor what was counted to the very end; it did not ask."""
        for writer in tuple(self._successors):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_WHO_S):
                    writer.write(json.dumps({"farewell": status}).encode() + b"\n")
                    await writer.drain()

    @property
    def _beside(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{os.getpid()}")

    def _remove_left(self) -> None:
        """What directors that were killed before they were in place have left beside."""
        for path in self.path.parent.glob(f".{self.path.name}.*"):
            pid = path.name.rpartition(".")[2]
            if pid == str(os.getpid()) or (pid.isdecimal() and not Path(f"/proc/{pid}").exists()):
                path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handed_over = False
        try:
            while line := await reader.readline():
                reply, fds = await self._answer(line)
                if fds:
                    handed_over = True
                    self._successors.add(writer)
                    await _send_descriptors(writer, fds)
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # an operator who hung up, or a line beyond the limit: nobody is left to tell
        finally:
            writer.close()
            self._successors.discard(writer)
            if handed_over:
                self._on_successor_gone()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request: object = json.loads(line)
        except (ValueError, RecursionError):
            return {"ok": False, "error": "not JSON"}, []
        if not isinstance(request, dict):
            return {"ok": False, "error": "not a JSON object"}, []
        try:
            return await self._handler(request)  # pyright: ignore[reportUnknownArgumentType]
        except ControlError as error:
            return {"ok": False, "error": str(error)}, []
        except Exception as error:  # noqa: BLE001 - whoever asked is told, and everybody else is served
            structlog.get_logger().error("bug", where=where_of(error), error=repr(error))
            return {"ok": False, "error": f"the director met a bug, see its log: {error!r}"}, []


async def _send_descriptors(writer: asyncio.StreamWriter, fds: list[int]) -> None:
    # asyncio's socket cannot pass descriptors: a second view of the same one can. One byte and one descriptor a time;
    # a successor that does not take them holds nobody up.
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as plain:
        for fd in fds:
            for _ in range(_TRIES):
                try:
                    socket.send_fds(plain, [b"f"], [fd])
                    break
                except BlockingIOError:
                    await asyncio.sleep(_TRY_AGAIN_S)
            else:
                raise ConnectionError("the successor does not take the sockets")


def _bound(path: Path) -> socket.socket:
    """A listening Unix socket that its owner alone may use.

    It is bound by way of its directory's descriptor: a name in unix(7) has 107 bytes at most, and this one is longer
    than the one that the operator chose.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        sock.bind(f"/proc/self/fd/{folder}/{path.name}")
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
        os.close(folder)
    return sock


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return (status.st_dev, status.st_ino)


async def _who_answers(path: Path) -> dict[str, Any] | None:
    """What the director there says of itself; nothing in it when it says nothing; None when nobody listens."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return None
    try:
        async with asyncio.timeout(_WHO_S):
            writer.write(b'{"command": "director"}\n')
            reply: dict[str, Any] = json.loads(await reader.readline())
            return reply
    except (OSError, ValueError, TimeoutError):
        return {}
    finally:
        writer.close()


class ControlClient:
    """Asks a running director; blocking, for the command line. Use it in a `with`."""

    def __init__(self, path: Path) -> None:
        """Connect, or a ControlError says that nobody answers."""
        self._path = path
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
        self.close()

    def close(self) -> None:
        """Hang up; twice is fine."""
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

    def config_file(self) -> str:
        """The cluster file that the director runs."""
        try:
            return str(self.ask("director")["config_file"])
        except ControlError:  # a director of an earlier version
            return str(self.ask("status")["status"]["config_file"])

    def must_run(self, file: Path) -> None:
        """A ControlError unless the director runs this very cluster file."""
        running = self.config_file()
        if str(file.resolve()) == running:
            return
        with contextlib.suppress(OSError):
            if file.samefile(running):
                return
        raise ControlError(
            f"the director that answers at {self._path} runs {running}, not {file};"
            " name the socket of the one that you mean with --socket or $FTPDIRECTOR_SOCKET"
        )

    def take_over(self) -> tuple[dict[str, Any], dict[str, socket.socket]]:
        """The predecessor's word about itself, and its listening sockets by endpoint as text."""
        endpoints: list[str] = self.ask("listeners")["endpoints"]
        sockets: dict[str, socket.socket] = {}
        try:
            self._socket.sendall(json.dumps({"command": "hand_over", "endpoints": endpoints}).encode() + b"\n")
            for endpoint in endpoints:
                _, fds, _, _ = socket.recv_fds(self._socket, 1, 1)
                sockets[endpoint] = socket.socket(fileno=fds[0])
            told: dict[str, Any] = json.loads(self._file.readline(LONGEST_LINE_BYTES))
        except (OSError, IndexError, ValueError):
            for sock in sockets.values():
                sock.close()
            raise ControlError(f"the director at {self._path} did not hand its sockets over") from None
        return told, sockets

    def detach(self) -> socket.socket:
        """The connection itself; nothing is unread."""
        connection = self._socket.dup()
        self.close()
        return connection
