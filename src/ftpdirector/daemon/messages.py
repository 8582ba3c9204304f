"""What supervisor and worker tell each other: values in frames over a socket pair.

Both ends are processes of this program, started by one another over a private socket pair, so the values are pickled.
This module knows no order of messages.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from dataclasses import dataclass

from ftpdirector.model import Endpoint
from ftpdirector.state import EngineCounters, SessionState
from ftpdirector.wanted import Key, Wanted

_HEADER = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Apply:
    """To the worker: make this true. As many new listening sockets as `endpoints` went over the descriptor socket."""

    wanted: Wanted
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """To the worker: no new sessions; idle ones are told after `grace_s`, transfers may take `bound_s` more seconds."""

    bound_s: float
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: what was to be applied is true; or why it is not."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """From the worker, every second: what it counted where something happened."""

    counters: EngineCounters


@dataclass(frozen=True, slots=True)
class ListSessions:
    """To the worker: which sessions are open?"""


@dataclass(frozen=True, slots=True)
class Sessions:
    """From the worker: these."""

    sessions: tuple[SessionState, ...]


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """From the worker: a real server refused a session."""

    key: Key
    cause: str


ToWorker = Apply | Stop | ListSessions
FromWorker = Ready | Report | SessionFailed | Sessions


def write(writer: asyncio.StreamWriter, message: ToWorker | FromWorker) -> None:
    """Queue one message."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    writer.write(_HEADER.pack(len(data)) + data)


async def read(reader: asyncio.StreamReader) -> ToWorker | FromWorker | None:
    """The next message; None when the other end has gone."""
    try:
        (size,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        data = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    message: ToWorker | FromWorker = pickle.loads(data)  # noqa: S301 - our own process wrote it
    return message
