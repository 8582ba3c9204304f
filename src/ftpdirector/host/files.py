"""Files of the host: read a password, raise the limit of open files. This module knows no cluster."""

from __future__ import annotations

import resource
from pathlib import Path


def read_first_line(path: str) -> str:
    """The first line of a small file, without its end; OSError when it cannot be read."""
    with Path(path).open(encoding="utf-8", errors="surrogateescape") as file:
        return file.readline(4096).rstrip("\r\n")


def raise_open_files_limit() -> int:
    """Raise the soft limit of open files to the hard one; the limit now in force."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
