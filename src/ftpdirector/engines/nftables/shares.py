"""`lc` and `wlc` for a kernel that does not count: the next sessions dealt out as least-connection would.

Pure. This module knows no address and no nft.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

_LEAST_A_SERVER: Final = 4
_MOST: Final = 512


def expected(arrivals: Sequence[int], servers: int) -> int:
    """For how many sessions to plan, from how many came in the last looks."""
    return max(_LEAST_A_SERVER * servers, min(_MOST, max(arrivals, default=0)))


def shares(weights: Sequence[int], sessions: Sequence[int], coming: int) -> tuple[int, ...]:
    """How many of the `coming` next sessions each server gets, one after the other the least loaded for its weight.

    All of them 0 when no server has a weight.
    """
    dealt = [0] * len(weights)
    heap = [((sessions[place] + 1) / weight, place) for place, weight in enumerate(weights) if weight]
    heapq.heapify(heap)
    for _ in range(coming if heap else 0):
        _, place = heap[0]
        dealt[place] += 1
        heapq.heapreplace(heap, ((sessions[place] + dealt[place] + 1) / weights[place], place))
    return tuple(dealt)
