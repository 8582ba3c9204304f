"""Real servers that only greet and hang up: enough to see who was chosen, cheap enough for thousands of connections."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator

from lab.netns.hosts import Host


@contextlib.contextmanager
def greeting(servers: dict[str, tuple[Host, str, int]]) -> Iterator[None]:
    """By name: the host, address and port of each. One thread serves them all."""
    listeners: dict[socket.socket, bytes] = {}
    wake, woken = socket.socketpair()
    with contextlib.ExitStack() as opened:
        opened.enter_context(wake)
        opened.enter_context(woken)
        for name, (host, address, port) in servers.items():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with host.inside():
                listener = opened.enter_context(socket.create_server((address, port), family=family, backlog=512))
            listeners[listener] = name.encode()
        thread = threading.Thread(target=_serve, args=(listeners, woken), daemon=True)
        thread.start()
        try:
            yield
        finally:
            wake.send(b"x")
            thread.join()


def _serve(listeners: dict[socket.socket, bytes], woken: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([*listeners, woken], [], [])
        if woken in ready:
            return
        for listener in ready:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(listeners[listener])


def who(client: Host, own: str, address: str, port: int = 21) -> str:
    """The name that greets this client; empty when it is reset."""
    with client.inside():
        try:
            made = socket.create_connection((address, port), 5.0, source_address=(own, 0))
        except ConnectionRefusedError:
            return ""
    with made:
        name = b""
        while part := made.recv(100):
            name += part
    return name.decode()
