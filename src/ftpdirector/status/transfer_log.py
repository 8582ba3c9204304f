"""The transfer log: one line a transfer, in the xferlog format that existing tools read (xferlog(5) of wu-ftpd).

Several processes append to one file; each line is one write(2), so lines stay whole. This module knows no session.
"""

from __future__ import annotations

import os
from datetime import datetime

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


class TransferLog:
    """The file, appended to; opened anew at each reload, so that it may be rotated."""

    def __init__(self) -> None:
        """No file yet."""
        self._fd = -1

    def open(self, path: str | None) -> None:
        """Append to this file from now on; None: to none."""
        self.close()
        if path is not None:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, record: TransferRecord) -> None:
        """One line."""
        if self._fd >= 0:
            os.write(self._fd, format_xferlog(record).encode("utf-8", "surrogateescape") + b"\n")

    def close(self) -> None:
        """Close the file, if one is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
