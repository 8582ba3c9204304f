"""One probe of one real server: connect, banner, login, list, transfer, each including the ones before it.

A failed probe is a result, never an exception; its reason is a sentence for a person, holds no password and may be
shown anywhere. What the director itself lacks decides nothing. This module knows nothing of earlier probes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

from ftpdirector.conversation import Conversation
from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.endpoints import parse_epsv_reply, parse_pasv_reply
from ftpdirector.ftp.replies import Reply
from ftpdirector.health.shortage import shortage_of
from ftpdirector.health.verdict import ProbeOutcome, ProbeResult
from ftpdirector.model import Endpoint, HealthCheck, ProbeKind, ProxyProtocol
from ftpdirector.text import shown

_LARGEST_TRANSFER_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 65536
_FAREWELL_S: Final = 0.5
_SHOWN_CHARACTERS: Final = 200
_TOO_MANY: Final = b"maximum number"
"""ProFTPD's words for MaxClients, MaxClientsPerHost and MaxClientsPerUser, behind the 530 of a wrong password."""
_LATE_S: Final = 1.0
"""A bound that is noticed so much later than it ends was noticed by a director that did not run meanwhile."""
_LOCAL_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
"""PROXY protocol version 2, command LOCAL: the director speaks for itself (section 2.2)."""


class Secret:
    """A password that does not show itself in a log, a repr or a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold it."""
        self._text = text

    def reveal(self) -> str:
        """For the wire only."""
        return self._text

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Secret(...)"


ANONYMOUS: Final = Secret("ftpdirector@localhost")


class _Failed(Exception):  # noqa: N818 - leaves this module as a ProbeResult, never as an error
    def __init__(self, outcome: ProbeOutcome, reason: str) -> None:
        super().__init__(reason)
        self.found = outcome, reason, ""


async def probe(
    server: Endpoint,
    check: HealthCheck,
    password: Secret = ANONYMOUS,
    proxy_protocol: ProxyProtocol = ProxyProtocol.OFF,
) -> ProbeResult:
    """Probe once, for at most `check.timeout_s` seconds in all; a ValueError for a transfer of no file."""
    if check.probe is ProbeKind.TRANSFER and not check.path:
        raise ValueError("a transfer probe needs the path of the file that it reads")
    clock = asyncio.get_running_loop().time
    started_s = clock()
    talk = Conversation(server)
    found = _Found()
    cause = ""
    try:
        async with asyncio.timeout(check.timeout_s):
            reason = await _attempt(talk, found, server, check, password, proxy_protocol)
        outcome, duration_s = ProbeOutcome.UP, clock() - started_s
        await _leave(talk, check)
    except TimeoutError:
        duration_s = clock() - started_s
        outcome, reason = ProbeOutcome.DOWN, f"{talk.waiting_for} took longer than {check.timeout_s:g} s"
    except (_Failed, ProtocolError, EOFError, OSError) as error:
        outcome, reason, cause = _bad(talk, found, error)
        duration_s = clock() - started_s
    finally:
        talk.close()
    if outcome is not ProbeOutcome.UP and duration_s > check.timeout_s + _LATE_S:
        outcome, cause = ProbeOutcome.UNDECIDED, "late"
        reason = f"the director itself did not run for {duration_s - check.timeout_s:.1f} s of the probe"
    return ProbeResult(
        outcome=outcome,
        reason=shown(_without(password, reason)),
        duration_s=duration_s,
        banner=shown(_without(password, found.banner)),
        cause=cause,
    )


class _Found:
    banner = ""
    greeted = False


def _bad(
    talk: Conversation, found: _Found, error: _Failed | ProtocolError | EOFError | OSError
) -> tuple[ProbeOutcome, str, str]:
    hung_up = ProbeOutcome.CLOSED if talk.was_connected and not found.greeted else ProbeOutcome.DOWN
    match error:
        case _Failed():
            return error.found
        case ProtocolError():
            return ProbeOutcome.DOWN, f"not FTP: {error}", ""
        case EOFError():
            return hung_up, str(error), ""
        case OSError():
            # The loop words errno in its own way; the system's word is the one that people know.
            said = os.strerror(error.errno).lower() if error.errno else str(error)
            reason = f"{talk.waiting_for}: {said}"
            if cause := shortage_of(error):
                return ProbeOutcome.UNDECIDED, f"{reason} (on the director itself)", cause
            is_reset = isinstance(error, ConnectionResetError | BrokenPipeError)
            return hung_up if is_reset else ProbeOutcome.DOWN, reason, ""


def _without(password: Secret, text: str) -> str:
    """A server may repeat what it was told."""
    secret = password.reveal()
    return text.replace(secret, "...") if secret and password is not ANONYMOUS else text


async def _leave(talk: Conversation, check: HealthCheck) -> None:
    """In peace, so that the real server's log stays clean; what it answers does not matter any more."""
    if check.probe is not ProbeKind.CONNECT:
        with contextlib.suppress(TimeoutError, EOFError, OSError, ProtocolError):
            async with asyncio.timeout(_FAREWELL_S):
                await talk.command("QUIT")


async def _attempt(
    talk: Conversation,
    found: _Found,
    server: Endpoint,
    check: HealthCheck,
    password: Secret,
    proxy_protocol: ProxyProtocol,
) -> str:
    await talk.connect()
    match proxy_protocol:
        case ProxyProtocol.OFF:
            pass
        case ProxyProtocol.V1:
            talk.send(b"PROXY UNKNOWN\r\n")
        case ProxyProtocol.V2:
            talk.send(_LOCAL_V2)
    if check.probe is ProbeKind.CONNECT:
        return "accepts connections"
    greeting = await talk.reply("the greeting")
    while greeting.code == 120:  # RFC 959 section 5.4: ready in some minutes
        greeting = await talk.reply("the greeting")
    found.banner = _text(greeting)
    found.greeted = True
    if greeting.code == 530:
        # ProFTPD's MaxConnectionsPerHost: nobody has said a name yet, so it is the number that is refused.
        raise _Failed(ProbeOutcome.CLOSED, f"greeting: 530 {found.banner}")
    _expect(greeting, 220, "greeting")
    if check.probe is ProbeKind.BANNER:
        return "greets with 220"
    await _log_in(talk, check, password)
    if check.probe is ProbeKind.LOGIN:
        return f"lets {check.user} log in"
    return await _read(talk, server, check)


async def _log_in(talk: Conversation, check: HealthCheck, password: Secret) -> None:
    reply = await talk.command(f"USER {check.user}")
    if reply.code == 331:
        reply = await talk.command(f"PASS {password.reveal()}", shown="PASS")
    if reply.code == 530 and _TOO_MANY in reply.data.lower():
        raise _Failed(ProbeOutcome.CLOSED, f"login of {check.user}: 530 {_text(reply)}")
    if reply.code != 202:
        _expect(reply, 230, f"login of {check.user}")


async def _read(talk: Conversation, server: Endpoint, check: HealthCheck) -> str:
    transfers = check.probe is ProbeKind.TRANSFER
    size: int | None = None
    if transfers:
        _expect(await talk.command("TYPE I"), 200, "TYPE I")
        answer = await talk.command(f"SIZE {check.path}")
        digits = _text(answer)
        if answer.code == 213 and digits.isdecimal() and len(digits) < 20:
            size = int(digits)
    port = await _passive_port(talk, server)
    talk.waiting_for = "the data connection"
    reader, writer = await asyncio.open_connection(str(server.address), port)
    try:
        verb = f"RETR {check.path}" if transfers else f"LIST {check.path}" if check.path else "LIST"
        reply = await talk.command(verb)
        if reply.code not in (125, 150):
            _refuse(reply, verb)
        talk.waiting_for = f"data of {verb}"
        got = 0
        while chunk := await reader.read(_CHUNK_BYTES):
            got += len(chunk)
            if got > _LARGEST_TRANSFER_BYTES:
                raise _Failed(
                    ProbeOutcome.DOWN, f"{verb} sends more than {_LARGEST_TRANSFER_BYTES} bytes; name a small file"
                )
    finally:
        writer.close()
    _expect(await talk.reply(f"the end of {verb}"), 226, verb)
    if size is not None and got != size:
        raise _Failed(ProbeOutcome.DOWN, f"{verb} gave {got} bytes, SIZE says {size}")
    return f"{verb} gave {got} bytes"


async def _passive_port(talk: Conversation, server: Endpoint) -> int:
    reply = await talk.command("EPSV")
    if reply.code == 229:
        return parse_epsv_reply(reply.data)
    if server.address.version == 6:
        _refuse(reply, "EPSV")
    reply = await talk.command("PASV")
    _expect(reply, 227, "PASV")
    return parse_pasv_reply(reply.data)


def _expect(reply: Reply, code: int, what: str) -> None:
    if reply.code != code and not (code == 226 and reply.code == 250):
        _refuse(reply, what)


def _refuse(reply: Reply, what: str) -> None:
    outcome = ProbeOutcome.FULL if reply.code == 421 else ProbeOutcome.DOWN
    raise _Failed(outcome, f"{what}: {reply.code} {_text(reply)}")


def _text(reply: Reply) -> str:
    """What stands behind the code, for people."""
    return reply.text[4:][:_SHOWN_CHARACTERS].strip()
