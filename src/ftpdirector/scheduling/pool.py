"""The pool of a virtual server: offers, thresholds, persistence and scheduler together give a client its real server.

This module knows no connection: who did not answer is named by the caller and excluded.
"""

from __future__ import annotations

from collections.abc import Mapping

from ftpdirector.model import IPAddress, RealServer, VirtualServer
from ftpdirector.scheduling.persistence import Templates
from ftpdirector.scheduling.schedulers import Candidate, make_scheduler
from ftpdirector.wanted import Offer


class Pool:
    """The real servers of one virtual server."""

    def __init__(self, virtual: VirtualServer) -> None:
        """Nobody was given anything yet."""
        self._servers = {server.name: server for server in virtual.real_servers}
        self._scheduler = make_scheduler(virtual.scheduler)
        self._templates = Templates(
            virtual.persistence_timeout_s, virtual.persistence_granularity_v4, virtual.persistence_granularity_v6
        )

    def pick(
        self,
        client: IPAddress,
        now_s: float,
        sessions: Mapping[str, int],
        offered: Mapping[str, Offer],
        excluding: frozenset[str] = frozenset(),
    ) -> RealServer | None:
        """The real server for a new session of this client; None when none may take it.

        `sessions` counts the sessions of each real server now, in all workers; `offered` says what is wanted of each.
        """
        candidates = [
            Candidate(name, offered[name].weight, sessions.get(name, 0))
            for name, server in self._servers.items()
            if name in offered
            and name not in excluding
            and not (server.max_sessions and sessions.get(name, 0) >= server.max_sessions)
        ]
        kept = self._templates.find(client, now_s)
        if kept is None or not any(one.name == kept and one.weight for one in candidates):
            kept = self._scheduler.choose(candidates, client)
        if kept is None:
            return None
        self._templates.remember(client, kept, now_s)
        return self._servers[kept]
