"""What a packet filter must let pass. This module knows no packet filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from ftpdirector.model import HostSettings, IPAddress, PortRange

State = Literal["new", "related", "established"]


class Stage(Enum):
    """A part of a packet's way through the kernel."""

    ARRIVED = "before destinations are translated"
    TRANSLATED = "after destinations are translated"
    INPUT = "to this host"
    FORWARD = "through this host"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredFlow:
    """TCP packets to `targets` or from `sources`, one of which is empty, which is anybody; ports of None are any."""

    purpose: str
    stages: frozenset[Stage]
    targets: frozenset[IPAddress] = frozenset()
    sources: frozenset[IPAddress] = frozenset()
    to_ports: PortRange | None = None
    from_ports: PortRange | None = None
    state: State = "new"
    is_translated: bool = False
    """Belongs to a connection whose destination was translated (ct status dnat)."""
    comes_in: str | None = None
    goes_out: str | None = None
    """Interfaces, where they are known."""

    @property
    def addresses(self) -> frozenset[IPAddress]:
        """The end that is known; all of one family."""
        return self.targets or self.sources

    @property
    def version(self) -> int:
        """4 or 6."""
        return next(iter(self.addresses)).version


_THROUGH = frozenset({Stage.TRANSLATED, Stage.FORWARD})
_FROM_SERVERS = frozenset({Stage.ARRIVED, Stage.TRANSLATED, Stage.FORWARD})


def into_virtual(
    addresses: frozenset[IPAddress], ports: PortRange, what: str, *, stages: frozenset[Stage]
) -> tuple[RequiredFlow, ...]:
    """Connections to ports of virtual addresses, where packets still have that address."""
    return tuple(
        RequiredFlow(
            purpose=f"{what} to virtual addresses" if state == "new" else "packets of open connections",
            stages=stages,
            targets=addresses,
            to_ports=ports,
            state=state,
        )
        for state in ("new", "established")
    )


def to_servers(
    addresses: frozenset[IPAddress], ports: PortRange | None, what: str, *, state: State = "new"
) -> tuple[RequiredFlow, ...]:
    """Translated connections to real servers, and the answers."""
    open_ones = "packets of open connections"
    return (
        RequiredFlow(
            purpose=f"{what} to real servers",
            stages=_THROUGH,
            targets=addresses,
            to_ports=ports,
            state=state,
            is_translated=True,
        ),
        RequiredFlow(
            purpose=open_ones,
            stages=_THROUGH,
            targets=addresses,
            to_ports=ports,
            state="established",
            is_translated=True,
        ),
        RequiredFlow(
            purpose=open_ones,
            stages=_FROM_SERVERS,
            sources=addresses,
            from_ports=ports,
            state="established",
            is_translated=True,
        ),
    )


def active_data(addresses: frozenset[IPAddress], *, state: State = "new") -> tuple[RequiredFlow, ...]:
    """Active data connections: from real servers to clients, and the answers."""
    return (
        RequiredFlow(
            purpose="active data connections from real servers", stages=_FROM_SERVERS, sources=addresses, state=state
        ),
        RequiredFlow(
            purpose="packets of open connections",
            stages=_FROM_SERVERS,
            sources=addresses,
            state="established",
        ),
        RequiredFlow(purpose="packets of open connections", stages=_THROUGH, targets=addresses, state="established"),
    )


def between(flow: RequiredFlow, host: HostSettings) -> RequiredFlow:
    """The same between the interfaces of this host."""
    outside, inside = host.external_interface, host.internal_interface
    return (
        replace(flow, comes_in=outside, goes_out=inside)
        if flow.targets
        else replace(flow, comes_in=inside, goes_out=outside)
    )


def of_family(addresses: Sequence[IPAddress], version: int) -> frozenset[IPAddress]:
    """Those of one family."""
    return frozenset(address for address in addresses if address.version == version)
