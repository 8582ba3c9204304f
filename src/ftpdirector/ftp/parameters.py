"""Where a session is and how it transfers: the working directory and TYPE, as the real server's replies tell.

For the transfer log alone. The director never asks: what no reply told is not known, and is said so by giving a name
as the client wrote it. This module knows no transfer.
"""

from __future__ import annotations

import re
from typing import Final

from ftpdirector.ftp.commands import Command, printable

_NAMED: Final = re.compile(r'\d{3} "((?:[^"]|"")*)"')
"""257 "path", a quote in it doubled (RFC 959 appendix II); some servers answer CWD so, too."""

FOLLOWED: Final = frozenset((b"CWD", b"XCWD", b"CDUP", b"XCUP", b"PWD", b"XPWD", b"TYPE", b"SMNT"))
"""The verbs whose replies are of interest."""


class Parameters:
    """The working directory and the representation type of one session."""

    __slots__ = ("_directory", "binary")

    def __init__(self) -> None:
        """The directory of a login is the real server's secret; the type is ASCII (RFC 959 section 5.1)."""
        self._directory = ""
        self.binary = False

    def forget(self) -> None:
        """REIN, or another login."""
        self._directory = ""
        self.binary = False

    def learn(self, verb: bytes, argument: bytes, code: int, reply: bytes) -> None:
        """A command of `FOLLOWED` has this final reply; its last line is `reply`."""
        if not 200 <= code < 300:
            return
        if verb == b"TYPE":
            self.binary = argument.strip()[:1].upper() in (b"I", b"L")
            return
        named = _NAMED.match(reply.decode("utf-8", "surrogateescape"))
        if named is not None and named[1].startswith("/"):
            self._directory = _normal(named[1].replace('""', '"'))
        elif verb in (b"CDUP", b"XCUP"):
            self._directory = self._directory and _normal(self._directory + "/..")
        elif verb in (b"CWD", b"XCWD"):
            self._directory = self._whole(printable(argument))
        else:
            self._directory = ""  # PWD in words that are not understood, or SMNT.

    def path(self, command: Command) -> str:
        """The whole path that a command names; the name as it was written when the directory is not known."""
        name = printable(command.argument)
        return (self._whole(name) if name else "") or name

    def _whole(self, name: str) -> str:
        if name.startswith("/"):
            return _normal(name)
        if not self._directory or not name or name.startswith("~"):
            return ""
        return _normal(f"{self._directory}/{name}")


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
