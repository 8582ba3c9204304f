"""What a client's line asks for, and which verbs mean what to a director.

This module knows no state of a session.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import Direction
from ftpdirector.ftp.capabilities import PLAIN


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

LISTINGS: Final = frozenset((b"LIST", b"NLST", b"MLSD"))
"""Of a listing without a line real servers make no data connection, now and then, and say 226 all the same."""

ADDRESSES: Final = frozenset((b"PASV", b"EPSV", b"PORT", b"EPRT"))
"""The verbs that announce a data connection; the director answers them itself."""

ORDINARY: Final = frozenset(
    b"USER PASS ACCT CWD CDUP SMNT REIN QUIT TYPE REST ALLO RNFR RNTO ABOR DELE RMD MKD PWD SITE SYST STAT HELP NOOP"
    b" STRU MODE FEAT OPTS LANG HOST SIZE MDTM MFMT MLST CLNT XCWD XCUP XMKD XPWD XRMD".split()
)
"""Verbs known to need no data connection; a preliminary reply to any other one begins a transfer."""

_WATCHED: Final = frozenset((*TRANSFERS, *PLAIN.refused_verbs, *ADDRESSES, b"MODE", b"STRU", b"REST", b"FEAT", b"ABOR"))
"""What the director must not overlook in any spelling that some real server takes for it."""
_KNOWN: Final = ORDINARY | _WATCHED


def parse_command(line: bytes) -> Command:
    """A line without its end as a command; raises ProtocolError with 500 where two sides could read it differently.

    Real servers skip, cut at or drop other bytes than a space around a verb, each its own (ProFTPD: TAB, NUL, VT, FF).
    So a verb is ASCII letters and digits up to a space or the end. A line that begins with blanks passes, as some
    servers are silent about it, unless its verb is one that the director must not overlook. Some servers end a line
    at a bare carriage return: what follows it would be a command that nobody looked at. In a name it is followed by a
    NUL (RFC 3659 section 2.2).
    """
    if b"\r" in line and line.count(b"\r") != line.count(b"\r\0"):
        raise ProtocolError("A carriage return inside a command needs a NUL behind it")
    verb, _, argument = line.partition(b" ")
    verb = verb.upper()
    if verb in _KNOWN:
        return Command(verb, argument, line)
    return _unknown(verb, argument, line)


def _unknown(verb: bytes, argument: bytes, line: bytes) -> Command:
    if verb.isalnum() and verb[:1].isalpha():
        if verb[:4] in _WATCHED:
            # Servers that compare four letters exist (embedded ones): PORTX is no verb of anybody.
            raise ProtocolError(f"{verb[:4].decode()} ends with a space or the line")
        return Command(verb, argument, line)
    rest = line.lstrip(b" \t")
    if len(rest) == len(line):
        raise ProtocolError("A command begins with its verb: letters, then a space or the end of the line")
    if not rest:
        return Command(b"", b"", line)
    command = parse_command(rest)
    if command.verb in _WATCHED:
        raise ProtocolError("A command begins with its verb")
    return Command(command.verb, command.argument, line)


def letter(command: Command) -> bytes:
    """The one letter that MODE or STRU asks for, as some real server could read it; raises ProtocolError with 501."""
    argument = command.argument.strip(b" ")
    if not argument.isalnum():
        raise ProtocolError(f"{command.verb.decode()} takes one letter", reply_code=501)
    return argument[:1].upper()


def printable(argument: bytes) -> str:
    """An argument for the log: Telnet's doubled 0xFF undone, bytes that are not UTF-8 as surrogates."""
    return argument.replace(b"\xff\xff", b"\xff").decode("utf-8", "surrogateescape")
