"""Data connections of a strict client: it follows what is announced to the letter, and takes nothing else.

This module knows no file and no table of results.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum
from ipaddress import IPv4Address, ip_address
from typing import Protocol

from ftpdirector.conversation import Conversation
from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.endpoints import (
    format_eprt_argument,
    format_port_argument,
    parse_epsv_reply,
    parse_pasv_reply,
    parse_port_argument,
    plain_address,
)
from ftpdirector.model import Endpoint, IPAddress

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Mode(StrEnum):
    """Who opens the data connection, and in which words."""

    PASV = "pasv"
    EPSV = "epsv"
    PORT = "port"
    EPRT = "eprt"

    def fits(self, address: IPAddress) -> bool:
        """PASV and PORT can name IPv4 addresses only (RFC 2428 section 1)."""
        return address.version == 4 or self in (Mode.EPSV, Mode.EPRT)


class Data(Protocol):
    """A data connection that is agreed on; it stands once the transfer command was sent."""

    async def streams(self) -> Streams:
        """The connection."""
        ...


class _Opened:
    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def streams(self) -> Streams:
        return self._streams


class _Awaited:
    def __init__(self, accepted: asyncio.Future[Streams], peer: IPAddress) -> None:
        self._accepted = accepted
        self._peer = peer

    async def streams(self) -> Streams:
        streams = await self._accepted
        came_from = plain_address(ip_address(streams[1].get_extra_info("peername")[0]))
        if came_from != self._peer:
            raise ProtocolError(f"the data connection came from {came_from}, the control connection is to {self._peer}")
        return streams


@asynccontextmanager
async def agree(talk: Conversation, mode: Mode) -> AsyncGenerator[Data, None]:
    """Agree on a data connection; it is closed at the end. ProtocolError for what a strict client does not take."""
    peer = plain_address(talk.server.address)
    match mode:
        case Mode.PASV | Mode.EPSV:
            port = await _announced_port(talk, mode, peer)
            talk.waiting_for = f"the data connection to port {port}"
            streams = await asyncio.open_connection(str(talk.server.address), port)
            try:
                yield _Opened(streams)
            finally:
                streams[1].close()
        case Mode.PORT | Mode.EPRT:
            accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if accepted.done():
                    writer.close()
                else:
                    accepted.set_result((reader, writer))

            server = await asyncio.start_server(accept, str(talk.local.address), 0)
            try:
                await _announce(talk, mode, _listening(server, talk))
                yield _Awaited(accepted, peer)
            finally:
                server.close()
                if accepted.done():
                    accepted.result()[1].close()
                else:
                    accepted.cancel()


async def _announced_port(talk: Conversation, mode: Mode, peer: IPAddress) -> int:
    reply = await talk.command(mode.upper())
    if mode is Mode.EPSV:
        expect(reply.code, (229,), reply.text)
        return parse_epsv_reply(reply.data)
    expect(reply.code, (227,), reply.text)
    port = parse_pasv_reply(reply.data)
    inside = reply.data[reply.data.find(b"(") + 1 : reply.data.find(b")")]
    announced = parse_port_argument(inside).address
    if announced != peer:
        raise ProtocolError(f"227 announces {announced}, the control connection is to {peer}")
    if port < 1024:
        raise ProtocolError(f"227 announces port {port}, which is below 1024 (RFC 2577)")
    return port


async def _announce(talk: Conversation, mode: Mode, endpoint: Endpoint) -> None:
    argument = format_port_argument(endpoint) if mode is Mode.PORT else format_eprt_argument(endpoint)
    reply = await talk.command(f"{mode.upper()} {argument.decode()}")
    expect(reply.code, (200,), reply.text)


def _listening(server: asyncio.Server, talk: Conversation) -> Endpoint:
    sock: socket.socket = server.sockets[0]
    address = plain_address(talk.local.address)
    return Endpoint(IPv4Address(str(address)) if address.version == 4 else address, int(sock.getsockname()[1]))


def expect(code: int, wanted: tuple[int, ...], text: str) -> None:
    """A ProtocolError with the server's own words unless the code is one of those wanted."""
    if code not in wanted:
        raise ProtocolError(f"expected {' or '.join(map(str, wanted))}, got: {text[:200]}")
