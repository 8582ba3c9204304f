"""Every exception of ftpdirector, drawn as a tree.

    DirectorError
    ├── ConfigError        the cluster file says what cannot be: a list of problems
    ├── ProtocolError      a peer said what FTP does not allow: carries the reply that it is due
    ├── HostError          the operating system refused: a program, a file, an address
    ├── EngineError        an engine cannot make the host agree with what is wanted
    └── ControlError       the running director could not be reached, or refused

This module knows no reason why any of them is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class DirectorError(Exception):
    """Base of all errors that ftpdirector raises on purpose; its text is meant for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with a cluster file: where, what, and what would be right.

    `line` and `column` count from 1, a column in characters; 0 where there is none (a file that cannot be read).
    """

    where: str = ""
    """Which setting: `virtual_server "ftp": port`; empty for the file as a whole."""
    what: str
    remedy: str = ""
    rule: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    excerpt: str = ""
    """The line itself, without what a terminal would obey."""

    def __str__(self) -> str:
        """One line for a person: `cluster.toml:7:8: virtual_server "ftp": port: 0 cannot be used; write at least 1`."""
        place = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        said = self.what + (f"; {self.remedy}" if self.remedy else "")
        return ": ".join(part for part in (place, self.where, said) if part)


class ConfigError(DirectorError):
    """A cluster file that cannot be used; `problems` lists all of them, `warnings` what is valid but risky in it."""

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        """Keep both; the text is one line a problem."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)


class ProtocolError(DirectorError):
    """A peer's bytes that FTP does not allow.

    `reply_code` is the three-digit reply that the peer is due, and the text of the error its text.
    """

    def __init__(self, text: str, *, reply_code: int = 500) -> None:
        """Keep the text for the reply, and its code (RFC 959 section 4.2)."""
        super().__init__(text)
        self.reply_code = reply_code


class HostError(DirectorError):
    """The operating system refused: a program failed, a file could not be written, an address is taken."""


class EngineError(DirectorError):
    """An engine cannot make the host agree with what is wanted."""


class ControlError(DirectorError):
    """The running director could not be reached over its socket, or refused the request."""
