"""How the data connection toward the real server is announced: EPSV, then PASV; or PORT, EPRT.

This module knows no client and no transfer.
"""

from __future__ import annotations

from typing import Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import Action, ConnectToServer, ListenForServer, RememberRefused, ToServer
from ftpdirector.ftp.endpoints import format_eprt_argument, format_port_argument, parse_epsv_reply, parse_pasv_reply
from ftpdirector.ftp.replies import Reply, format_reply
from ftpdirector.model import Endpoint

LOWEST_DATA_PORT: Final = 1024
"""Below are other services (RFC 2577 section 3)."""

_NOT_UNDERSTOOD: Final = frozenset({500, 501, 502, 503, 504, 522})


class Opening:
    """One announcement: under way until `announced` is true or `answer` holds the reply that the client is due."""

    __slots__ = ("_active", "_asked", "_ipv4", "_refused", "announced", "answer")

    def __init__(self, *, ipv4: bool, active: bool, refused: set[str]) -> None:
        """`ipv4`: the real server's address is; `refused` is added to when the server knows no EPSV."""
        self._active = active
        self._ipv4 = ipv4
        self._refused = refused
        self._asked = b""
        self.announced = False
        self.answer = b""

    def start(self, out: list[Action]) -> None:
        """Ask the real server, or for a port where it can connect to."""
        if self._active:
            out.append(ListenForServer())
        elif "EPSV" not in self._refused:
            self._ask(b"EPSV", b"EPSV\r\n", out)
        else:
            self._ask_pasv(out)

    def listening(self, endpoint: Endpoint, out: list[Action]) -> None:
        """`ListenForServer` was done: tell the real server, with PORT where it can say the address."""
        if not self._active or self._asked:
            return
        if endpoint.address.version == 4:
            self._ask(b"PORT", b"PORT " + format_port_argument(endpoint) + b"\r\n", out)
        else:
            self._ask(b"EPRT", b"EPRT " + format_eprt_argument(endpoint) + b"\r\n", out)

    def listen_failed(self, text: str) -> None:
        """`ListenForServer` could not be done."""
        if self._active and not self._asked:
            self._fail(text)

    def replied(self, reply: Reply, out: list[Action], *, logged_in: bool) -> None:
        """The real server answered what was asked; its refusal is kept for later only once the user is known to it."""
        code = reply.code
        if code < 200:
            return
        if code in (227, 229) and self._asked == (b"EPSV" if code == 229 else b"PASV"):
            self._connect(reply, out)
        elif self._asked == b"EPSV" and code in _NOT_UNDERSTOOD:
            if logged_in:
                self._refused.add("EPSV")
                out.append(RememberRefused("EPSV"))
            self._ask_pasv(out)
        elif code >= 400:
            self.answer = reply.data
        elif self._active:
            self.announced = True
        else:
            self._fail("The real server's answer was not understood")

    def _ask(self, verb: bytes, line: bytes, out: list[Action]) -> None:
        self._asked = verb
        out.append(ToServer(line))

    def _ask_pasv(self, out: list[Action]) -> None:
        if self._ipv4:
            self._ask(b"PASV", b"PASV\r\n", out)
        else:
            self._fail("The real server knows no EPSV, and PASV knows no IPv6")

    def _connect(self, reply: Reply, out: list[Action]) -> None:
        try:
            port = parse_epsv_reply(reply.data) if reply.code == 229 else parse_pasv_reply(reply.data)
        except ProtocolError as error:
            self._fail(str(error))
            return
        if port < LOWEST_DATA_PORT:
            self._fail(f"The real server named port {port}, which is not followed")
            return
        self.announced = True
        out.append(ConnectToServer(port))

    def _fail(self, text: str) -> None:
        self.answer = format_reply(425, f"Can't open data connection: {text}")
