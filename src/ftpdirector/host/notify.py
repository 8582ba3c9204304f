"""systemd's side of a service: readiness and watchdog (sd_notify(3)), sockets kept over a restart (sd_listen_fds(3)).

This module knows no director; without systemd every call does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

_FIRST_FD: Final = 3
_PATIENCE_S: Final = 1.0


def notify(*lines: str, fds: tuple[int, ...] = ()) -> None:
    """Tell the service manager, one `KEY=value` a line; descriptors go along for `FDSTORE=1`."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, contextlib.suppress(OSError):
        # A manager that is gone, or does not read, ends and holds up nobody; it will miss the next sign of life.
        sock.settimeout(_PATIENCE_S)
        sock.connect(address)  # send_fds() takes no address, whatever its signature says
        socket.send_fds(sock, ["\n".join(lines).encode()], list(fds))


def watchdog_interval_s() -> float | None:
    """Half of what the service manager allows between two signs of life; None when it does not ask."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdecimal() and len(text) < 18 else None


def inherited_sockets() -> list[socket.socket]:
    """Listening sockets that the service manager kept for us (LISTEN_FDS)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "0")
    if not count.isdecimal() or len(count) > 4:
        return []
    return [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]
