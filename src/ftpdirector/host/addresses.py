"""Addresses and ports of this host. This module changes none."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path


def is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether an interface of this host has the address: only then a socket can be bound to it."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True


def udp_ports() -> frozenset[tuple[int, int]]:
    """The UDP sockets of this network namespace, those of the kernel among them: own port and remote port (or 0)."""
    found: set[tuple[int, int]] = set()
    for table in ("udp", "udp6"):
        with contextlib.suppress(OSError):  # without IPv6 there is no such file
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                own, remote = (int(end.rpartition(":")[2], 16) for end in line.split()[1:3])
                found.add((own, remote))
    return frozenset(found)
