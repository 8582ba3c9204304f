"""The transfer log: one line a transfer, in the xferlog format that existing tools read (xferlog(5) of wu-ftpd).

Several processes append to one file, which the supervisor opened; lines stay whole. This module knows no session.
"""

from __future__ import annotations

import errno
import os
from datetime import datetime

from ftpdirector.errors import EngineError
from ftpdirector.host.sink import LineSink
from ftpdirector.state import TransferRecord


def format_xferlog(record: TransferRecord) -> str:
    """One line. White space and control characters of names become `_`; the time is local, as xferlog has it."""
    ended = datetime.fromtimestamp(record.started_s + record.duration_s).astimezone()
    return " ".join(
        (
            ended.strftime("%a %b %d %H:%M:%S %Y"),
            str(max(1, round(record.duration_s))),
            record.client,
            str(record.bytes),
            _word(record.path) or "-",
            "b" if record.binary else "a",
            "_",  # no special action: neither compressed nor tarred here
            "i" if record.upload else "o",
            "a" if record.user in ("anonymous", "ftp") else "r",
            _word(record.user) or "-",
            f"ftp@{_word(record.real_server)}",
            "0",  # no RFC 931 authentication
            "*",
            "c" if record.complete else "i",
        )
    )


def _word(text: str) -> str:
    return "".join(
        "_" if char.isspace() or not (char.isprintable() or "\udc80" <= char <= "\udcff") else char for char in text
    )


def open_transfer_log(path: str) -> int:
    """A descriptor that appends to this file, made with mode 0640. Raises `EngineError` in one line."""
    try:
        # Without O_NONBLOCK a named pipe that nobody reads would hold the director up; with it, it is refused.
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o640)
    except OSError as error:
        said = "nobody reads this named pipe" if error.errno == errno.ENXIO else error.strerror
        raise EngineError(f"transfer_log: {path} cannot be opened: {said}; {_remedy(path)}") from error
    except ValueError as error:  # a NUL in the name
        raise EngineError(f"transfer_log: {path!r} cannot be opened: {error}; {_remedy('')}") from error
    os.set_blocking(fd, True)  # a reader that pauses loses nothing
    return fd


def _remedy(path: str) -> str:
    folder = os.path.dirname(path)  # noqa: PTH120 - a text
    if folder and not os.path.isdir(folder):  # noqa: PTH112
        return f"make the directory {folder}, or name a file in one that is there"
    return "name a file that the director's user may append to"


class TransferLog:
    """Appends to a file that somebody else opened; never waits for it and never fails (`host/sink`)."""

    def __init__(self) -> None:
        """No file yet."""
        self._sink = LineSink()
        self._is_open = False

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""
        return self._sink.dropped

    def use(self, fd: int | None) -> None:
        """Append to this descriptor from now on, which becomes its own; None: to none."""
        self._is_open = fd is not None
        if fd is not None:
            self._sink.use(fd)

    def write(self, record: TransferRecord) -> None:
        """One line."""
        if not self._is_open:
            return
        try:
            line = format_xferlog(record)
        except (ValueError, OverflowError, OSError):  # a time that no calendar has: the clock is wrong, not the client
            self._sink.drop()
            return
        self._sink.write(line.encode("utf-8", "surrogateescape") + b"\n")

    def flush(self, within_s: float) -> None:
        """Wait, at most so long, until all lines are written."""
        self._sink.flush(within_s)
