"""One client, one virtual server, one real server, with their numbers: what the steps are told with.

Ports that a client or a real server would choose are examples, always the same ones. This module knows no step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from ftpdirector.explain.data_path import DataPath
from ftpdirector.explain.path import Mode
from ftpdirector.explain.software import SETTING_NAMES, SettingNames
from ftpdirector.model import (
    Cluster,
    Endpoint,
    Engine,
    ForwardingMethod,
    IPAddress,
    PacketFilter,
    Placement,
    PortRange,
    RealServer,
    VirtualServer,
)
from ftpdirector.slices import assign, group_of, groups_of, slice_marks

CLIENTS: Final = {4: ip_address("203.0.113.7"), 6: ip_address("2001:db8:1::7")}
"""Addresses for documentation (RFC 5737, RFC 3849)."""

_CONTROL_PORT: Final = 40001
_DATA_PORT: Final = 40002
_LISTENS_ON: Final = 40003
_ANY_PORT: Final = 45678


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The parties. `ports` are those that the real server announces, `mark` that of its slice, if it has one."""

    cluster: Cluster
    virtual: VirtualServer
    address: IPAddress
    client_address: IPAddress
    server: RealServer
    other: RealServer | None
    ports: PortRange
    mark: int | None
    data_path: DataPath

    @property
    def front(self) -> Endpoint:
        """What the client connects to."""
        return Endpoint(self.address, self.virtual.port)

    @property
    def client(self) -> Endpoint:
        """The client's end of the control connection."""
        return Endpoint(self.client_address, _CONTROL_PORT)

    @property
    def client_data(self) -> Endpoint:
        """The client's end of a passive data connection."""
        return Endpoint(self.client_address, _DATA_PORT)

    @property
    def client_listens(self) -> Endpoint:
        """Where the client waits for an active data connection."""
        return Endpoint(self.client_address, _LISTENS_ON)

    @property
    def announced_port(self) -> int:
        """The port that the real server opens; under dr and tun the first of a slice is its active data port."""
        return self.ports.first + int(self.data_path.slices and self.data_path.direct)

    @property
    def passive(self) -> Endpoint:
        """Where the client goes that follows the virtual address."""
        return Endpoint(self.address, self.announced_port)

    @property
    def data_port(self) -> int:
        """Where the director counts on active data connections to come from (RFC 959 section 3.2: control less one)."""
        return self.ports.first if self.data_path.slices and self.data_path.direct else self.server.port - 1

    @property
    def source_port(self) -> int:
        """Where active data connections do come from."""
        return self.data_port if self.data_path.from_data_port else self.unbound_port

    @property
    def unbound_port(self) -> int:
        """A port that a server may get which chooses none."""
        return _ANY_PORT

    @property
    def setting_names(self) -> SettingNames:
        """What the real server calls its settings."""
        return SETTING_NAMES[self.server.server]

    @property
    def translation_place(self) -> str:
        """Where the director's packet filter keeps the sources of active data connections."""
        if self.by_iptables:
            return "table nat, chain FTPDIRECTOR-ACTIVE"
        return f"map sources_v{self.address.version}"

    @property
    def mark_place(self) -> str:
        """Where the director's packet filter keeps the marks."""
        if self.by_iptables:
            return "table mangle, chain FTPDIRECTOR-MARK"
        return f"map marks_v{self.address.version}"

    @property
    def by_iptables(self) -> bool:
        """Whether the rules stand in iptables."""
        return self.cluster.engine is Engine.IPVS and self.cluster.host.packet_filter is PacketFilter.IPTABLES

    @property
    def gateway(self) -> str:
        """The real server's way back, as the file names it."""
        floating = [address for address in self.virtual.gateway_addresses if address.version == self.address.version]
        return f"the director ({floating[0]})" if floating else "the director"


def packet(flags: str, source: Endpoint, target: Endpoint) -> str:
    """`SYN 203.0.113.7:40002 -> 192.0.2.10:10000`."""
    return f"{flags} {source} -> {target}"


def announcement_of(mode: Mode, endpoint: Endpoint) -> str:
    """The announcement itself: the reply to PASV and EPSV, the command PORT or EPRT."""
    high, low = divmod(endpoint.port, 256)
    numbers = f"{str(endpoint.address).replace('.', ',')},{high},{low}"
    match mode:
        case Mode.PASV:
            return f"227 Entering Passive Mode ({numbers})"
        case Mode.EPSV:
            return f"229 Entering Extended Passive Mode (|||{endpoint.port}|)"
        case Mode.PORT:
            return f"PORT {numbers}"
        case Mode.EPRT:
            return f"EPRT |{1 if endpoint.address.version == 4 else 2}|{endpoint.address}|{endpoint.port}|"


def candidates(virtual: VirtualServer, address: IPAddress, engine: Engine) -> tuple[RealServer, ...]:
    """The real servers that a client of this address may get; the proxy joins the families."""
    return tuple(
        server for server in virtual.real_servers if engine is Engine.PROXY or server.address.version == address.version
    )


def passive_ports_of(cluster: Cluster, virtual: VirtualServer, server: RealServer) -> tuple[PortRange, int | None]:
    """A real server's part of the passive range, and the firewall mark that leads there and nowhere else."""
    if cluster.engine is Engine.PROXY or virtual.placement is not Placement.SLICES:
        return virtual.passive_ports, None
    group = group_of(virtual)
    for assigned in assign(groups_of(cluster)[group]):
        if assigned.server.address == server.address:
            mark = slice_marks(cluster)[group][assigned.slot] if cluster.engine is Engine.IPVS else None
            return assigned.ports, mark
    raise KeyError(server.name)


def picked(servers: tuple[RealServer, ...]) -> Iterator[RealServer]:
    """Those that get new clients, in the order of the file; all of them where none does."""
    offered = [server for server in servers if server.weight and not server.sorry]
    yield from offered or servers


def forwarding_clause(method: ForwardingMethod) -> str:
    """The forwarding method in a clause."""
    match method:
        case ForwardingMethod.NAT:
            return "nat: the director translates the virtual address, both ways"
        case ForwardingMethod.FULLNAT:
            return "fullnat: the director translates both addresses, both ways"
        case ForwardingMethod.DR:
            return "dr: packets reach the real servers as they are; answers go past the director"
        case ForwardingMethod.TUN:
            return "tun: packets reach the real servers in a tunnel; answers go past the director"
