"""Addresses and ports as FTP writes them: PORT and 227 (RFC 959), EPRT, EPSV and 229 (RFC 2428).

This module knows no session and no policy on which endpoint is acceptable.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from ftpdirector.errors import ProtocolError
from ftpdirector.model import HIGHEST_PORT, Endpoint, IPAddress

_SIX_NUMBERS: Final = re.compile(rb"(?<!\d)\d{1,3}(?:\s*,\s*\d{1,3}){5}(?!\d)")


class EpsvArgument(Enum):
    """What EPSV asks for."""

    PLAIN = auto()
    IPV4 = auto()
    IPV6 = auto()
    ALL = auto()


_EPSV_ARGUMENTS: Final = {
    b"": EpsvArgument.PLAIN,
    b"1": EpsvArgument.IPV4,
    b"2": EpsvArgument.IPV6,
    b"ALL": EpsvArgument.ALL,
}


def plain_address(address: IPAddress) -> IPAddress:
    """The address itself: an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) is the IPv4 one."""
    return (address.version == 6 and address.ipv4_mapped) or address


def parse_port_argument(argument: bytes) -> Endpoint:
    """`h1,h2,h3,h4,p1,p2` of PORT (RFC 959 section 5.3.2); raises ProtocolError with 501."""
    numbers = _six_numbers(argument.strip())
    if numbers is None:
        raise ProtocolError("PORT needs six numbers from 0 to 255", reply_code=501)
    return Endpoint(IPv4Address(bytes(numbers[:4])), numbers[4] * 256 + numbers[5])


def format_port_argument(endpoint: Endpoint) -> bytes:
    """An IPv4 endpoint as PORT and 227 write it."""
    high, low = divmod(endpoint.port, 256)
    return f"{endpoint.address},{high},{low}".replace(".", ",").encode()


def parse_eprt_argument(argument: bytes) -> Endpoint:
    """`|1|192.0.2.1|6446|` of EPRT (RFC 2428 section 2); raises ProtocolError with 501, or 522 for another protocol."""
    parts = argument.strip().split(argument.strip()[:1] or b"|")
    if len(parts) != 5 or parts[0] or parts[4]:
        raise ProtocolError("EPRT needs |protocol|address|port|", reply_code=501)
    protocol, address, port = parts[1], parts[2], _port(parts[3])
    if not protocol.isdigit() or port is None:
        raise ProtocolError("EPRT needs |protocol|address|port|", reply_code=501)
    if protocol not in (b"1", b"2"):
        raise ProtocolError("Network protocol not supported, use (1,2)", reply_code=522)
    return Endpoint(_address(protocol, address), port)


def format_eprt_argument(endpoint: Endpoint) -> bytes:
    """An endpoint as EPRT writes it."""
    return f"|{1 if endpoint.address.version == 4 else 2}|{endpoint.address}|{endpoint.port}|".encode()


def parse_epsv_argument(argument: bytes) -> EpsvArgument:
    """What follows EPSV (RFC 2428 section 3); raises ProtocolError with 501, or 522 for another protocol."""
    word = argument.strip().upper()
    asked = _EPSV_ARGUMENTS.get(word)
    if asked is not None:
        return asked
    if word.isdigit():
        raise ProtocolError("Network protocol not supported, use (1,2)", reply_code=522)
    raise ProtocolError("EPSV takes nothing, a protocol or ALL", reply_code=501)


def parse_pasv_reply(reply: bytes) -> int:
    """The port in a 227 reply, whose form is not settled (RFC 1123 section 4.1.2.6); raises ProtocolError with 425.

    The address is not looked at: the real server's is known, and what it says may be wrong or hostile (RFC 2577).
    """
    numbers = _pasv_numbers(reply)
    if numbers is None:
        raise ProtocolError("The real server's 227 names no port", reply_code=425)
    return numbers[4] * 256 + numbers[5]


def parse_pasv_address(reply: bytes) -> IPv4Address | None:
    """The address in a 227 reply, for people only: None when it names none, or 0.0.0.0, which means its own."""
    numbers = _pasv_numbers(reply)
    address = IPv4Address(bytes(numbers[:4])) if numbers else None
    return None if address is None or address.is_unspecified else address


def _pasv_numbers(reply: bytes) -> list[int] | None:
    inside = reply[reply.find(b"(") + 1 : reply.find(b")")]
    numbers = _six_numbers(inside)
    if numbers is None:
        found = _SIX_NUMBERS.search(reply, 4)
        numbers = _six_numbers(found.group()) if found else None
    return numbers


def format_pasv_reply(endpoint: Endpoint) -> bytes:
    """227 for an IPv4 endpoint, in the form that every client can read."""
    return b"227 Entering Passive Mode (" + format_port_argument(endpoint) + b").\r\n"


def parse_epsv_reply(reply: bytes) -> int:
    """The port in `229 ... (|||port|)` (RFC 2428 section 3); raises ProtocolError with 425."""
    begin = reply.rfind(b"(")
    inside = reply[begin + 1 : reply.rfind(b")")]
    parts = inside.split(inside[:1] or b"|")
    port = _port(parts[3]) if begin >= 0 and len(parts) == 5 and not parts[0] and not parts[4] else None
    if port is None:
        raise ProtocolError("The real server's 229 names no port", reply_code=425)
    return port


def format_epsv_reply(port: int) -> bytes:
    """229 for a port."""
    return b"229 Entering Extended Passive Mode (|||%d|)\r\n" % port


def _six_numbers(text: bytes) -> list[int] | None:
    parts = text.split(b",")
    if len(parts) != 6:
        return None
    numbers: list[int] = []
    for part in parts:
        digits = part.strip()
        if len(digits) > 3 or not digits.isdigit() or (number := int(digits)) > 255:
            return None
        numbers.append(number)
    return numbers


def _port(digits: bytes) -> int | None:
    if len(digits) > 5 or not digits.isdigit():
        return None
    port = int(digits)
    return port if 0 < port <= HIGHEST_PORT else None


def _address(protocol: bytes, text: bytes) -> IPAddress:
    try:
        written = text.decode("ascii")
        if "%" in written:
            raise ValueError  # a zone means something on the client's host only (RFC 4007)
        return IPv4Address(written) if protocol == b"1" else IPv6Address(written)
    except ValueError:
        raise ProtocolError("EPRT's address is not one of its protocol", reply_code=501) from None
