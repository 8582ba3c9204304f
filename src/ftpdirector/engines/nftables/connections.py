"""The connections that the kernel tracks -> how many each real server has: control connections, data connections.

Pure: what `conntrack -L` prints is an argument. A connection is counted from the client's SYN being answered until both
sides have closed (nf_conntrack_proto_tcp.c). This module runs no program.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ftpdirector.model import Cluster, VirtualServer
from ftpdirector.slices import group_of
from ftpdirector.wanted import Key

_OPEN: Final = re.compile(
    r"^tcp +6 +(?:\d+ +)?(?:SYN_RECV|ESTABLISHED|FIN_WAIT|CLOSE_WAIT) +src=(\S+) dst=(\S+) sport=\d+ dport=(\d+) "
    r"(?:packets=\d+ bytes=\d+ )?src=(\S+) dst=(\S+) ",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Connections that are open, by virtual server and real server."""

    control: Mapping[Key, int]
    data: Mapping[Key, int]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.control or self.data)


def count_open(listing: str, cluster: Cluster) -> Open:
    """All of them; what is not ours is passed over. Data of a shared range counts for its first virtual server."""
    where = _Places(cluster)
    control: Counter[Key] = Counter()
    data: Counter[Key] = Counter()
    for source, target, port, answers, answered in _OPEN.findall(listing):
        key = where.control.get((target, int(port), answers))
        if key is not None:
            control[key] += 1
            continue
        # Passive: a client to the virtual address, answered by a real server. Active: the other way round.
        key = where.data.get((target, answers)) or where.data.get((answered, source))
        if key is not None:
            data[key] += 1
    return Open(control=control, data=data)


class _Places:
    """Addresses, as conntrack prints them, to names."""

    def __init__(self, cluster: Cluster) -> None:
        self.control: dict[tuple[str, int, str], Key] = {}
        self.data: dict[tuple[str, str], Key] = {}
        for virtual in first_of_each_range_first(cluster.virtual_servers):
            for server in virtual.real_servers:
                for address in virtual.addresses:
                    key = (virtual.name, server.name)
                    self.control[str(address), virtual.port, str(server.address)] = key
                    self.data.setdefault((str(address), str(server.address)), key)


def first_of_each_range_first(virtuals: Iterable[VirtualServer]) -> list[VirtualServer]:
    """Every virtual server, those after the others that share the passive range of one before."""
    seen: set[object] = set()
    first: list[VirtualServer] = []
    others: list[VirtualServer] = []
    for virtual in virtuals:
        (others if group_of(virtual) in seen else first).append(virtual)
        seen.add(group_of(virtual))
    return first + others
