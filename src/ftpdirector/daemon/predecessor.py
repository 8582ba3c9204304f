"""The director before this one, after a take-over: its sessions count here until they end.

It is asked over the connection that the sockets came over, which it keeps open until its last session has ended.
Answers come in the order of the questions, so that a late one answers nobody else; its last word comes unasked.
This module knows no worker.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from ftpdirector.daemon.control import LONGEST_LINE_BYTES
from ftpdirector.daemon.snapshot import without_sessions
from ftpdirector.state import EngineCounters, Histogram, RealServerCounters, SessionState, VirtualServerCounters

_ANSWER_S: Final = 2.5
"""Longer than it waits itself for a worker that hangs (`workers._ANSWER_S`)."""
_QUESTIONS_AT_MOST: Final = 100
_COUNTS: Final = (
    "sessions", "sessions_total", "transfers", "downloads_total", "uploads_total", "download_bytes_total",
    "upload_bytes_total",
)  # fmt: skip


class Predecessor:
    """Asks it, and remembers what it said last."""

    def __init__(self, connection: socket.socket, status: Mapping[str, Any] | None) -> None:
        """`connection` is the operator's one, with nothing unread; `status` what it counted when it handed over."""
        self._connection = connection
        self._writer: asyncio.StreamWriter | None = None
        self._questions: deque[asyncio.Future[dict[str, Any] | None]] = deque()
        self._counters = counters_of(status) if status is not None else None
        self._is_late = False
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Hear it until it ends."""
        self._connection.setblocking(False)  # noqa: FBT003 - the name of the call
        reader, self._writer = await asyncio.open_unix_connection(sock=self._connection, limit=LONGEST_LINE_BYTES)
        try:
            while line := await reader.readline():
                reply = json.loads(line)
                if "farewell" in reply:
                    self._counters = counters_of(reply["farewell"])
                elif self._questions:
                    question = self._questions.popleft()
                    if not question.done():
                        question.set_result(reply)
        except (OSError, ValueError):
            pass  # it ended in the middle of a word
        finally:
            self.close()

    def close(self) -> None:
        """Hang up; what it counted is kept."""
        if self._counters is not None:
            self._counters = without_sessions(self._counters)
        for question in self._questions:
            if not question.done():
                question.set_result(None)
        self._questions.clear()
        self.ended.set()
        if self._writer is not None:
            self._writer.close()

    async def refresh(self) -> None:
        """Ask what it counts now; what it said last stands when it does not answer."""
        reply = await self.ask("status")
        if reply is not None and not self.ended.is_set():
            self._counters = counters_of(reply["status"])

    async def sessions(self) -> list[SessionState]:
        """Its sessions."""
        reply = await self.ask("sessions")
        known = SessionState.__dataclass_fields__
        return [
            SessionState(**{name: one[name] for name in known})
            for one in (reply or {}).get("sessions", [])
            if all(name in one for name in known)
        ]

    def counters(self) -> list[EngineCounters]:
        """What it counted last; without sessions once it has ended."""
        return [self._counters] if self._counters is not None else []

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        if self.ended.is_set():
            return ()
        count = sum(virtual.sessions for one in self.counters() for virtual in one.virtual_servers.values())
        said = ", as it said last: it does not answer now" if self._is_late else ""
        return (f"the director before this one still serves {count} session{'s' if count != 1 else ''}{said}",)

    async def ask(self, command: str) -> dict[str, Any] | None:
        """Its reply; None when there is none in time, or it refused."""
        if self._writer is None or self.ended.is_set() or len(self._questions) >= _QUESTIONS_AT_MOST:
            self._is_late = not self.ended.is_set()
            return None
        question: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._questions.append(question)
        self._writer.write(json.dumps({"command": command}).encode() + b"\n")
        await asyncio.wait((question,), timeout=_ANSWER_S)
        reply = question.result() if question.done() else None
        self._is_late = reply is None
        return reply if reply is not None and reply.get("ok") else None


def counters_of(status: Mapping[str, Any]) -> EngineCounters:
    """A snapshot as `status --json` shows it, of this version or another one, as one process's counters."""
    setup = status.get("data_setup", {})
    return EngineCounters(
        virtual_servers={
            virtual["name"]: VirtualServerCounters(
                sessions=virtual.get("sessions", 0),
                sessions_total=virtual.get("sessions_total", 0),
                refused_total=dict(virtual.get("refused_total", {})),
                real_servers={
                    real["name"]: RealServerCounters(
                        failures_total=dict(real.get("failures_total", {})),
                        **{name: real.get(name, 0) for name in _COUNTS},
                    )
                    for real in virtual.get("real_servers", ())
                },
            )
            for virtual in status.get("virtual_servers", ())
        },
        data_setup=Histogram(
            bounds_s=tuple(setup.get("bounds_s", ())),
            counts=tuple(setup.get("counts", (0,))),
            sum_s=setup.get("sum_s", 0.0),
        ),
        refused_total=dict(status.get("refused_total", {})),
        log_lines_dropped=dict(status.get("log_lines_dropped_total", {})),
    )
