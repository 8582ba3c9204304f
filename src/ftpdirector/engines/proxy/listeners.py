"""The listening sockets of the virtual servers: opened, handed over, followed through a reload, accepted from.

This module knows no limit and no real server: whoever connects is told to an owner.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from ftpdirector.engines.proxy.ports import NO_DESCRIPTOR_LEFT, listening_socket
from ftpdirector.engines.proxy.readiness import READABLE
from ftpdirector.engines.proxy.runtime import Runtime
from ftpdirector.engines.proxy.shortage import Reserve
from ftpdirector.engines.proxy.stream import local_endpoint, prepare_control
from ftpdirector.errors import EngineError
from ftpdirector.model import Endpoint, VirtualServer

BACKLOG: Final = 4096
"""Clients that wait to be accepted; the kernel cuts it to net.core.somaxconn."""
_ACCEPTS_A_TURN: Final = 32


class ListenerOwner(Protocol):
    """Who is told of clients."""

    def accepted(self, listener: Listener, sock: socket.socket, peer: tuple[str, int]) -> None:
        """A client connected; its socket does not block."""

    def turn_away(self, listener: Listener, sock: socket.socket, client: str) -> None:
        """A client connected that there is no descriptor for: its socket is to be closed at once."""


class Listener:
    """A listening socket of a virtual server."""

    __slots__ = ("_owner", "_reserve", "_runtime", "endpoint", "name", "sock", "wildcard")

    def __init__(
        self,
        runtime: Runtime,
        owner: ListenerOwner,
        reserve: Reserve,
        name: str,
        endpoint: Endpoint,
        sock: socket.socket,
    ) -> None:
        """Made by `Listeners`; `name` is the virtual server's."""
        self._runtime = runtime
        self._owner = owner
        self._reserve = reserve
        self.name = name
        self.endpoint = endpoint if endpoint.port else local_endpoint(sock)
        self.wildcard = endpoint.address.is_unspecified
        self.sock = sock

    def ready(self, events: int) -> None:  # noqa: ARG002  accept tells more
        """Clients wait to be accepted."""
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, peer = self.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_DESCRIPTOR_LEFT and not self._turn_one_away():
                    return
                continue  # Else: this client gave up before it was accepted (accept(2), ECONNABORTED).
            sock.settimeout(0)
            self._owner.accepted(self, sock, peer)

    def _turn_one_away(self) -> bool:
        """No descriptor is left but the one in reserve: it serves to say so. False when that serves nobody now."""
        self._runtime.shortage.noticed()
        self._reserve.spend()
        try:
            sock, peer = self.sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in NO_DESCRIPTOR_LEFT:
                self._runtime.readiness.rest(self.sock.fileno(), self)
            return False
        else:
            self._owner.turn_away(self, sock, peer[0])
            return True
        finally:
            self._reserve.fill()


class Listeners:
    """All of them, by where they listen."""

    def __init__(self, runtime: Runtime, owner: ListenerOwner, given: Mapping[Endpoint, socket.socket]) -> None:
        """`given` are listening sockets handed over by a supervisor; those that are never asked for are closed."""
        self.reserve = Reserve()
        self._runtime = runtime
        self._owner = owner
        self._given = dict(given)
        self._listeners: dict[Endpoint, Listener] = {}

    @property
    def addresses(self) -> tuple[Endpoint, ...]:
        """With the real port where port 0 was asked for."""
        return tuple(local_endpoint(listener.sock) for listener in self._listeners.values())

    def give(self, sockets: Mapping[Endpoint, socket.socket]) -> None:
        """More listening sockets from the supervisor, for what is followed next."""
        self._given.update(sockets)

    def follow(self, names: Mapping[Endpoint, str]) -> None:
        """Listen here and nowhere else, for the virtual servers of these names.

        Raises `EngineError` when a new address is taken: nothing is changed then.
        """
        opened = self._open([endpoint for endpoint in names if endpoint not in self._listeners])
        for endpoint in [endpoint for endpoint in self._listeners if endpoint not in names]:
            self._close(endpoint)
        for endpoint, name in names.items():
            if endpoint in opened:
                sock = opened[endpoint]
                listener = Listener(self._runtime, self._owner, self.reserve, name, endpoint, sock)
                self._listeners[endpoint] = listener
                self._runtime.readiness.watch(sock.fileno(), READABLE, listener)
            else:
                self._listeners[endpoint].name = name

    def of(self, server: VirtualServer) -> Iterator[Listener]:
        """Those of one virtual server."""
        for address in server.addresses:
            listener = self._listeners.get(Endpoint(address, server.port))
            if listener is not None:
                yield listener

    def close_all(self) -> None:
        """Listen no more."""
        for endpoint in list(self._listeners):
            self._close(endpoint)

    def close_given(self) -> None:
        """Close what was handed over and never asked for."""
        for sock in self._given.values():
            sock.close()
        self._given.clear()

    def _open(self, endpoints: list[Endpoint]) -> dict[Endpoint, socket.socket]:
        opened: dict[Endpoint, socket.socket] = {}
        for endpoint in endpoints:
            try:
                given = self._given.pop(endpoint, None)
                sock = given if given is not None else listening_socket(endpoint, BACKLOG)
                sock.settimeout(0)
                prepare_control(sock)
            except OSError as error:
                for other in opened.values():
                    other.close()
                raise EngineError(f"cannot listen on {endpoint}: {error.strerror or error}") from error
            opened[endpoint] = sock
        return opened

    def _close(self, endpoint: Endpoint) -> None:
        listener = self._listeners.pop(endpoint)
        # Unregistered by hand: other processes may hold the same socket, so that close(2) would not do it.
        self._runtime.readiness.forget(listener.sock.fileno())
        listener.sock.close()
