"""Which real server has which slice of the passive range (placement "slices"), and which firewall mark each slice has.

All of it follows from the cluster file alone, so that every director and every real server comes to the same answer.
Virtual servers on one address with one passive range (ports 21 and 990, say) share their slices; a real server is
known by its address.
This module knows no engine and no packet filter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ftpdirector.model import Cluster, IPAddress, PortRange, RealServer, VirtualServer

Group = tuple[tuple[IPAddress, ...], PortRange]
"""What virtual servers have in common that share their slices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A slot of the passive range and the real server that has it, for good."""

    slot: int
    ports: PortRange
    server: RealServer


def group_of(virtual: VirtualServer) -> Group:
    """Virtual servers with an equal group share their slices."""
    return (tuple(sorted(virtual.addresses, key=lambda address: address.version)), virtual.passive_ports)


def slices_of(cluster: Cluster, virtual: VirtualServer) -> tuple[Slice, ...]:
    """The slices of all real servers of a virtual server and of those that share its range, in the order of the slots.

    Pinned slots first; then each real server takes the first free one, in the order of the file.
    """
    return assign(sharing(cluster, virtual))


def slice_of(cluster: Cluster, virtual: VirtualServer, server: RealServer) -> Slice:
    """The slice of one real server; KeyError if it is not behind this virtual server."""
    for assigned in slices_of(cluster, virtual):
        if assigned.server.address == server.address:
            return assigned
    raise KeyError(server.name)


def sharing(cluster: Cluster, virtual: VirtualServer) -> tuple[VirtualServer, ...]:
    """The virtual servers that share this one's slices, itself among them, in the order of the file."""
    group = group_of(virtual)
    return tuple(virtual for virtual in cluster.virtual_servers if group_of(virtual) == group)


def groups_of(cluster: Cluster) -> Mapping[Group, tuple[VirtualServer, ...]]:
    """All virtual servers by what they share, in the order of the file."""
    groups: dict[Group, list[VirtualServer]] = {}
    for virtual in cluster.virtual_servers:
        groups.setdefault(group_of(virtual), []).append(virtual)
    return {group: tuple(virtuals) for group, virtuals in groups.items()}


def assign(virtuals: tuple[VirtualServer, ...]) -> tuple[Slice, ...]:
    """The slices of virtual servers that share a range (one value of `groups_of`)."""
    parts = virtuals[0].passive_ports.cut(virtuals[0].slices)
    servers: dict[IPAddress, RealServer] = {}
    pinned: dict[IPAddress, int] = {}
    for virtual in virtuals:
        for server in virtual.real_servers:
            servers.setdefault(server.address, server)
            if server.slice is not None:
                pinned.setdefault(server.address, server.slice)
    # Two families of one real server are two real servers here: each announces its own port, in its own reply.
    taken = set(pinned.values())
    free = (slot for slot in range(len(parts)) if slot not in taken)
    slots = {address: pinned[address] if address in pinned else next(free) for address in servers}
    return tuple(
        Slice(slot=slot, ports=parts[slot], server=servers[address])
        for address, slot in sorted(slots.items(), key=lambda item: item[1])
    )


def slice_marks(cluster: Cluster) -> Mapping[Group, tuple[int, ...]]:
    """The firewall mark of each slot of each group: the free ones after the first virtual server's own mark."""
    after = {virtual.firewall_mark: virtual.firewall_mark + 1 for virtual in cluster.virtual_servers}
    marks: dict[Group, tuple[int, ...]] = {}
    for group, virtuals in groups_of(cluster).items():
        mark, own = virtuals[0].firewall_mark, list[int]()
        for _ in range(virtuals[0].slices):
            mark = _free_mark(mark, after)
            after[mark] = mark + 1
            own.append(mark)
        marks[group] = tuple(own)
    return marks


def _free_mark(mark: int, after: dict[int, int]) -> int:
    """The first free mark from here. `after` leads from each taken one onward, and past all of them once walked."""
    walked: list[int] = []
    while mark in after:
        walked.append(mark)
        mark = after[mark]
    after.update(dict.fromkeys(walked, mark))
    return mark


def moved(before: Cluster, after: Cluster) -> Iterator[tuple[VirtualServer, Slice, Slice]]:
    """Real servers whose slice another cluster file would move: virtual server, slice had, slice to come."""
    had = {
        (group[0], assigned.server.address): assigned
        for group, virtuals in groups_of(before).items()
        for assigned in assign(virtuals)
    }
    for (addresses, _), virtuals in groups_of(after).items():
        for assigned in assign(virtuals):
            old = had.get((addresses, assigned.server.address))
            if old is not None and old.ports != assigned.ports:
                yield virtuals[0], old, assigned
