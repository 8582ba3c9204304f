"""The PROXY protocol header that tells a real server who the client is, as bytes.

Source: "The PROXY protocol, versions 1 and 2", haproxy.org, sections 2.1 (text) and 2.2 (binary).
This module knows no socket.
"""

from __future__ import annotations

from typing import Final

from ftpdirector.model import Endpoint, ProxyProtocol

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_VERSION_2_PROXY: Final = 0x21
_TCP_OVER_IPV4: Final = 0x11
_TCP_OVER_IPV6: Final = 0x21


def proxy_header(version: ProxyProtocol, client: Endpoint, virtual: Endpoint) -> bytes:
    """The header for a connection from `client` to `virtual`; empty when off. Both must be of one address family."""
    match version:
        case ProxyProtocol.OFF:
            return b""
        case ProxyProtocol.V1:
            return _text(client, virtual)
        case ProxyProtocol.V2:
            return _binary(client, virtual)


def _text(client: Endpoint, virtual: Endpoint) -> bytes:
    family = "TCP4" if client.address.version == 4 else "TCP6"
    return f"PROXY {family} {client.address} {virtual.address} {client.port} {virtual.port}\r\n".encode("ascii")


def _binary(client: Endpoint, virtual: Endpoint) -> bytes:
    family = _TCP_OVER_IPV4 if client.address.version == 4 else _TCP_OVER_IPV6
    addresses = client.address.packed + virtual.address.packed
    ports = client.port.to_bytes(2, "big") + virtual.port.to_bytes(2, "big")
    length = (len(addresses) + len(ports)).to_bytes(2, "big")
    return _SIGNATURE + bytes((_VERSION_2_PROXY, family)) + length + addresses + ports
