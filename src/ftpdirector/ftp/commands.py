"""What a client's line asks for, and which verbs mean what to a director.

This module knows no state of a session.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import Direction


class Command(NamedTuple):
    """A command: the verb in capitals, its argument and the whole line as they came on the wire."""

    verb: bytes
    argument: bytes
    line: bytes


TRANSFERS: Final = {
    b"RETR": Direction.DOWNLOAD,
    b"LIST": Direction.DOWNLOAD,
    b"NLST": Direction.DOWNLOAD,
    b"MLSD": Direction.DOWNLOAD,  # RFC 3659 section 7
    b"STOR": Direction.UPLOAD,
    b"STOU": Direction.UPLOAD,
    b"APPE": Direction.UPLOAD,
}
"""The verbs that use a data connection, and which way."""

_NO_TLS: Final = "TLS is not offered here; use plain FTP"
_NO_LONG_ADDRESSES: Final = "Not offered here; use EPRT or EPSV (RFC 2428)"

REFUSED_VERBS: Final = {
    b"AUTH": _NO_TLS,
    b"PBSZ": _NO_TLS,
    b"PROT": _NO_TLS,
    b"CCC": _NO_TLS,
    b"ADAT": _NO_TLS,
    b"MIC": _NO_TLS,
    b"CONF": _NO_TLS,
    b"ENC": _NO_TLS,
    b"CPSV": "Server-to-server transfers are not offered here",
    b"SSCN": "Server-to-server transfers are not offered here",
    b"LPRT": _NO_LONG_ADDRESSES,
    b"LPSV": _NO_LONG_ADDRESSES,
}
"""Verbs that the director cannot let pass, and why: 502. FEAT loses the same ones."""

REFUSED_MODES: Final = frozenset({b"B", b"C"})
"""Block and compressed mode mark the end of a file inside the stream (RFC 959 section 3.4), where nobody here looks."""

ORDINARY: Final = frozenset(
    b"USER PASS ACCT CWD CDUP SMNT REIN QUIT TYPE REST ALLO RNFR RNTO ABOR DELE RMD MKD PWD SITE SYST STAT HELP NOOP"
    b" STRU MODE FEAT OPTS LANG HOST SIZE MDTM MFMT MLST CLNT XCWD XCUP XMKD XPWD XRMD".split()
)
"""Verbs known to need no data connection; a preliminary reply to any other one begins a transfer."""


def parse_command(line: bytes) -> Command:
    """A line without its CRLF as a command; raises ProtocolError for an empty one, or with a carriage return inside.

    Some servers end a line at a bare carriage return: what follows it would be a command that nobody looked at. In a
    name it is followed by a NUL (RFC 3659 section 2.2).
    """
    verb, _, argument = line.partition(b" ")
    if b"\r" in line and line.count(b"\r") != line.count(b"\r\0"):
        raise ProtocolError("A carriage return inside a command needs a NUL behind it")
    if not verb:
        raise ProtocolError("A command begins with its verb")
    return Command(verb.upper(), argument, line)


def printable(argument: bytes) -> str:
    """An argument for the log: Telnet's doubled 0xFF undone, bytes that are not UTF-8 as surrogates."""
    return argument.replace(b"\xff\xff", b"\xff").decode("utf-8", "surrogateescape")


def edit_features(reply: bytes) -> bytes:
    """A FEAT reply without the features that the director cannot let pass (RFC 2389 section 3.2)."""
    return b"".join(line for line in reply.splitlines(keepends=True) if not _is_refused_feature(line))


def _is_refused_feature(line: bytes) -> bool:
    if not line.startswith(b" "):  # RFC 2389: a feature's line begins with one space
        return False
    words = line.upper().replace(b";", b" ").split()
    if not words:
        return False
    return words[0] in REFUSED_VERBS or (words[0] == b"MODE" and words[-1] in REFUSED_MODES)
