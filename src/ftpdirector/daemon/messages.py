"""What supervisor and worker tell each other: values in frames over a socket pair.

Both ends are processes of this program, started by one another over a private socket pair, so the values are pickled.
The package may have been changed on disk since the supervisor was started, so a worker's first frame is no pickle: it
says which messages it speaks (`PROTOCOL`). This module knows no order of messages.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import hashlib
import pickle
import struct
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from ftpdirector import __version__, model, state, wanted
from ftpdirector.errors import EngineError
from ftpdirector.model import Endpoint
from ftpdirector.state import EngineCounters, SessionState
from ftpdirector.wanted import Key, Wanted

_HEADER = struct.Struct("!I")
_LARGEST_HELLO: Final = 200
_LARGEST_UNREAD: Final = 16 * 1024 * 1024
"""What may wait for an end that does not read; beyond it a message that can be spared is dropped."""


@dataclass(frozen=True, slots=True)
class Apply:
    """To the worker: make this true. As many new listening sockets as `endpoints` went over the descriptor socket."""

    number: int
    wanted: Wanted
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class UseTransferLog:
    """To the worker: append to the descriptor that went over the descriptor socket; not `is_open`: to none."""

    is_open: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """To the worker: no new sessions; idle ones are told after `grace_s`, transfers may take `bound_s` more seconds.

    A second one with 0 ends what is left at once: data connections are reset.
    """

    bound_s: float
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ask:
    """To the worker: what do you count now, and, `with_sessions`, which sessions are open?"""

    number: int
    with_sessions: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: what was to be applied is true; or why it is not."""

    number: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """From the worker: the answer to `Ask`; counters as in a `Report`."""

    number: int
    counters: EngineCounters
    sessions: tuple[SessionState, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """From the worker, every second, as a sign of life too: what it counted where something happened."""

    counters: EngineCounters


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """From the worker: a real server refused a session."""

    key: Key
    cause: str


ToWorker = Apply | UseTransferLog | Stop | Ask
FromWorker = Ready | Told | Report | SessionFailed


def _shape(module: ModuleType) -> list[str]:
    """Every class of values and its fields, as texts: two processes with the same ones understand each other."""
    lines: list[str] = []
    for name, kind in sorted(vars(module).items()):
        if not isinstance(kind, type) or kind.__module__ != module.__name__:
            continue
        if dataclasses.is_dataclass(kind):
            lines += [f"{name}.{field.name}: {field.type}" for field in dataclasses.fields(kind)]
        elif issubclass(kind, enum.Enum):
            lines += [f"{name}.{member.name} = {member.value!r}" for member in kind]
    return lines


def _protocol() -> str:
    modules = (sys.modules[__name__], model, state, wanted)
    text = "\n".join(line for module in modules for line in _shape(module))
    return f"{__version__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


PROTOCOL: Final = _protocol()
"""The version of this program, and a hash over all that a message can carry."""


def say_hello(writer: asyncio.StreamWriter) -> None:
    """The worker's first frame."""
    data = PROTOCOL.encode()
    writer.write(_HEADER.pack(len(data)) + data)


async def hear_hello(reader: asyncio.StreamReader) -> str:
    """What the worker speaks. Raises `EngineError` when it ends, or says something else first."""
    try:
        (size,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if size > _LARGEST_HELLO:
            raise EngineError("its first words are not a version")
        return (await reader.readexactly(size)).decode("utf-8", "replace")
    except (asyncio.IncompleteReadError, OSError):
        raise EngineError("it ended before its first word") from None


def write(writer: asyncio.StreamWriter, message: ToWorker | FromWorker) -> bool:
    """Queue one message; False, and nothing is queued, when the other end has gone or does not read for long."""
    transport = writer.transport
    if transport.is_closing() or transport.get_write_buffer_size() > _LARGEST_UNREAD:
        return False
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    try:
        writer.write(_HEADER.pack(len(data)) + data)
    except (OSError, RuntimeError):  # uvloop raises RuntimeError on a transport that lost its connection
        return False
    return True


async def read(reader: asyncio.StreamReader) -> ToWorker | FromWorker | None:
    """The next message; None when the other end has gone. Raises `EngineError` when it cannot be understood."""
    try:
        (size,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        data = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, OSError):
        return None
    try:
        message: ToWorker | FromWorker = pickle.loads(data)  # noqa: S301 - our own process wrote it
    except Exception as error:  # an unknown pickle can raise anything
        raise EngineError(f"a message cannot be read: {error!r}") from error
    return message
