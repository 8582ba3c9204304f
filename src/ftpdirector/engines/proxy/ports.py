"""Listening data ports, open in advance: a PASV leases one, so that it opens no socket.

A pool belongs to one local address and one part of the passive range. It grows with demand. A lease names the client's
address; whoever else connects, or connects to a port that nobody leases, is reset (RFC 2577 section 4: no stolen
connections). The accept queue is emptied before a port is announced: a connection in it is someone else's, or the
previous transfer's. This module knows no FTP.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ftpdirector.engines.proxy.readiness import READABLE, Readiness
from ftpdirector.errors import HostError
from ftpdirector.model import Endpoint, IPAddress, PortRange

SO_LINGER_RESET: Final = struct.pack("ii", 1, 0)
IP_FREEBIND: Final = 15
"""linux/in.h; bind an address that is not on this host yet (ip(7)). IPv6 heeds the same option."""
NO_DESCRIPTOR_LEFT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""accept(2) cannot go on; the connection stays in the queue, so that to try at once would turn in circles."""
_FIRST_PORTS: Final = 8
_SPREAD: Final = 128
"""A pool grows up to this many ports only to give a client one that it has not had lately."""
_CLIENTS_REMEMBERED: Final = 1024
_ACCEPTS_A_TURN: Final = 16
_BACKLOG: Final = 16
_TRIES: Final = 64
"""Ports in the hands of others that one growth puts up with; the next one goes on behind them."""


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN, so that the peer cannot take what it got for complete (socket(7), SO_LINGER)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER_RESET)
    sock.close()


def listening_socket(endpoint: Endpoint, backlog: int) -> socket.socket:
    """A socket that listens and does not block; works for an address that is not here yet (a standby director).

    Raises `OSError` when the endpoint is taken.
    """
    sock = socket.socket(family_of(endpoint.address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((str(endpoint.address), endpoint.port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def family_of(address: IPAddress) -> socket.AddressFamily:
    """The socket family of an address."""
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


class Lease:
    """A port that one client may connect to, once."""

    __slots__ = ("_listener", "client", "on_open")

    def __init__(self, listener: _Listener, client: str, on_open: Callable[[socket.socket], None]) -> None:
        """Made by `PortPool.lease`."""
        self._listener = listener
        self.client = client
        self.on_open = on_open

    @property
    def port(self) -> int:
        """The number to announce."""
        return self._listener.port

    def release(self) -> None:
        """Nobody may connect any more; the port is free for others. Releasing twice is fine."""
        self._listener.release(self)


class _Listener:
    """One port of the pool."""

    __slots__ = ("lease", "place", "pool", "port", "sock")

    def __init__(self, pool: PortPool, sock: socket.socket, port: int) -> None:
        self.pool = pool
        self.sock = sock
        self.port = port
        self.place = 0
        self.lease: Lease | None = None

    def ready(self, events: int) -> None:  # noqa: ARG002  accept tells more than the events do
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, peer = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_DESCRIPTOR_LEFT:
                    self.pool.rest(self)
                return
            lease = self.lease
            if lease is None or peer[0] != lease.client:
                reset(sock)
                continue
            self.release(lease)
            lease.on_open(sock)
            return

    def empty_queue(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            reset(sock)

    def release(self, lease: Lease) -> None:
        if self.lease is lease:
            self.lease = None
            self.pool.give_back(self)


class PortPool:
    """The listening data ports of one local address."""

    def __init__(self, readiness: Readiness, address: IPAddress, ports: PortRange, chance: random.Random) -> None:
        """Listens on nothing until the first lease; `ports` is this worker's own part of the passive range."""
        self.free: list[_Listener] = []
        self._all: list[_Listener] = []
        self._readiness = readiness
        self._address = address
        self._chance = chance
        self._first = ports.first
        self._size = len(ports)
        self._next = chance.randrange(self._size)
        self._open: set[int] = set()
        self._resting: list[_Listener] = []
        self._had: OrderedDict[str, dict[_Listener, None]] = OrderedDict()

    def __len__(self) -> int:
        """How many ports listen."""
        return len(self._all)

    def lease(self, client: str, on_open: Callable[[socket.socket], None]) -> Lease:
        """A free port for `client` (its address as text); `on_open` gets the accepted socket, once.

        Raises `HostError` when every port of the range is leased or taken by somebody else.
        """
        listener = self._choose(client)
        listener.empty_queue()
        lease = listener.lease = Lease(listener, client, on_open)
        return lease

    def rest(self, listener: _Listener) -> None:
        """Leave the listener's queue alone until `wake`: there is no descriptor to accept with."""
        self._readiness.watch(listener.sock.fileno(), 0, listener)
        self._resting.append(listener)

    def wake(self) -> None:
        """Look again at what `rest` left alone; called about once a second."""
        while self._resting:
            listener = self._resting.pop()
            self._readiness.watch(listener.sock.fileno(), READABLE, listener)

    def close(self) -> None:
        """Close every port."""
        for listener in self._all:
            self._readiness.closing(listener.sock.fileno())
            listener.sock.close()
        self._all.clear()
        self._open.clear()
        self._resting.clear()
        self.free.clear()
        self._had.clear()

    def _choose(self, client: str) -> _Listener:
        if not self.free:
            # Others may hold a long row of the range (a predecessor that drains): one free port anywhere is enough.
            self._grow(max(_FIRST_PORTS, len(self._all)), tries=self._size)
        if not self.free:
            raise HostError(f"no data port is free on {self._address}")
        had = self._remembered(client)
        listener = self._new_to(had)
        if listener is None and len(self._all) < min(_SPREAD, self._size):
            self._grow(len(self._all), tries=len(self._all) + _TRIES)
            listener = self._new_to(had)
        if listener is None:
            listener = next(known for known in had if known.lease is None)
        self._take(listener)
        had.pop(listener, None)
        had[listener] = None
        if len(had) > _SPREAD:
            del had[next(iter(had))]
        return listener

    def give_back(self, listener: _Listener) -> None:
        """It is free again."""
        listener.place = len(self.free)
        self.free.append(listener)

    def _take(self, listener: _Listener) -> None:
        """The last free one takes its place, so that the cost does not grow with the pool."""
        last = self.free.pop()
        if last is not listener:
            self.free[listener.place] = last
            last.place = listener.place

    def _remembered(self, client: str) -> dict[_Listener, None]:
        """The ports that a client had, longest ago first."""
        had = self._had.get(client)
        if had is None:
            had = self._had[client] = {}
            if len(self._had) > _CLIENTS_REMEMBERED:
                self._had.popitem(last=False)
        else:
            self._had.move_to_end(client)
        return had

    def _new_to(self, had: dict[_Listener, None]) -> _Listener | None:
        """A random one of the free ports that this client has not had; None when it has had them all."""
        free = self.free
        if len(had) >= len(self._all):
            return None
        for _ in range(4):
            listener = free[int(self._chance.random() * len(free))]
            if listener not in had:
                return listener
        fresh = [listener for listener in free if listener not in had]
        return self._chance.choice(fresh) if fresh else None

    def _grow(self, more: int, *, tries: int) -> None:
        """Open up to `more` ports, passing over those that somebody else holds; looks at `tries` ports at most."""
        while more > 0 and tries > 0 and len(self._open) < self._size:
            port = self._first + self._next
            self._next = (self._next + 1) % self._size
            if port in self._open:
                continue
            tries -= 1
            try:
                sock = listening_socket(Endpoint(self._address, port), _BACKLOG)
            except OSError:
                continue
            listener = _Listener(self, sock, port)
            self._readiness.watch(sock.fileno(), READABLE, listener)
            self._open.add(port)
            self._all.append(listener)
            self.give_back(listener)
            more -= 1
