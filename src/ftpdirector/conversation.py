"""The client's side of a control connection: ask, and wait for the reply. Probes and `verify` talk so.

This module knows no transfer, and no opinion on a reply.
"""

from __future__ import annotations

import asyncio
from collections import deque
from ipaddress import ip_address
from typing import Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.replies import Reply, ReplyReader
from ftpdirector.model import Endpoint

_CHUNK_BYTES: Final = 65536
_AT_ONCE_S: Final = 0.1
"""Behind a line that looks like the last one, but has another code: is there more to come?"""
_OF_OTHER_PROTOCOLS: Final = (b"HTTP/", b"SSH-")
"""Other lines without a code may stand before a reply: clients skip them."""


class Conversation:
    """One control connection. Bounds in time are the caller's; `waiting_for` tells what took too long."""

    def __init__(self, server: Endpoint) -> None:
        """Not connected yet."""
        self.server = server
        self.waiting_for = "connect"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.was_connected = False
        """Whether the connection once stood."""
        self._replies = ReplyReader()
        self._ready: deque[Reply] = deque()

    async def connect(self) -> None:
        """Connect; OSError when that fails."""
        try:
            self._reader, self._writer = await asyncio.open_connection(str(self.server.address), self.server.port)
        except ConnectionResetError:
            # A port that nobody listens on refuses (ECONNREFUSED): this one was accepted, and reset before we looked.
            self.was_connected = True
            self.waiting_for = "the greeting"
            raise
        self.was_connected = True

    @property
    def local(self) -> Endpoint:
        """This side's address and port."""
        assert self._writer is not None  # noqa: S101 - connect() came first
        name = self._writer.get_extra_info("sockname")
        return Endpoint(ip_address(name[0]), int(name[1]))

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        assert self._writer is not None  # noqa: S101 - connect() came first
        self._writer.write(data)

    async def command(self, line: str, *, shown: str = "") -> Reply:
        """The first reply to a command; `shown` stands for one that must not be shown."""
        self.send(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return await self.reply(f"the reply to {shown or line}")

    async def reply(self, waiting_for: str) -> Reply:
        """The next reply; EOFError when the server closes before, ProtocolError when it is none."""
        self.waiting_for = waiting_for
        assert self._reader is not None  # noqa: S101 - connect() came first
        while not self._ready:
            try:
                async with asyncio.timeout(_AT_ONCE_S if self._replies.doubt else None):
                    data = await self._reader.read(_CHUNK_BYTES)
            except TimeoutError:
                if not self._replies.doubt:
                    raise
                return self._replies.settle()
            self._ready.extend(self._replies.feed(data))
            uncoded = self._replies.uncoded
            if uncoded and not self._ready and (not data or uncoded.startswith(_OF_OTHER_PROTOCOLS)):
                raise ProtocolError("The real server sent what is no FTP reply", reply_code=421)
            if not data:
                raise EOFError(f"closed the connection before {waiting_for}")
        return self._ready.popleft()

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
