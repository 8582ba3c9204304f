"""Cluster + verdicts + overrides -> what to offer now.

The one place where the cluster file, the health of the real servers and the operator's word meet. This module knows no
engine and no probe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ftpdirector.model import Cluster, RealServer
from ftpdirector.state import Health, Override, Verdict

Key = tuple[str, str]
"""The names of a virtual server and of a real server behind it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """How much of the new work a real server gets; weight 0: it keeps its clients and gets no new ones."""

    weight: int
    drained: bool = False
    """The operator's word, not a verdict."""
    judged: bool = True
    """False until somebody has looked at the real server."""
    share: int | None = None
    """Its part of the next sessions beside that of others, where connections are counted; None: as its weight."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an engine is to make true."""

    cluster: Cluster
    offers: Mapping[Key, Offer]


def want(cluster: Cluster, verdicts: Mapping[Key, Verdict], overrides: Mapping[Key, Override]) -> Wanted:
    """Offer what the file says, less what is down, full or drained."""
    return Wanted(
        cluster,
        {
            (virtual.name, server.name): _offer(
                server,
                verdicts.get((virtual.name, server.name), Verdict()).health,
                overrides.get((virtual.name, server.name), Override.NONE),
            )
            for virtual in cluster.virtual_servers
            for server in virtual.real_servers
        },
    )


def taking(servers: Sequence[RealServer], offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """The offers as they count for the next session: the sorry server's is 0 as long as another one takes any."""
    is_served = any(offer.weight and not server.sorry for server, offer in zip(servers, offers, strict=True))
    return tuple(
        replace(offer, weight=0) if server.sorry and is_served else offer
        for server, offer in zip(servers, offers, strict=True)
    )


def _offer(server: RealServer, health: Health, override: Override) -> Offer:
    return Offer(
        _weight(server, health, override),
        drained=override is Override.DRAIN,
        judged=health is not Health.UNKNOWN,
    )


def _weight(server: RealServer, health: Health, override: Override) -> int:
    match override:
        case Override.DRAIN:
            return 0
        case Override.NONE:
            pass
    match health:
        case Health.UP | Health.UNKNOWN:
            # Not probed yet counts as up: a director that starts must not refuse clients for the first seconds.
            return server.weight
        case Health.DOWN | Health.FULL:
            return 0
