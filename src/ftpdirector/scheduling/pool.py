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
        self._virtual = virtual
        self._servers = {server.name: server for server in virtual.real_servers}
        self._scheduler = make_scheduler(virtual.scheduler)
        self._templates = _templates(virtual)

    def follow(self, virtual: VirtualServer) -> None:
        """The cluster file was read again: templates and turns go on where their settings are as they were."""
        before, self._virtual = self._virtual, virtual
        self._servers = {server.name: server for server in virtual.real_servers}
        if virtual.scheduler != before.scheduler:
            self._scheduler = make_scheduler(virtual.scheduler)
        if _persistence(virtual) != _persistence(before):
            self._templates = _templates(virtual)

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
        takers = self._takers(sessions, offered, excluding)
        candidates = [
            # A sorry server has no share: it is there for all of the work or for none.
            Candidate(name, server.weight, sessions.get(name, 0), name in takers)
            for name, server in self._servers.items()
            if name in takers or not server.sorry
        ]
        chosen = self._templates.find(client, now_s)
        if chosen not in takers:
            chosen = self._scheduler.choose(candidates, self._templates.network(client))
        if chosen is None:
            return None
        self._templates.remember(client, chosen, now_s)
        return self._servers[chosen]

    def remember(self, client: IPAddress, name: str, now_s: float) -> None:
        """Of several real servers that were picked for a client, this one has it."""
        self._templates.remember(client, name, now_s)

    def _takers(
        self, sessions: Mapping[str, int], offered: Mapping[str, Offer], excluding: frozenset[str]
    ) -> frozenset[str]:
        takers = frozenset(
            name
            for name, server in self._servers.items()
            if (offer := offered.get(name)) is not None
            and offer.weight > 0
            and name not in excluding
            and not (server.max_sessions and sessions.get(name, 0) >= server.max_sessions)
        )
        return frozenset(name for name in takers if not self._servers[name].sorry) or takers


def _persistence(virtual: VirtualServer) -> tuple[float, int, int]:
    return virtual.persistence_timeout_s, virtual.persistence_granularity_v4, virtual.persistence_granularity_v6


def _templates(virtual: VirtualServer) -> Templates:
    return Templates(*_persistence(virtual))
