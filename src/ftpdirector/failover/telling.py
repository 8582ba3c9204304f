"""UDP sockets -> who tells the other director of connections, and whether it does now.

Pure: the ports are arguments. This module knows no host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from ftpdirector.failover.conntrackd import PORT, peers
from ftpdirector.model import Cluster, Engine, ForwardingMethod
from ftpdirector.state import Telling

_SYNC_PORT: Final = 8848
"""Of IPVS's sync daemon (net/netfilter/ipvs/ip_vs_sync.c, IP_VS_SYNC_PORT)."""


def telling(cluster: Cluster, sockets: Collection[tuple[int, int]]) -> Mapping[str, Telling]:
    """What each of them does, in a word; empty where there is one director. `sockets`: UDP ports, own and remote."""
    if len(cluster.directors) < 2 or cluster.engine is Engine.PROXY:
        return {}
    said: dict[str, Telling] = {}
    if cluster.engine is Engine.IPVS:
        sends = any(remote == _SYNC_PORT for _, remote in sockets)
        receives = any(own == _SYNC_PORT for own, _ in sockets)
        said["IPVS sync daemon"] = Telling.SENDS if sends else Telling.RECEIVES if receives else Telling.SILENT
    translates = any(virtual.forwarding is ForwardingMethod.NAT for virtual in cluster.virtual_servers)
    if peers(cluster) and (translates or cluster.engine is Engine.NFTABLES):
        said["conntrackd"] = Telling.RUNS if any(own == PORT for own, _ in sockets) else Telling.SILENT
    return said
