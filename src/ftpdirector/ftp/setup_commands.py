"""PASV, EPSV, PORT and EPRT: what a client asks for, and whether it may have it.

This module knows no session; what may not be is a ProtocolError with its reply.
"""

from __future__ import annotations

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.commands import Command
from ftpdirector.ftp.endpoints import (
    EpsvArgument,
    parse_eprt_argument,
    parse_epsv_argument,
    parse_port_argument,
    plain_address,
)
from ftpdirector.ftp.server_data import LOWEST_DATA_PORT
from ftpdirector.model import Endpoint, IPAddress


def is_epsv_all(command: Command) -> bool:
    """From now on nothing but EPSV (RFC 2428 section 4)."""
    return command.verb == b"EPSV" and parse_epsv_argument(command.argument) is EpsvArgument.ALL


def asked_endpoint(command: Command, client: IPAddress, virtual: IPAddress, *, epsv_all: bool) -> Endpoint | None:
    """Where the client wants to be connected to; None when it wants to connect itself. Raises ProtocolError."""
    if command.verb == b"EPSV":
        asked = parse_epsv_argument(command.argument)
        own = EpsvArgument.IPV4 if virtual.version == 4 else EpsvArgument.IPV6
        if asked is not EpsvArgument.PLAIN and asked is not own:
            raise _other_protocol(virtual)
        return None
    if epsv_all:
        raise ProtocolError(f"{command.verb.decode()} is not allowed after EPSV ALL", reply_code=503)
    if command.verb == b"PASV":
        if virtual.version == 6:
            raise ProtocolError("Can't open data connection: PASV knows no IPv6, use EPSV", reply_code=425)
        return None
    if command.verb == b"PORT":
        endpoint = parse_port_argument(command.argument)
    else:
        endpoint = parse_eprt_argument(command.argument)
        if plain_address(endpoint.address).version != client.version:
            raise _other_protocol(virtual)
    _check_own(command.verb.decode(), endpoint, client)
    return endpoint


def _check_own(verb: str, endpoint: Endpoint, client: IPAddress) -> None:
    """A third party's address, or another service's port, is not served (RFC 2577 section 3: bounce attack)."""
    if plain_address(endpoint.address) != client:
        raise ProtocolError(f"Illegal {verb} command: the address is not yours", reply_code=500)
    if endpoint.port < LOWEST_DATA_PORT:
        raise ProtocolError(f"Illegal {verb} command: the port is below {LOWEST_DATA_PORT}", reply_code=500)


def _other_protocol(virtual: IPAddress) -> ProtocolError:
    """RFC 2428 section 2: 522 lists the protocols that work."""
    own = 1 if virtual.version == 4 else 2
    return ProtocolError(f"Network protocol not supported, use ({own})", reply_code=522)
