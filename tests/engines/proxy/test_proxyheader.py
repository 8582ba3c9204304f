"""The header is what the specification's examples and HAProxy write."""

from ipaddress import ip_address

import pytest

from ftpdirector.engines.proxy.proxyheader import proxy_header
from ftpdirector.model import Endpoint, ProxyProtocol

CLIENT = Endpoint(ip_address("203.0.113.7"), 50000)
VIRTUAL = Endpoint(ip_address("192.0.2.10"), 21)
CLIENT_V6 = Endpoint(ip_address("2001:db8:1::7"), 50000)
VIRTUAL_V6 = Endpoint(ip_address("2001:db8:2::10"), 21)


@pytest.mark.parametrize(
    ("version", "client", "virtual", "header"),
    [
        (ProxyProtocol.OFF, CLIENT, VIRTUAL, b""),
        (ProxyProtocol.V1, CLIENT, VIRTUAL, b"PROXY TCP4 203.0.113.7 192.0.2.10 50000 21\r\n"),
        (ProxyProtocol.V1, CLIENT_V6, VIRTUAL_V6, b"PROXY TCP6 2001:db8:1::7 2001:db8:2::10 50000 21\r\n"),
        (
            ProxyProtocol.V2,
            CLIENT,
            VIRTUAL,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x0a\xc3\x50\x00\x15",
        ),
    ],
)
def test_header(version: ProxyProtocol, client: Endpoint, virtual: Endpoint, header: bytes) -> None:
    assert proxy_header(version, client, virtual) == header


def test_binary_header_of_ipv6_says_its_length() -> None:
    header = proxy_header(ProxyProtocol.V2, CLIENT_V6, VIRTUAL_V6)
    assert header[12:16] == b"\x21\x21\x00\x24"
    assert len(header) == 16 + 36
