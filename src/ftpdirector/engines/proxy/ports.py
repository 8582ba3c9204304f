"""Data ports for clients: a PASV leases one to one client address, and only that address may use it, once.

A pool belongs to one local address. A port belongs to (port, client address): clients at different addresses share
ports, so that eight serve any number of them, and one client has as many at a time as the range has ports. Whoever
else connects is reset (RFC 2577 section 4: no stolen connections). Every choice is random over the whole range, so that
what a client was given says nothing of what its neighbour behind the same address is given next. A port listens
while it is leased, and a short while longer. This module knows no FTP.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from ftpdirector.engines.proxy.readiness import READABLE, Readiness
from ftpdirector.errors import HostError
from ftpdirector.model import Endpoint, IPAddress, PortRange

SO_LINGER_RESET: Final = struct.pack("ii", 1, 0)
IP_FREEBIND: Final = 15
"""linux/in.h; bind an address that is not on this host yet (ip(7)). IPv6 heeds the same option."""
NO_DESCRIPTOR_LEFT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""The director has no descriptor or no memory for one more socket (socket(2), accept(2)); no peer is to blame."""
COOLING_S: Final = 30.0
"""So long a client address does not get a port again that it had, while others are left: a late connection of the
transfer before must not be taken for the next one's."""
_COOLING_WHOLE_RANGE: Final = 1024
"""From this size on at most half of the range is withheld from a client address: somebody who shares the address and
asks fast could leave his neighbour the few ports that he has not seen himself."""
_REMEMBERED_AT_MOST: Final = 32768
"""(port, client address) pairs that a pool remembers, some 200 bytes each; beyond it the oldest is forgotten."""
_IDLE_AT_MOST: Final = 64
_IDLE_S: Final = 2.0
"""A port that nobody leases listens on for so long: in a small range it is leased again at once."""
_TAKEN_S: Final = 10.0
"""A port in the hands of another program is tried again after so long, or when no other is left."""
_TAKEN_TRIES: Final = 64
_ACCEPTS_A_TURN: Final = 16
_BACKLOG: Final = 1024
"""Clients that wait on one port, which many may share; the kernel cuts it to net.core.somaxconn."""
_GUESSES: Final = 16
_NONE: Final[dict[int, float]] = {}


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN, so that the peer cannot take what it got for complete (socket(7), SO_LINGER)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, SO_LINGER_RESET)
    sock.close()


def listening_socket(endpoint: Endpoint, backlog: int) -> socket.socket:
    """A socket that listens and does not block; works for an address that is not here yet (a standby director).

    Raises `OSError` when the endpoint is taken.
    """
    return _listening(family_of(endpoint.address), str(endpoint.address), endpoint.port, backlog)


def _listening(family: socket.AddressFamily, text: str, port: int, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((text, port))
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def family_of(address: IPAddress) -> socket.AddressFamily:
    """The socket family of an address."""
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


class Lease:
    """A port that one client address may connect to, once."""

    __slots__ = ("_listener", "client", "on_open", "on_stranger")

    def __init__(self, listener: _Listener, client: str, on_open: Callable[[socket.socket], None]) -> None:
        """Made by `PortPool.lease`."""
        self._listener = listener
        self.client = client
        self.on_open = on_open
        self.on_stranger: Callable[[str], None] | None = None
        """Hears of a connection from another address, which was reset; not where several clients share the port."""

    @property
    def port(self) -> int:
        """The number to announce."""
        return self._listener.port

    def release(self) -> None:
        """This client may not connect any more. Releasing twice is fine."""
        self._listener.release(self)


class _Listener:
    """One port that listens, and whom it is leased to."""

    __slots__ = ("leases", "pool", "port", "sock")

    def __init__(self, pool: PortPool, sock: socket.socket, port: int) -> None:
        self.pool = pool
        self.sock = sock
        self.port = port
        self.leases: dict[str, Lease] = {}

    def ready(self, events: int) -> None:  # noqa: ARG002  accept tells more than the events do
        self.dispatch(_ACCEPTS_A_TURN)

    def dispatch(self, at_most: int) -> bool:
        """Give waiting connections to the leases that they are for, reset the others; False when some still wait."""
        for _ in range(at_most):
            if self.sock.fileno() < 0:
                return True  # What a connection led to released the port's last lease, and closed it.
            try:
                sock, peer = self.sock.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno in NO_DESCRIPTOR_LEFT:
                    self.pool.rest(self)
                    return False
                continue  # This one gave up while it waited (accept(2), ECONNABORTED).
            lease = self.leases.get(peer[0])
            if lease is None:
                reset(sock)
                self._tell_of_stranger(peer[0])
                continue
            self.release(lease)
            lease.on_open(sock)
        return False

    def _tell_of_stranger(self, address: str) -> None:
        if len(self.leases) == 1:
            (lease,) = self.leases.values()
            if lease.on_stranger is not None:
                lease.on_stranger(address)

    def release(self, lease: Lease) -> None:
        if self.leases.get(lease.client) is lease:
            del self.leases[lease.client]
            self.pool.released(self, lease.client)


class _Client:
    """What is known of one client address."""

    __slots__ = ("cooling", "leased")

    def __init__(self) -> None:
        self.leased: set[int] = set()
        self.cooling: dict[int, float] = {}
        """Ports that it had, the longest ago first, and until when they are withheld from it."""


class PortPool:
    """The data ports of one local address."""

    def __init__(
        self,
        readiness: Readiness,
        address: IPAddress,
        ports: PortRange,
        chance: random.Random,
        now: Callable[[], float],
    ) -> None:
        """Listens on nothing until the first lease; `ports` is this worker's own part of the passive range.

        `now` tells seconds that never jump.
        """
        self._readiness = readiness
        self._family = family_of(address)
        self._address = str(address)
        self._wanted: tuple[PortRange, ...] = (ports,)
        self._cooling_at_most = _cooling_at_most(self._wanted)
        self._chance = chance
        self._now = now
        self._open: dict[int, _Listener] = {}
        self._idle: dict[_Listener, float] = {}
        self._taken: dict[int, float] = {}
        self._clients: dict[str, _Client] = {}
        self._ends: deque[tuple[float, str, int]] = deque()

    def __len__(self) -> int:
        """How many ports listen."""
        return len(self._open)

    @property
    def remembered(self) -> int:
        """How many (port, client address) pairs are withheld at most."""
        return len(self._ends)

    def follow(self, *ports: PortRange) -> None:
        """Ports outside of these ranges are wanted no more: what is free closes now, the rest when it is released."""
        self._wanted = ports
        self._cooling_at_most = _cooling_at_most(ports)
        self._taken.clear()
        for known in self._clients.values():
            for port in [port for port in known.cooling if not self._is_wanted(port)]:
                del known.cooling[port]
        for listener in [listener for listener in self._idle if not self._is_wanted(listener.port)]:
            self._close(listener)

    def lease(self, client: str, on_open: Callable[[socket.socket], None], ports: PortRange | None = None) -> Lease:
        """A port for `client` (its address as text); `on_open` gets the accepted socket, once.

        `ports` is the range to choose from, the first one that is followed if not given. Raises `HostError` when this
        client has every port of it, or nothing can listen there.
        """
        now_s = self._now()
        self._forget(now_s)
        if ports is None:
            ports = self._wanted[0]
        listener = self._choose(self._clients.get(client) or _Client(), ports, now_s)
        # Who connected before this lease is somebody else's, or the transfer's before.
        if not listener.dispatch(_BACKLOG + 1) and self._readiness.is_resting(listener.sock.fileno()):
            raise HostError(f"no descriptor is left to see who waits on port {listener.port}")
        if listener.sock.fileno() < 0 or client in listener.leases:
            # Those whose connections waited acted at once, on this very port: rare enough to begin anew.
            return self.lease(client, on_open, ports)
        lease = listener.leases[client] = Lease(listener, client, on_open)
        self._idle.pop(listener, None)
        known = self._clients.get(client)
        if known is None:
            known = self._clients[client] = _Client()
        known.leased.add(listener.port)
        known.cooling.pop(listener.port, None)
        return lease

    def released(self, listener: _Listener, client: str) -> None:
        """A lease is over: the port is withheld from this client for a while, and closed when nobody leases it."""
        now_s = self._now()
        self._cool(client, listener.port, now_s)
        if listener.leases:
            return
        if not self._is_wanted(listener.port):
            self._close(listener)
            return
        self._idle[listener] = now_s
        if len(self._idle) > _IDLE_AT_MOST:
            self._close(next(iter(self._idle)))

    def rest(self, listener: _Listener) -> None:
        """Leave the listener's queue alone until a descriptor is free."""
        self._readiness.rest(listener.sock.fileno(), listener)

    def expire(self, now_s: float) -> None:
        """Close what was not leased for a while, forget who had what; called about once a second."""
        self._forget(now_s)
        while self._idle:
            listener, since_s = next(iter(self._idle.items()))
            if now_s - since_s < _IDLE_S:
                break
            self._close(listener)

    def close(self) -> None:
        """Close every port."""
        for listener in list(self._open.values()):
            listener.leases.clear()
            self._close(listener)
        self._clients.clear()
        self._ends.clear()

    # Choosing.

    def _choose(self, client: _Client, ports: PortRange, now_s: float) -> _Listener:
        """A random port that this client does not have and did not have lately; else one that it had lately."""
        taken = self._taken
        while taken and next(iter(taken.values())) <= now_s:
            del taken[next(iter(taken))]
        for withheld in (_NONE,) if self._had_all(client, ports) else (client.cooling, _NONE):
            while (free := self._random(ports, client.leased, withheld)) is not None:
                listener = self._listener(free, now_s, client, ports)
                if listener is not None:
                    return listener
        # Those that other programs had: one of them may be free again.
        again = [port for port in self._taken if port in ports and port not in client.leased]
        for port in self._chance.sample(again, min(_TAKEN_TRIES, len(again))):
            del self._taken[port]
            listener = self._listener(port, now_s, client, ports)
            if listener is not None:
                return listener
        raise HostError(f"no data port is free on {self._address}")

    def _had_all(self, client: _Client, ports: PortRange) -> bool:
        """Whether there is no port that is new to this client, told without looking for one. False is no promise."""
        leased, cooling = client.leased, client.cooling
        if len(leased) + len(cooling) < len(ports) or self._wanted != (ports,):
            return False
        return sum(port in ports for port in leased) + len(cooling) >= len(ports)

    def _random(self, ports: PortRange, leased: set[int], withheld: dict[int, float]) -> int | None:
        """Any port of the range that is none of these, nor another program's; each is as likely as the others."""
        taken, first, size = self._taken, ports.first, len(ports)
        if 4 * (len(leased) + len(withheld) + len(taken)) < 3 * size:
            for _ in range(_GUESSES):
                port = first + int(self._chance.random() * size)
                if port not in leased and port not in withheld and port not in taken:
                    return port
        left = set(range(first, first + size)).difference(leased, withheld, taken)
        return self._chance.choice(tuple(left)) if left else None

    def _listener(self, port: int, now_s: float, client: _Client, ports: PortRange) -> _Listener | None:
        """The listener of a port, opened if need be; None when another program has the port."""
        listener = self._open.get(port)
        if listener is not None:
            return listener
        try:
            sock = _listening(self._family, self._address, port, _BACKLOG)
        except OSError as error:
            if error.errno in NO_DESCRIPTOR_LEFT:
                return self._standing(client, ports)
            self._taken[port] = now_s + _TAKEN_S
            return None
        listener = _Listener(self, sock, port)
        self._readiness.watch(sock.fileno(), READABLE, listener)
        self._open[port] = listener
        self._idle[listener] = now_s
        return listener

    def _standing(self, client: _Client, ports: PortRange) -> _Listener:
        """One that listens already: there is no descriptor for another."""
        standing = [port for port in self._open if port in ports and port not in client.leased]
        if not standing:
            raise HostError(f"no descriptor is left for a data port on {self._address}")
        return self._open[self._chance.choice([port for port in standing if port not in client.cooling] or standing)]

    # Remembering.

    def _cool(self, client: str, port: int, now_s: float) -> None:
        known = self._clients.get(client)
        if known is None:
            return
        known.leased.discard(port)
        until_s = now_s + COOLING_S
        known.cooling[port] = until_s
        self._ends.append((until_s, client, port))
        if len(self._ends) > _REMEMBERED_AT_MOST:
            self._forget(now_s)
        if not self._is_wanted(port):
            del known.cooling[port]
        elif len(known.cooling) > self._cooling_at_most:
            del known.cooling[next(iter(known.cooling))]

    def _forget(self, now_s: float) -> None:
        ends = self._ends
        while ends and (ends[0][0] <= now_s or len(ends) > _REMEMBERED_AT_MOST):
            until_s, client, port = ends.popleft()
            known = self._clients.get(client)
            if known is None:
                continue
            if known.cooling.get(port) == until_s:
                del known.cooling[port]
            if not known.cooling and not known.leased:
                del self._clients[client]

    # Listening.

    def _is_wanted(self, port: int) -> bool:
        return any(ports.first <= port <= ports.last for ports in self._wanted)

    def _close(self, listener: _Listener) -> None:
        """Connections that wait on it are reset by the kernel."""
        self._idle.pop(listener, None)
        del self._open[listener.port]
        self._readiness.closing(listener.sock.fileno())
        listener.sock.close()


def _cooling_at_most(ranges: tuple[PortRange, ...]) -> int:
    """How many ports may be withheld from one client address: bounded by the smallest range that bounds it at all."""
    sizes = [len(ports) for ports in ranges]
    large = [size // 2 for size in sizes if size >= _COOLING_WHOLE_RANGE]
    return min(large) if large else sum(sizes)
