"""Which connection mark stands for which real server: the kernel's memory of who has a connection.

A mark follows from the virtual addresses, the passive range and the real server's address alone: it stays the same when
others come and go, over restarts, and on every director. Virtual servers that share their passive range share marks.
This module knows no nft.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from ftpdirector.model import Cluster, IPAddress
from ftpdirector.slices import Group, groups_of

DATA_BIT: Final = 1
"""Set in the mark of a data connection, clear in that of a control connection."""
_STEP: Final = 2
_ALL: Final = 1 << 32

Marks = Mapping[tuple[Group, IPAddress], int]
"""The control connections' mark of a real server by its address, behind each group of virtual servers."""


def marks_of(cluster: Cluster) -> Marks:
    """All of them; two that fall on one number are told apart in the order of their names."""
    keys = {
        f"{' '.join(map(str, group[0]))} {group[1]} {server.address}": (group, server.address)
        for group, virtuals in groups_of(cluster).items()
        for virtual in virtuals
        for server in virtual.real_servers
    }
    taken: set[int] = set()
    marks: dict[tuple[Group, IPAddress], int] = {}
    for text, key in sorted(keys.items()):
        mark = int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") & ~DATA_BIT
        while mark in taken or not mark:
            mark = (mark + _STEP) % _ALL
        taken.add(mark)
        marks[key] = mark
    return marks


def format_mark(mark: int) -> str:
    """As nft prints marks."""
    return f"0x{mark:08x}"
