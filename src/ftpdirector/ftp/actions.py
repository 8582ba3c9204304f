"""What a session tells the engine to do: imperatives, as values.

The engine tells the session what happened by calling its methods; each returns a list of these, to be carried out in
order. "Client data" is the data connection between client and director, "server data" the one between director and
real server. This module knows no socket and no order of events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ftpdirector.model import Endpoint


class Direction(Enum):
    """Which way a transfer's bytes go."""

    DOWNLOAD = auto()
    """Real server to client: RETR, LIST, NLST, MLSD."""
    UPLOAD = auto()
    """Client to real server: STOR, APPE, STOU."""
    BOTH = auto()
    """An unknown command that the real server answered with a preliminary reply: whoever sends is passed on."""


class Outcome(Enum):
    """How a transfer ended."""

    COMPLETE = auto()
    REFUSED = auto()
    """The real server answered 4xx or 5xx before any data was due."""
    FAILED = auto()
    """It began and did not end well: 4xx or 5xx after 1xx, a connection lost, a time-out."""
    ABORTED = auto()
    """The client said ABOR."""


@dataclass(frozen=True, slots=True)
class ToClient:
    """Write to the client's control connection."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ToServer:
    """Write to the real server's control connection; `urgent` marks the last byte as TCP urgent data (Synch)."""

    data: bytes
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Listen:
    """Lease a passive port for the client; answer with `listening` or `listen_failed`."""


@dataclass(frozen=True, slots=True)
class ConnectToClient:
    """Open client data toward the client (active); answer with `client_data_open` or `client_data_failed`."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class ConnectToServer:
    """Open server data toward the real server's address; answer with `server_data_open` or `server_data_failed`."""

    port: int


@dataclass(frozen=True, slots=True)
class ListenForServer:
    """Listen for the real server (active); answer with `listening_for_server` or `listen_for_server_failed`."""


@dataclass(frozen=True, slots=True)
class StartRelay:
    """Move bytes as soon as both data connections stand; answer with `data_ended` or `data_broken`.

    The sender's FIN is answered at once, but nothing is said to the receiver: that is `FinishClientData` or
    `FinishServerData`, once the session knows that the file is whole.
    """

    direction: Direction


@dataclass(frozen=True, slots=True)
class FinishClientData:
    """All is well: send FIN to the client behind the last byte, and close client data."""


@dataclass(frozen=True, slots=True)
class FinishServerData:
    """The upload is whole: send FIN to the real server behind the last byte, and close server data."""


@dataclass(frozen=True, slots=True)
class DropClientData:
    """Reset client data, in whatever state it is (leased, connecting, open, relaying); none is fine too."""


@dataclass(frozen=True, slots=True)
class DropServerData:
    """Reset server data, in whatever state it is; none is fine too."""


@dataclass(frozen=True, slots=True)
class WaitForData:
    """Start the clock for a data connection that is due; `data_timed_out` follows unless `StopWaiting` comes first."""


@dataclass(frozen=True, slots=True)
class StopWaiting:
    """Stop the clock of `WaitForData`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Flush and close both control connections; the session has ended, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """For the log: the real server accepted this user (name as the client wrote it, 8-bit safe)."""

    user: str


@dataclass(frozen=True, slots=True)
class RememberRefused:
    """This real server refuses this verb (EPSV or EPRT): do not ask it again in later sessions."""

    verb: str


@dataclass(frozen=True, slots=True)
class DataReady:
    """For metrics: the reply to PASV, EPSV, PORT or EPRT was given."""


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """For log and metrics: a transfer is over; `verb` and `path` as the client wrote them (8-bit safe)."""

    verb: str
    path: str
    direction: Direction
    outcome: Outcome
    reply: str
    """The real server's final reply, or in words what happened instead."""


Action = (
    ToClient
    | ToServer
    | Listen
    | ConnectToClient
    | ConnectToServer
    | ListenForServer
    | StartRelay
    | FinishClientData
    | FinishServerData
    | DropClientData
    | DropServerData
    | WaitForData
    | StopWaiting
    | Close
    | LoggedIn
    | RememberRefused
    | DataReady
    | TransferEnded
)
