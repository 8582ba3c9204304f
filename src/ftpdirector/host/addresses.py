"""Addresses of this host. This module changes none."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address


def is_local(address: IPv4Address | IPv6Address) -> bool:
    """Whether an interface of this host has the address: only then a socket can be bound to it."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
    return True
