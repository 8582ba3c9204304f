"""How the data connection toward the real server is announced: PASV or EPSV, as the client does; or PORT, EPRT.

A real server is asked what the client asked the director, since that is what works directly. Any answer but a good one
leads to the other question where the address family allows it. This module knows no client and no transfer.
"""

from __future__ import annotations

from typing import Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import START_ANSWER, STOP_ANSWER, Action, Connect, Listen, RememberRefused, Side, ToServer
from ftpdirector.ftp.endpoints import (
    format_eprt_argument,
    format_port_argument,
    parse_epsv_reply,
    parse_pasv_address,
    parse_pasv_reply,
)
from ftpdirector.ftp.replies import Reply, format_reply
from ftpdirector.model import Endpoint, IPAddress

LOWEST_DATA_PORT: Final = 1024
"""Below are other services (RFC 2577 section 3)."""

PASSIVE_REPLIES: Final = frozenset({227, 228, 229})
"""PASV, LPSV, EPSV: only those that the director asked for mean anything, and none ever reaches a client."""

_EPSV_FIRST: Final[tuple[bytes, ...]] = (b"EPSV", b"PASV")
_PASV_FIRST: Final[tuple[bytes, ...]] = (b"PASV", b"EPSV")
_EPSV_ONLY: Final[tuple[bytes, ...]] = (b"EPSV",)
"""PASV cannot name an IPv6 address."""


class ServerData:
    """One announcement: under way until `announced` is true or `answer` holds the reply that the client is due."""

    __slots__ = (
        "_actions", "_active", "_asked", "_left", "_named", "_prefer", "_refused", "_server", "_words", "announced",
        "answer", "owed",
    )  # fmt: skip

    def __init__(
        self, actions: list[Action], server: IPAddress, *, active: bool, prefer: bytes, refused: set[str]
    ) -> None:
        """`prefer` is the client's own verb; `refused` is added to when the server does not serve EPSV or PASV."""
        self._actions = actions
        self._server = server
        self._prefer = prefer
        self._active = active
        self._refused = refused
        self._asked = b""
        verbs = _EPSV_ONLY if server.version == 6 else _EPSV_FIRST if prefer == b"EPSV" else _PASV_FIRST
        self._left: tuple[bytes, ...] = verbs
        if refused:
            self._left = tuple(verb for verb in verbs if verb.decode() not in refused) or verbs
        self._named = ""
        self._words = b""
        self.announced = False
        self.answer = b""
        self.owed = 0
        """Questions that were not answered in time: their answers may still come."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is asked."""
        return self.announced or bool(self.answer)

    @property
    def connects(self) -> bool:
        """Whether the director connects to the real server, not the other way round."""
        return not self._active

    @property
    def may_ask_again(self) -> bool:
        """Whether there is another question to be tried."""
        return not self._active and bool(self._left)

    def start(self) -> None:
        """Ask the real server, or for a port where it can connect to."""
        if self._active:
            self._actions.append(Listen(Side.SERVER))
        else:
            self._ask_next()

    def listening(self, endpoint: Endpoint) -> None:
        """`Listen` was done: tell the real server, with PORT where it can say the address."""
        if not self._active or self._asked:
            return
        if endpoint.address.version == 4:
            self._ask(b"PORT", b"PORT " + format_port_argument(endpoint) + b"\r\n")
        else:
            self._ask(b"EPRT", b"EPRT " + format_eprt_argument(endpoint) + b"\r\n")

    def listen_failed(self, text: str) -> None:
        """`Listen` could not be done."""
        if self._active and not self._asked:
            self._fail(text)

    def replied(self, reply: Reply, *, logged_in: bool) -> None:
        """The real server answered what was asked, or an earlier question."""
        code = reply.code
        if code < 200:
            return
        if code in PASSIVE_REPLIES:
            if self._asked == (b"EPSV" if code == 229 else b"PASV") and code != 228:
                self._connect(reply, logged_in=logged_in)
            else:
                self.owed = max(0, self.owed - 1)
            return
        if self.owed:
            self.owed -= 1  # Real servers answer in order: this is the late one.
        elif self._active:
            self._actions.append(STOP_ANSWER)
            if code >= 400:
                self.answer = reply.data
            else:
                self.announced = True
        else:
            self._refuse(reply, logged_in=logged_in)

    def silent(self, *, logged_in: bool) -> None:
        """No answer came in time."""
        self.owed += 1
        asked = self._asked.decode()
        if self._active:
            self._fail(f"the real server does not answer {asked}")
            return
        self._remember("is not answered", for_all=logged_in)
        self._ask_next(f"the real server does not answer {asked}")

    def lost(self, *, logged_in: bool) -> None:
        """The real server closed the session when it was asked."""
        if not self._active and not self.is_settled:
            self._remember("closes the session", for_all=logged_in)

    def failed(self, text: str, *, logged_in: bool) -> str:
        """The port that was announced does not serve: what to say of it; `ask_again` may help."""
        if self._active:
            return text
        # A port of PASV that fails once may be chance, and there is nothing better to ask the next time.
        self._remember(f"names a port that does not serve: {text}", for_all=logged_in and self._asked == b"EPSV")
        return f"{text}, for the port that the real server named{self._named}"

    def ask_again(self) -> None:
        """Try the other question, if there is one."""
        self.announced = False
        self._ask_next()

    def _refuse(self, reply: Reply, *, logged_in: bool) -> None:
        """Its refusal is kept for later sessions only once the user is known to it, and only if it is for good."""
        if reply.code >= 400 and self._asked == self._prefer:
            self._words = reply.data  # in answer to the client's own verb: it gets what it would get directly
        if reply.code == 421 or (not logged_in and reply.code >= 400):
            self._actions.append(STOP_ANSWER)
            self.answer = reply.data
            return
        self._remember(f"is answered with {reply.text}", for_all=logged_in and not 400 <= reply.code < 500)
        self._ask_next(f"the real server answers {self._asked.decode()} with {reply.text}")

    def _remember(self, reason: str, *, for_all: bool) -> None:
        verb = self._asked.decode()
        self._refused.add(verb)
        if for_all:
            self._actions.append(RememberRefused(verb, reason))

    def _ask_next(self, why_not: str = "") -> None:
        if self._left:
            verb, self._left = self._left[0], self._left[1:]
            self._ask(verb, verb + b"\r\n")
        elif self._words:
            self._actions.append(STOP_ANSWER)
            self.answer = self._words
        else:
            self._fail(why_not)

    def _ask(self, verb: bytes, line: bytes) -> None:
        self._asked = verb
        self._actions += (START_ANSWER, ToServer(line))

    def _connect(self, reply: Reply, *, logged_in: bool) -> None:
        try:
            port = parse_epsv_reply(reply.data) if reply.code == 229 else parse_pasv_reply(reply.data)
            if port < LOWEST_DATA_PORT:
                raise ProtocolError(f"The real server named port {port}, which is not followed", reply_code=425)
        except ProtocolError as error:
            self._remember(str(error), for_all=logged_in)
            self._ask_next(str(error))
            return
        named = parse_pasv_address(reply.data) if reply.code == 227 else None
        if named is not None and named != self._server:
            self._named = f" (it named {named}; only its own address, {self._server}, is connected to)"
        self.announced = True
        self.owed = 0  # Real servers answer in order: what is late by now never comes.
        self._actions += (STOP_ANSWER, Connect(Side.SERVER, Endpoint(self._server, port)))

    def _fail(self, text: str) -> None:
        self._actions.append(STOP_ANSWER)
        self.answer = format_reply(425, f"Can't open data connection: {text}")
