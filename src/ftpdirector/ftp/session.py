"""One client's session with one real server: what either of them says in, what the engine is to do out.

This module knows no socket, no clock, no other session and no scheduling.
"""

from __future__ import annotations

from enum import Enum, auto

from ftpdirector.ftp.actions import Action, Direction
from ftpdirector.model import DataToServer, Endpoint


class Side(Enum):
    """Whose data connection."""

    CLIENT = auto()
    SERVER = auto()


class Session:
    """The sans-I/O control connection; begins after the real server's greeting was given to the client."""

    def __init__(
        self,
        *,
        client: Endpoint,
        virtual: Endpoint,
        server: Endpoint,
        data_to_server: DataToServer = DataToServer.PASSIVE,
        refused: frozenset[str] = frozenset(),
    ) -> None:
        """`virtual` is the local address that the client connected to, `refused` the verbs this server refuses."""

    @property
    def reading_client(self) -> bool:
        """False while too much is held back: the engine stops reading the client."""
        return True

    @property
    def transferring(self) -> bool:
        """Whether a transfer is under way or waits for its data connection."""
        return False

    def client_bytes(self, data: bytes) -> list[Action]:
        """The client said this."""
        return []

    def server_bytes(self, data: bytes) -> list[Action]:
        """The real server said this."""
        return []

    def client_lost(self) -> list[Action]:
        """The client's control connection ended."""
        return []

    def server_lost(self) -> list[Action]:
        """The real server's control connection ended."""
        return []

    def listening(self, endpoint: Endpoint) -> list[Action]:
        """`Listen` was done; `endpoint` is what the client is told."""
        return []

    def listen_failed(self, text: str) -> list[Action]:
        """`Listen` could not be done."""
        return []

    def listening_for_server(self, endpoint: Endpoint) -> list[Action]:
        """`ListenForServer` was done; `endpoint` is what the real server is told."""
        return []

    def listen_for_server_failed(self, text: str) -> list[Action]:
        """`ListenForServer` could not be done."""
        return []

    def client_data_open(self) -> list[Action]:
        """Client data stands."""
        return []

    def client_data_failed(self, text: str) -> list[Action]:
        """Client data could not be opened."""
        return []

    def server_data_open(self) -> list[Action]:
        """Server data stands."""
        return []

    def server_data_failed(self, text: str) -> list[Action]:
        """Server data could not be opened."""
        return []

    def data_ended(self, direction: Direction) -> list[Action]:
        """The sender sent FIN, and all its bytes were handed to the receiver's socket."""
        return []

    def data_broken(self, side: Side, text: str) -> list[Action]:
        """That data connection failed in mid-transfer."""
        return []

    def data_timed_out(self) -> list[Action]:
        """The clock of `WaitForData` ran out."""
        return []

    def idle_timed_out(self) -> list[Action]:
        """Nothing was said and nothing was moved for too long."""
        return []

    def shutting_down(self) -> list[Action]:
        """The director ends: at once if no transfer runs, else behind it."""
        return []
