"""One look at one real server: connect, banner, login, list, transfer, each including the ones before it.

A failed probe is a result, never an exception; its reason is a sentence for a person and holds no password. This
module knows nothing of earlier looks.
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
from ftpdirector.health.verdict import Look, LookOutcome
from ftpdirector.model import Endpoint, HealthCheck, ProbeKind, ProxyProtocol

_LARGEST_TRANSFER_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 65536
_FAREWELL_S: Final = 0.5
_SHOWN_CHARACTERS: Final = 200
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


class _Failed(Exception):  # noqa: N818 - leaves this module as a Look, never as an error
    def __init__(self, outcome: LookOutcome, reason: str) -> None:
        super().__init__(reason)
        self.look = outcome, reason


async def probe(
    server: Endpoint,
    check: HealthCheck,
    password: Secret = ANONYMOUS,
    proxy_protocol: ProxyProtocol = ProxyProtocol.OFF,
) -> Look:
    """Look once, for at most `check.timeout_s` seconds in all; a ValueError for a transfer of no file."""
    if check.probe is ProbeKind.TRANSFER and not check.path:
        raise ValueError("a transfer probe needs the path of the file that it reads")
    clock = asyncio.get_running_loop().time
    started_s = clock()
    talk = Conversation(server)
    found = _Found()
    try:
        async with asyncio.timeout(check.timeout_s):
            reason = await _look(talk, found, server, check, password, proxy_protocol)
        outcome, duration_s = LookOutcome.UP, clock() - started_s
        await _leave(talk, check)
    except TimeoutError:
        outcome, reason = LookOutcome.DOWN, f"{talk.waiting_for} took longer than {check.timeout_s:g} s"
        duration_s = clock() - started_s
    except (_Failed, ProtocolError, EOFError, OSError) as error:
        outcome, reason = _bad(talk, error)
        duration_s = clock() - started_s
    finally:
        talk.close()
    return Look(
        outcome=outcome,
        reason=_without(password, reason),
        duration_s=duration_s,
        banner=_without(password, found.banner),
    )


class _Found:
    banner = ""


def _bad(talk: Conversation, error: _Failed | ProtocolError | EOFError | OSError) -> tuple[LookOutcome, str]:
    match error:
        case _Failed():
            return error.look
        case ProtocolError():
            return LookOutcome.DOWN, f"not FTP: {error}"
        case EOFError():
            return LookOutcome.DOWN, str(error)
        case OSError():
            # The loop words errno in its own way; the system's word is the one that people know.
            said = os.strerror(error.errno).lower() if error.errno else str(error)
            return LookOutcome.DOWN, f"{talk.waiting_for}: {said}"


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


async def _look(
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
                    LookOutcome.DOWN, f"{verb} sends more than {_LARGEST_TRANSFER_BYTES} bytes; name a small file"
                )
    finally:
        writer.close()
    _expect(await talk.reply(f"the end of {verb}"), 226, verb)
    if size is not None and got != size:
        raise _Failed(LookOutcome.DOWN, f"{verb} gave {got} bytes, SIZE says {size}")
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
    outcome = LookOutcome.FULL if reply.code == 421 else LookOutcome.DOWN
    raise _Failed(outcome, f"{what}: {reply.code} {_text(reply)}")


def _text(reply: Reply) -> str:
    """What stands behind the code, for people."""
    return reply.text[4:][:_SHOWN_CHARACTERS].strip()
