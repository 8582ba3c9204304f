"""An explanation as values: steps, paths, verdicts, the effects of usual misconfigurations.

Their fields are texts and numbers, and the keys of `explain --json` (`dataclasses.asdict`): programs read them, so that
they keep their names. This module knows
no engine and no FTP.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """Who opens the data connection, and in which words it is announced (RFC 959, RFC 2428)."""

    PASV = "pasv"
    EPSV = "epsv"
    PORT = "port"
    EPRT = "eprt"


PASSIVE = (Mode.PASV, Mode.EPSV)
IPV4_ONLY = (Mode.PASV, Mode.PORT)
"""Their words hold an IPv4 address (RFC 959 section 4.1.2)."""


class Phase(StrEnum):
    """The part of a session that a step belongs to."""

    CONTROL = "control connection"
    ANNOUNCEMENT = "announcement"
    DATA = "data connection"


class Reason(StrEnum):
    """Why a path ends early."""

    REAL_ADDRESS_ANNOUNCED = "real-address-announced"
    NOT_TRACKED = "connections-not-tracked"
    OTHER_TRANSLATION = "helper-of-another-translation"
    HELPER_LED_ASTRAY = "helper-led-astray"
    TLS_HIDES_PORT = "tls-hides-the-port"
    TLS_REFUSED = "tls-refused"
    NO_VIRTUAL_SERVER = "no-virtual-server-for-the-port"
    WRONG_SERVER = "wrong-real-server"
    WRONG_PORT = "wrong-real-port"
    SOURCE_NOT_TRANSLATED = "source-not-translated"
    SOURCE_PORT_DIFFERS = "source-port-differs"
    ANSWER_FINDS_NO_ENTRY = "answer-finds-no-entry"
    PORT_REFUSED = "port-refused-by-the-real-server"
    PAST_THE_DIRECTOR = "answer-past-the-director"
    DROPPED_AS_INVALID = "dropped-as-invalid"
    NOT_ITS_ADDRESS = "virtual-address-missing"
    ARP_ANSWERED = "arp-answered-by-the-real-server"
    TUNNEL_DROPPED = "tunnel-packets-dropped"
    IPV4_ONLY = "ipv4-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action of one party; `packet` is what leaves it then (or arrives, where it ends there)."""

    at: str
    text: str
    packet: str = ""
    phase: Phase = Phase.DATA


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why it fails, and what mends it."""

    reason: Reason
    text: str
    remedy: str


Trace = Generator[Step, None, Failure | None]
"""Steps, one after the other, and how it ended: None is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathVerdict:
    """Whether a connection works; the rest is empty where it does."""

    works: bool = True
    reason: str = ""
    text: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The path of one connection, from its announcement on. `mode` is empty for the control connection."""

    mode: str = ""
    tls: bool = False
    steps: tuple[Step, ...] = ()
    verdict: PathVerdict = field(default_factory=PathVerdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakage:
    """The modes that a misconfiguration breaks in the same way."""

    modes: tuple[str, ...]
    verdict: PathVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MisconfigurationEffect:
    """Something that is easily set otherwise, and what fails then."""

    what: str
    breaks: tuple[Breakage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRow:
    """A real server's numbers; `mark` is empty where its data connections have none of their own."""

    name: str
    endpoint: str
    weight: int
    passive_ports: str
    mark: str = ""
    sorry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One virtual server at one of its addresses."""

    name: str
    endpoint: str
    summary: str
    client: str
    real_servers: tuple[ServerRow, ...]
    control: Path
    ways: tuple[Path, ...]
    mistakes: tuple[MisconfigurationEffect, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All of it, in the order of the file."""

    engine: str
    fronts: tuple[Front, ...]


def end_of(failure: Failure | None) -> PathVerdict:
    """The verdict on a path that ended so."""
    if failure is None:
        return PathVerdict()
    return PathVerdict(works=False, reason=failure.reason, text=failure.text, remedy=failure.remedy)


def follow(trace: Trace) -> tuple[tuple[Step, ...], PathVerdict]:
    """All steps of a trace, and its verdict."""
    steps: list[Step] = []
    while True:
        try:
            steps.append(next(trace))
        except StopIteration as end:
            return tuple(steps), end_of(end.value)
