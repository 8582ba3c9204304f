"""UDP sockets -> which programs replicate connections to the other director, and whether they run.

Pure: the ports are arguments. This module knows no host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from ftpdirector.failover.conntrackd import PORT, peers
from ftpdirector.model import Cluster, Engine, ForwardingMethod
from ftpdirector.state import Replication

_SYNC_PORT: Final = 8848
"""Of IPVS's sync daemon (net/netfilter/ipvs/ip_vs_sync.c, IP_VS_SYNC_PORT)."""


def replication_of(cluster: Cluster, sockets: Collection[tuple[int, int]]) -> Mapping[str, Replication]:
    """The state of each program, by name; empty where there is one director. `sockets`: UDP ports, own and remote."""
    if len(cluster.directors) < 2 or cluster.engine is Engine.PROXY:
        return {}
    states: dict[str, Replication] = {}
    if cluster.engine is Engine.IPVS:
        sends = any(remote == _SYNC_PORT for _, remote in sockets)
        receives = any(own == _SYNC_PORT for own, _ in sockets)
        states["IPVS sync daemon"] = (
            Replication.SENDS if sends else Replication.RECEIVES if receives else Replication.SILENT
        )
    translates = any(virtual.forwarding is ForwardingMethod.NAT for virtual in cluster.virtual_servers)
    if peers(cluster) and (translates or cluster.engine is Engine.NFTABLES):
        states["conntrackd"] = Replication.RUNS if any(own == PORT for own, _ in sockets) else Replication.SILENT
    return states
