"""Who may come in: clients are counted in by network, compared with the limits, and refused in words.

This module knows no real server and no FTP but its 421 (RFC 959: service not available, closing control connection).
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from ftpdirector.engines.proxy.counters import Counters
from ftpdirector.engines.proxy.runtime import Runtime
from ftpdirector.model import IPAddress, VirtualServer

_DISCARD_BYTES: Final = 16384


class Admission:
    """Counts clients in and out, and refuses those that are too many."""

    def __init__(self, runtime: Runtime, counters: Counters) -> None:
        """Nobody is counted yet."""
        self._runtime = runtime
        self._counters = counters

    def admit(self, server: VirtualServer, counted: str) -> tuple[str, str] | None:
        """Count the client in, then compare: two workers that admit at once never both exceed a limit.

        The cause and the words when it is to be refused.
        """
        total, per_client = self._counters.count_client(server.name, counted, 1)
        if server.max_sessions and total > server.max_sessions:
            return "max_sessions", "Too many sessions on this address, try again later."
        if server.max_sessions_per_client and per_client > server.max_sessions_per_client:
            return "max_sessions_per_client", "Too many sessions from your address."
        return None

    def leaves(self, name: str, counted: str) -> None:
        """A client that was counted in is gone."""
        self._counters.count_client(name, counted, -1)

    def refuse(self, sock: socket.socket, client: str, name: str, counted: str, cause: str, text: str) -> None:
        """Tell a client that was counted in that it gets no session."""
        self._count_refused(name, cause, client)
        self.leaves(name, counted)
        self._runtime.closings.close(sock, self._runtime.now_s, b"421 " + text.encode("ascii") + b"\r\n")

    def turn_away(self, sock: socket.socket, client: str, name: str) -> None:
        """A client that there is no descriptor for: it is told so, and its socket is closed here and now."""
        sock.settimeout(0)
        with contextlib.suppress(OSError):
            sock.send(b"421 Too many connections, try again later.\r\n")
            sock.shutdown(socket.SHUT_WR)
            sock.recv(_DISCARD_BYTES)  # What stays unread would turn the close into a reset (RFC 2525 section 2.17).
        sock.close()
        self._count_refused(name, "shortage", client)

    def _count_refused(self, name: str, cause: str, client: str) -> None:
        self._counters.count_refused(name, cause)
        names = {"virtual_server": name, "cause": cause}
        runtime = self._runtime
        runtime.sampler.say(runtime.log.info, runtime.now_s, "client_refused", names, client=client)


def counted_as(server: VirtualServer, client: IPAddress, text: str) -> str:
    """The name of a count: by network for IPv6, where every host has a network of addresses (RFC 7934)."""
    if client.version == 6:
        text = f"{int(client) >> (128 - server.client_prefix_ipv6):x}/{server.client_prefix_ipv6}"
    return f"c\0{server.name}\0{text}"
