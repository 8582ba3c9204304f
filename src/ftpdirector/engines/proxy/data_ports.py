"""This worker's data ports on every local address: which ports of the virtual servers' ranges are its own to lease.

This module knows no FTP and no session; how a port is chosen and held stands in `ports`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable

from ftpdirector.engines.proxy.ports import Lease, PortPool
from ftpdirector.engines.proxy.readiness import Readiness
from ftpdirector.model import IPAddress, PortRange, VirtualServer


class DataPorts:
    """A pool of ports for each local address that a session was reached at."""

    def __init__(self, readiness: Readiness, monotonic_s: Callable[[], float], worker_index: int, workers: int) -> None:
        """Nothing listens before the first lease."""
        self._readiness = readiness
        self._monotonic_s = monotonic_s
        self._worker_index = worker_index
        self._workers = workers
        self._servers: tuple[VirtualServer, ...] = ()
        self._pools: dict[IPAddress, PortPool] = {}
        self._chance = random.SystemRandom()

    def follow(self, servers: Iterable[VirtualServer]) -> None:
        """These virtual servers are configured now; ports that none of them announces close as they get free."""
        self._servers = tuple(servers)
        for address, pool in self._pools.items():
            pool.follow(*self._ranges_of(address))

    def lease(
        self, address: IPAddress, ports: PortRange, client: str, on_open: Callable[[socket.socket], None]
    ) -> Lease:
        """A data port for `client` on one address, from this worker's own part of `ports`.

        Raises `HostError` when there is none.
        """
        part = self._part(ports)
        pool = self._pools.get(address)
        if pool is None:
            pool = PortPool(self._readiness, address, part, self._chance, self._monotonic_s)
            pool.follow(*self._ranges_of(address))
            self._pools[address] = pool
        return pool.lease(client, on_open, part)

    def expire(self, now_s: float) -> None:
        """Close what was not leased for a while; called about once a second."""
        for pool in self._pools.values():
            pool.expire(now_s)

    def close(self) -> None:
        """Close every port."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _part(self, ports: PortRange) -> PortRange:
        """Workers never meet; where there are more of them than ports they pass over what another one has."""
        part = ports.cut(self._workers)[self._worker_index]
        return part if len(part) else ports

    def _ranges_of(self, address: IPAddress) -> list[PortRange]:
        """The parts that virtual servers announce on an address now, one time each."""
        ranges = {
            server.passive_ports: None
            for server in self._servers
            if any(
                one == address or (one.is_unspecified and one.version == address.version) for one in server.addresses
            )
        }
        return [self._part(ports) for ports in ranges]
