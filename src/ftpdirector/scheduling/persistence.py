"""Persistence: a client network keeps its real server for a while (IPVS calls the entry a template).

This module knows no scheduler; time is an argument, in seconds of any clock that never jumps.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ftpdirector.model import IPAddress

TEMPLATES_AT_MOST: Final = 100_000
"""A bound on memory: beyond it the template that was used longest ago goes."""

_IPV4_BITS: Final = 32
_IPV6_BITS: Final = 128


class Templates:
    """Client network -> real server, each for `timeout_s` after it was used last; a time-out of 0 keeps nothing."""

    def __init__(self, timeout_s: float, granularity_v4: int = _IPV4_BITS, granularity_v6: int = _IPV6_BITS) -> None:
        """Granularities are prefix lengths."""
        self._timeout_s = timeout_s
        self._shift = {4: _IPV4_BITS - granularity_v4, 6: _IPV6_BITS - granularity_v6}
        self._entries: OrderedDict[tuple[int, int], tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        """Templates held, expired ones included until somebody comes by."""
        return len(self._entries)

    def find(self, client: IPAddress, now_s: float) -> str | None:
        """The real server of this client's network, while its template lasts."""
        entry = self._entries.get(self.network(client))
        return entry[0] if entry and now_s < entry[1] else None

    def remember(self, client: IPAddress, name: str, now_s: float) -> None:
        """Make or renew the template."""
        if not self._timeout_s:
            return
        network = self.network(client)
        self._entries[network] = (name, now_s + self._timeout_s)
        self._entries.move_to_end(network)
        # In order of use, and all of one time-out: the oldest stands in front.
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest[1] > now_s and len(self._entries) <= TEMPLATES_AT_MOST:
                return
            self._entries.popitem(last=False)

    def network(self, client: IPAddress) -> tuple[int, int]:
        """IP version, and the client's address without the bits beyond the prefix."""
        return client.version, int(client) >> self._shift[client.version]
