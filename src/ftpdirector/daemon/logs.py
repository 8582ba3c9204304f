"""The log: one line an event on standard error, `key=value` for people or JSON for programs.

This module knows no event.
"""

from __future__ import annotations

import sys

import structlog

from ftpdirector.text import shown


def show(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What clients and real servers said is text in which nothing acts: no escape sequence, no line of its own."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = shown(value)
    return event


def set_up_log(*, json: bool = False, level: str = "info") -> None:
    """Configure structlog for this process; what is below `level` is dropped before it is formatted."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "session", "client", "event"], drop_missing=True
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            show,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
