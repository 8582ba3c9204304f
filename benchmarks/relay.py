"""A bare relay on uvloop: what a proxy without any feature costs.

relay.py LISTEN_HOST FROM_PORT:TO_PORT ... FIRST-LAST
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

TARGET = "127.0.0.1"


class Half(asyncio.Protocol):
    """One side; what it hears the other one says."""

    def __init__(self, port: int, other: Half | None = None) -> None:
        self.port, self.other = port, other
        self.transport: asyncio.Transport | None = None
        self.held: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self.other is None:
            loop = asyncio.get_running_loop()
            self.task = loop.create_task(loop.create_connection(lambda: Half(0, self), TARGET, self.port))
            self.task.add_done_callback(self._connected)
        else:
            self.other.other = self
            for data in self.other.held:
                self.transport.write(data)
            self.other.held.clear()

    def _connected(self, task: asyncio.Task[object]) -> None:
        if task.exception() and self.transport:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)
        else:
            self.held.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        if self.other and self.other.transport:
            self.other.transport.close()


async def main() -> None:
    """Listen for ever."""
    loop = asyncio.get_running_loop()
    host, *pairs, ports = sys.argv[1:]
    for pair in pairs:
        here, there = (int(part) for part in pair.split(":"))
        await loop.create_server(lambda there=there: Half(there), host, here)
    first, last = (int(part) for part in ports.split("-"))
    for port in range(first, last + 1):
        await loop.create_server(lambda port=port: Half(port), host, port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
