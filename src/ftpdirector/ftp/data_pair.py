"""Both data connections of a session, and how they are announced: from PASV, EPSV, PORT or EPRT to a transfer.

This module knows no transfer and no other command.
"""

from __future__ import annotations

from enum import Enum, auto

from ftpdirector.ftp.actions import DROP_CLIENT, DROP_SERVER, LISTEN_CLIENT, Action, Connect, Side
from ftpdirector.ftp.endpoints import format_epsv_reply, format_pasv_reply, plain_address
from ftpdirector.ftp.replies import format_reply
from ftpdirector.ftp.server_data import ServerData
from ftpdirector.model import DataToServer, Endpoint, IPAddress


class Data(Enum):
    """A data connection: none, announced or connecting, standing, or failed."""

    NONE = auto()
    DUE = auto()
    OPEN = auto()
    FAILED = auto()


class Ready(Enum):
    """Whether a transfer may begin."""

    WAITING = auto()
    READY = auto()
    REFUSED = auto()


class DataPair:
    """The state of both sides; PORT stays in force for transfer after transfer (RFC 959 section 3.2)."""

    __slots__ = (
        "_actions", "_leased", "_policy", "_refused", "_server_address", "_verb", "active_endpoint", "announcement",
        "client", "server", "stranger", "why",
    )  # fmt: skip

    def __init__(self, actions: list[Action], server: IPAddress, policy: DataToServer, refused: frozenset[str]) -> None:
        """Nothing is announced. `refused` are the verbs that this real server does not serve."""
        self._actions = actions
        self._server_address = server
        self._policy = policy
        self._refused = set(refused)
        self._leased: Endpoint | None = None
        self._verb = b""
        self.client = Data.NONE
        self.server = Data.NONE
        self.active_endpoint: Endpoint | None = None
        self.announcement: ServerData | None = None
        """The last one; kept, so that it can be asked for another way when its port does not serve."""
        self.stranger = ""
        """Who connected to the client's port, and is not the client."""
        self.why = ""
        """Why the last one failed."""

    @property
    def is_set_up(self) -> bool:
        """Whether the client said where its data shall go."""
        return self.client is not Data.NONE or self.active_endpoint is not None

    @property
    def awaits_lease(self) -> bool:
        """Whether a port was asked for, for the client."""
        return self.client is Data.DUE and self._leased is None and self.active_endpoint is None

    @property
    def both_stand(self) -> bool:
        """Whether bytes can flow."""
        return self.client is Data.OPEN and self.server is Data.OPEN

    @property
    def asks(self) -> ServerData | None:
        """The announcement that is under way."""
        asked = self.announcement
        return None if asked is None or asked.is_settled else asked

    def set_up(self, verb: bytes, active: Endpoint | None) -> None:
        """PASV, EPSV, or with `active` PORT, EPRT: nothing of the old ones is left."""
        self.drop()
        self._verb = verb
        self.stranger = ""
        self.active_endpoint = active
        self._leased = None
        if active is None:
            self.client = Data.DUE
            self._actions.append(LISTEN_CLIENT)
        self.announce()

    def announce(self) -> None:
        """Agree with the real server on a data connection."""
        policy = self._policy
        active = policy is DataToServer.ACTIVE or (policy is DataToServer.CLIENT and self.active_endpoint is not None)
        self.announcement = ServerData(
            self._actions, self._server_address, active=active, prefer=self._verb, refused=self._refused
        )
        self.announcement.start()
        self.follow()

    def reopen(self) -> None:
        """Server data anew, for another transfer after one PORT."""
        if self.server is not Data.NONE:
            self.server = Data.NONE
            self._actions.append(DROP_SERVER)
        self.announce()

    def ask_again(self) -> bool:
        """The port that the real server named does not serve: ask another way, if there is one."""
        asked = self.announcement
        if asked is None or not asked.may_ask_again:
            return False
        self.server = Data.NONE
        self._actions.append(DROP_SERVER)
        asked.ask_again()
        self.follow()
        return True

    def follow(self) -> None:
        """The announcement had an event."""
        asked = self.announcement
        if asked is not None and asked.announced and self.server is Data.NONE:
            self.server = Data.DUE

    def leased(self, endpoint: Endpoint) -> None:
        """`Listen` was done for the client."""
        self._leased = endpoint

    def not_leased(self, text: str) -> None:
        """It could not be done."""
        del text  # the engine's log has it; a client can do nothing with it
        self.client = Data.FAILED
        self.why = "no port is free"

    def opened(self, side: Side) -> bool:
        """A data connection stands; False when none was due."""
        if side is Side.CLIENT and self.client is Data.DUE:
            self.client = Data.OPEN
        elif side is Side.SERVER and self.server is Data.DUE:
            self.server = Data.OPEN
        else:
            return False
        return True

    def failed(self, side: Side, text: str, *, logged_in: bool, was_open: bool = False) -> str:
        """A data connection could not be opened, or broke before its transfer; "" when none was due, else why."""
        expected = Data.OPEN if was_open else Data.DUE
        if side is Side.CLIENT and self.client is expected:
            self.client = Data.FAILED
        elif side is Side.SERVER and self.server is expected:
            self.server = Data.FAILED
            if self.announcement is not None and not was_open:
                text = self.announcement.failed(text, logged_in=logged_in)
        else:
            return ""
        self.why = text or "it failed"
        return self.why

    def is_ready(self) -> bool:
        """Whether the setup can be answered: both sides are announced, or one will never be."""
        return self.asks is None and not self.awaits_lease

    def answer(self) -> tuple[bytes, bool]:
        """The reply to the setup, and whether it is a good one; nobody waits for server data to stand."""
        asked = self.announcement
        if asked is not None and asked.answer:
            return asked.answer, False
        if self.client is Data.FAILED:
            return no_data(self.why), False
        leased = self._leased
        if leased is None:
            return f"200 {self._verb.decode()} command successful.\r\n".encode(), True
        if self._verb == b"PASV":
            return format_pasv_reply(Endpoint(plain_address(leased.address), leased.port)), True
        return format_epsv_reply(leased.port), True

    def ready(self) -> Ready:
        """Whether a transfer may begin. A real server that connects itself does so only when it has its command."""
        if self.client is Data.FAILED or self.server is Data.FAILED:
            return Ready.REFUSED
        asked = self.announcement
        if self.client is Data.OPEN and (self.server is Data.OPEN or (asked is not None and not asked.connects)):
            return Ready.READY
        return Ready.WAITING

    def connect_client(self) -> None:
        """PORT is in force: the client's side is connected to as late as possible."""
        if self.client is Data.NONE and self.active_endpoint is not None:
            self.client = Data.DUE
            self._actions.append(Connect(Side.CLIENT, self.active_endpoint))

    def used_up(self) -> None:
        """A transfer is over."""
        self.client = self.server = Data.NONE

    def drop(self) -> None:
        """Reset both, if there are any."""
        self.drop_client()
        if self.server is not Data.NONE:
            self.server = Data.NONE
            self._actions.append(DROP_SERVER)

    def drop_client(self) -> None:
        """Reset the client's side, if there is one."""
        if self.client is not Data.NONE:
            self.client = Data.NONE
            self._actions.append(DROP_CLIENT)

    def forget(self) -> None:
        """The session has ended."""
        self.used_up()
        self.active_endpoint = None
        self.announcement = None

    def refuse(self, *, keep_port: bool) -> None:
        """No transfer will come of it."""
        if not keep_port:
            self.active_endpoint = None
        self.drop_client()
        self.server = Data.NONE
        self._actions.append(DROP_SERVER)


def no_data(text: str) -> bytes:
    """425 with its reason."""
    return format_reply(425, f"Can't open data connection: {text}")
