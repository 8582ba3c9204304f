"""What a session tells the engine to do: imperatives, as values.

The engine tells the session what happened by calling its methods; each returns a list of these, to be carried out in
order. The client's side of the data is the connection between client and director, the server's the one between
director and real server. This module knows no socket and no order of events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ftpdirector.model import Endpoint


class Side(Enum):
    """Whose connection."""

    CLIENT = auto()
    SERVER = auto()


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


class Clock(Enum):
    """What a session waits for with an end; how long is the engine's business."""

    LOGIN = auto()
    """From the greeting, or REIN, to 230."""
    ANSWER = auto()
    """A question of the director's own to the real server: EPSV, PASV, PORT, EPRT, a fence."""
    EARLY_COMMAND = auto()
    """A transfer command is held back until its data connections stand; when this runs out it is sent all the same."""
    DATA_CONNECTION = auto()
    """A data connection that never stands."""
    STRANGER = auto()
    """Somebody else connected to the port that waits for the client: is the client still to come? A second or two."""
    LATE_END = auto()
    """The real server said how it ended, before the end of the data was seen. Milliseconds: both were sent at once."""
    HALF_REPLY = auto()
    """The last line of a reply has another code than the first: is there more to come? Milliseconds."""


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
    """Lease a port for the client, or listen for the real server; answer with `listening` or `listen_failed`."""

    side: Side


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a data connection to the client, or to the real server; answer with `data_open` or `data_failed`."""

    side: Side
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class StartRelay:
    """Move bytes as soon as both data connections stand; answer with `data_ended` or `data_broken`.

    The sender's FIN is answered at once, but nothing is said to the receiver: that is `Finish`, once the session knows
    that the file is whole.
    """

    direction: Direction


@dataclass(frozen=True, slots=True)
class Finish:
    """All is well: send FIN behind the last byte to this side, and close its data connection."""

    side: Side


@dataclass(frozen=True, slots=True)
class Drop:
    """Reset this side's data connection, in whatever state it is (leased, connecting, open, relaying); none is fine."""

    side: Side


@dataclass(frozen=True, slots=True)
class StartClock:
    """`clock_ran_out` follows, unless `StopClock` comes first. One that runs already begins anew."""

    clock: Clock


@dataclass(frozen=True, slots=True)
class StopClock:
    """It need not be running."""

    clock: Clock


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
    """This real server does not serve this verb (EPSV or PASV), for this reason: do not ask it in later sessions."""

    verb: str
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """For the log: the director itself refused a command, in these words."""

    verb: str
    reply: str


@dataclass(frozen=True, slots=True)
class DataReady:
    """For metrics: the reply to PASV, EPSV, PORT or EPRT was given."""


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """For log and metrics: a transfer is over; `verb` as the client wrote it (8-bit safe)."""

    verb: str
    path: str
    """The whole path of a file where the working directory is known, else the name as the client wrote it."""
    direction: Direction
    outcome: Outcome
    reply: str
    """The real server's final reply, or in words what happened instead."""
    binary: bool = False
    """TYPE I or L; else ASCII or EBCDIC, where the receiver may have other bytes than the sender (RFC 959 3.1.1)."""


LISTEN_CLIENT: Final = Listen(Side.CLIENT)
DROP_CLIENT: Final = Drop(Side.CLIENT)
DROP_SERVER: Final = Drop(Side.SERVER)
FINISH_CLIENT: Final = Finish(Side.CLIENT)
FINISH_SERVER: Final = Finish(Side.SERVER)
START_ANSWER: Final = StartClock(Clock.ANSWER)
STOP_ANSWER: Final = StopClock(Clock.ANSWER)
DATA_READY: Final = DataReady()
"""The values that every transfer needs, made once: a frozen dataclass is slow to make."""

Action = (
    ToClient
    | ToServer
    | Listen
    | Connect
    | StartRelay
    | Finish
    | Drop
    | StartClock
    | StopClock
    | Close
    | LoggedIn
    | RememberRefused
    | Refused
    | DataReady
    | TransferEnded
)
