"""The log: one line an event on standard error, `key=value` for people or JSON for programs.

A line is queued, never waited for (`host/sink`); what cannot be rendered or written is dropped and counted. Under
journald each line begins with its level (sd-daemon(3)). This module knows no event.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
from types import TracebackType
from typing import Any, Final

import structlog

from ftpdirector.host.sink import LineSink, own_standard_error
from ftpdirector.text import shown

_FLUSH_S: Final = 1.0
"""How long the end of a process waits for whoever reads its log."""
_JOURNAL_LEVELS: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_sinks: Final[list[LineSink]] = []


def lines_dropped() -> int:
    """Lines of this process's log that could not be written."""
    return sum(sink.dropped for sink in _sinks)


def flush_log() -> None:
    """Wait a moment for the log to be written: the process ends next."""
    for sink in _sinks:
        sink.flush(_FLUSH_S)


def show(event: structlog.typing.EventDict) -> None:
    """What clients and real servers said is text in which nothing acts: no escape sequence, no line of its own."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = shown(value)


def set_up_log(*, json: bool = False, level: str = "info") -> None:
    """Configure structlog for this process; what is below `level` is dropped before it is formatted.

    Python's own `logging`, warnings and what ends the process go the same way: nothing else writes to standard error.
    """
    sink = LineSink(note=_missing_json if json else _missing_text)
    journal = _is_journal(2)
    sink.use(own_standard_error())
    structlog.configure(
        processors=[_Renderer(json=json, journal=journal)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(sink),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Library()]
    logging.captureWarnings(capture=True)
    sys.excepthook = _crashed
    _sinks.append(sink)
    atexit.register(flush_log)


def first_of(error: BaseException) -> BaseException:
    """The error itself, or the first one of those that a TaskGroup collected."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return error  # pyright: ignore[reportUnknownVariableType]


def where_of(error: BaseException) -> str:
    """`file.py:12` of where an error was raised; a traceback is for nobody who runs the director."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"


class _Lines:
    """What structlog calls with a rendered line; the method's name is the level, which stands in the line already."""

    def __init__(self, sink: LineSink) -> None:
        self._sink = sink

    def msg(self, line: bytes | None) -> None:
        if line is None:
            self._sink.drop()
        else:
            self._sink.write(line)

    debug = info = warn = warning = error = critical = exception = fatal = msg


class _Renderer:
    """An event -> its line; never an error: an event that cannot be rendered is None, and counted."""

    def __init__(self, *, json: bool, journal: bool) -> None:
        self._journal = journal
        processors = structlog.processors
        self._stamp = processors.TimeStamper(fmt="iso", utc=True)
        self._render: structlog.typing.Processor = (
            processors.JSONRenderer()
            if json
            else processors.LogfmtRenderer(
                key_order=["timestamp", "level", "session", "client", "event"], drop_missing=True
            )
        )

    def __call__(
        self, logger: Any, name: str, event: structlog.typing.EventDict
    ) -> tuple[tuple[bytes | None], dict[str, Any]]:
        try:
            level = "warning" if name == "warn" else "error" if name == "exception" else name
            event["level"] = level
            event = dict(self._stamp(logger, name, event))
            show(event)
            text = self._render(logger, name, event)
            prefix = f"<{_JOURNAL_LEVELS.get(level, 6)}>" if self._journal else ""
            return (f"{prefix}{text!s}\n".encode("utf-8", "backslashreplace"),), {}
        except Exception:  # noqa: BLE001 - a log ends nothing: an event that cannot be told is counted
            return (None,), {}


class _Library(logging.Handler):
    """What a library says by Python's `logging`, as an event."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            values: dict[str, object] = {"library": record.name, "message": record.getMessage()}
            if record.exc_info and record.exc_info[1] is not None:
                values |= {"error": repr(record.exc_info[1]), "where": where_of(record.exc_info[1])}
        except Exception:  # noqa: BLE001 - a message that does not fit its arguments
            return
        log = structlog.get_logger()
        if record.levelno >= logging.ERROR:
            log.error("library_message", **values)
        elif record.levelno >= logging.WARNING:
            log.warning("library_message", **values)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().error("crashed", error=repr(error), where=where_of(error.with_traceback(trace)))


def _is_journal(fd: int) -> bool:
    """Whether this descriptor leads to journald: systemd.exec(5), $JOURNAL_STREAM is its device and inode."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _missing_json(count: int) -> bytes:
    return json.dumps({"event": "log_lines_dropped", "level": "warning", "lines": count}).encode() + b"\n"


def _missing_text(count: int) -> bytes:
    return f"level=warning event=log_lines_dropped lines={count}\n".encode()
