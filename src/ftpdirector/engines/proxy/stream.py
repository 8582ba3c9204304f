"""The bytes of one TCP connection: received, sent, sent as urgent. What lies between them and the socket stands here.

TLS will be a second kind of `Stream`, and who reads or writes will not notice. What is about the connection and not
about its bytes (readiness, options, state, how it is closed) stays with `sock`. Only between two streams that are
`plain` may bytes be spliced: the kernel moves what stands on the wire. This module knows no FTP and waits for nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from ftpdirector.model import Endpoint

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

READ_BYTES: Final = 16384
"""A control connection is read in pieces of this size."""
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""Seconds, seconds, times: a NAT on the way must not forget an idle control connection in a long transfer."""


class PlainStream:
    """A socket's own bytes: its methods, with nothing in between."""

    __slots__ = ("recv", "recv_into", "send", "sock")

    plain: ClassVar[bool] = True
    """Whether what is sent and received stands on the wire just so."""

    def __init__(self, sock: socket.socket) -> None:
        """The socket must not block."""
        self.sock = sock
        self.recv: Callable[[int], bytes] = sock.recv
        self.recv_into: Callable[[WriteableBuffer], int] = sock.recv_into
        self.send: Callable[[ReadableBuffer], int] = sock.send

    def send_urgent(self, data: bytes) -> int:
        """Only the last byte is urgent (RFC 854, Synch); TCP marks the last byte of the call (RFC 6093 section 3.1)."""
        sent = self.sock.send(data[:-1]) if len(data) > 1 else 0
        return sent + self.sock.send(data[-1:], socket.MSG_OOB) if sent == len(data) - 1 else sent


Stream: TypeAlias = PlainStream
"""Every kind of stream; each raises `BlockingIOError` and other `OSError`s as sockets do."""


def prepare_control(sock: socket.socket) -> None:
    """Options of a control connection; set on a listening socket, accepted ones inherit them (tcp(7)).

    SO_OOBINLINE: the Data Mark of a Synch would be lost otherwise (RFC 854, "The TELNET Synch").
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def local_endpoint(sock: socket.socket) -> Endpoint:
    """The address and port on this host that a connection or a listening socket uses."""
    name = sock.getsockname()
    return Endpoint(ip_address(name[0]), int(name[1]))
