"""One look at one real server: connect, banner, login, list, transfer, each including the ones before it.

A failed probe is a result, never an exception; its reason is a sentence for a person and holds no password. This
module knows nothing of earlier looks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.endpoints import parse_epsv_reply, parse_pasv_reply
from ftpdirector.ftp.replies import Reply, ReplyReader
from ftpdirector.health.verdict import Look, LookOutcome
from ftpdirector.model import Endpoint, HealthCheck, ProbeKind, ProxyProtocol

_LARGEST_TRANSFER_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 65536
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
    """Look once, for at most `check.timeout_s` seconds in all."""
    started_s = asyncio.get_running_loop().time()
    state = _Conversation(server)
    try:
        async with asyncio.timeout(check.timeout_s):
            reason = await _look(state, server, check, password, proxy_protocol)
        outcome = LookOutcome.UP
    except TimeoutError:
        outcome, reason = LookOutcome.DOWN, f"{state.waiting_for} took longer than {check.timeout_s:g} s"
    except _Failed as failed:
        outcome, reason = failed.look
    except ProtocolError as error:
        outcome, reason = LookOutcome.DOWN, f"not FTP: {error}"
    except OSError as error:
        outcome, reason = LookOutcome.DOWN, f"{state.waiting_for}: {error.strerror or error}"
    finally:
        state.close()
    duration_s = asyncio.get_running_loop().time() - started_s
    return Look(outcome=outcome, reason=reason, duration_s=duration_s, banner=state.banner)


async def _look(
    talk: _Conversation, server: Endpoint, check: HealthCheck, password: Secret, proxy_protocol: ProxyProtocol
) -> str:
    await talk.connect()
    match proxy_protocol:
        case ProxyProtocol.OFF:
            pass
        case ProxyProtocol.V1:
            talk.send_raw(b"PROXY UNKNOWN\r\n")
        case ProxyProtocol.V2:
            talk.send_raw(_LOCAL_V2)
    if check.probe is ProbeKind.CONNECT:
        return "accepts connections"
    greeting = await talk.reply("the greeting")
    while greeting.code == 120:  # RFC 959 section 5.4: ready in some minutes
        greeting = await talk.reply("the greeting")
    talk.banner = greeting.text
    _expect(greeting, 220, "greeting")
    if check.probe is ProbeKind.BANNER:
        await talk.quit()
        return "greets with 220"
    await _log_in(talk, check, password)
    if check.probe is ProbeKind.LOGIN:
        await talk.quit()
        return f"lets {check.user} log in"
    reason = await _read(talk, server, check)
    await talk.quit()
    return reason


async def _log_in(talk: _Conversation, check: HealthCheck, password: Secret) -> None:
    reply = await talk.command(f"USER {check.user}")
    if reply.code == 331:
        reply = await talk.command(f"PASS {password.reveal()}", shown="PASS")
    if reply.code != 202:
        _expect(reply, 230, f"login of {check.user}")


async def _read(talk: _Conversation, server: Endpoint, check: HealthCheck) -> str:
    transfers = check.probe is ProbeKind.TRANSFER
    size: int | None = None
    if transfers:
        _expect(await talk.command("TYPE I"), 200, "TYPE I")
        answer = await talk.command(f"SIZE {check.path}")
        if answer.code == 213 and answer.text.strip().isdecimal() and len(answer.text) < 20:
            size = int(answer.text)
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


async def _passive_port(talk: _Conversation, server: Endpoint) -> int:
    reply = await talk.command("EPSV")
    if reply.code == 229:
        return parse_epsv_reply(reply.text.encode())
    if server.address.version == 6:
        _refuse(reply, "EPSV")
    reply = await talk.command("PASV")
    _expect(reply, 227, "PASV")
    return parse_pasv_reply(reply.text.encode())


def _expect(reply: Reply, code: int, what: str) -> None:
    if reply.code != code and not (code == 226 and reply.code == 250):
        _refuse(reply, what)


def _refuse(reply: Reply, what: str) -> None:
    outcome = LookOutcome.FULL if reply.code == 421 else LookOutcome.DOWN
    raise _Failed(outcome, f"{what}: {reply.code} {reply.text[:200]}")


class _Conversation:
    """A control connection that asks and waits."""

    def __init__(self, server: Endpoint) -> None:
        self._server = server
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._replies = ReplyReader()
        self._ready: deque[Reply] = deque()
        self.banner = ""
        self.waiting_for = "connect"

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(str(self._server.address), self._server.port)

    def send_raw(self, data: bytes) -> None:
        assert self._writer is not None  # noqa: S101 - connect() came first
        self._writer.write(data)

    async def command(self, line: str, *, shown: str = "") -> Reply:
        self.send_raw(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self.reply(f"the reply to {shown or line}")

    async def reply(self, waiting_for: str) -> Reply:
        self.waiting_for = waiting_for
        assert self._reader is not None  # noqa: S101 - connect() came first
        while not self._ready:
            data = await self._reader.read(_CHUNK_BYTES)
            if not data:
                raise _Failed(LookOutcome.DOWN, f"closed the connection before {waiting_for}")
            self._ready.extend(self._replies.feed(data))
        return self._ready.popleft()

    async def quit(self) -> None:
        """Leave in peace, so that the real server's log stays clean; what it answers does not matter any more."""
        try:
            await self.command("QUIT")
        except (_Failed, OSError):
            return

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
