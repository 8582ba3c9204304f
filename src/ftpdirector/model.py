"""What a cluster is, as values: the cluster file after it was decoded, with every default filled in.

Durations are seconds (`_s`), sizes bytes (`_bytes`). A value here is valid in itself; rules across values stand in
`ftpdirector.config.rules`. This module knows no file format, no engine and no operating system.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

IPAddress = IPv4Address | IPv6Address

HIGHEST_PORT: Final = 65535
CLIENT_PREFIX_IPV6: Final = 64
HIGHEST_WEIGHT: Final = 65535
"""IPVS takes weights from 0 to 65535 (ipvsadm(8)); every engine keeps to that."""


class Engine(StrEnum):
    """Who moves the bytes."""

    PROXY = "proxy"
    NFTABLES = "nftables"
    IPVS = "ipvs"


class Placement(StrEnum):
    """How a passive data connection finds the real server that announced it (kernel engines)."""

    SLICES = "slices"
    PERSISTENCE = "persistence"
    HELPER = "helper"


class ForwardingMethod(StrEnum):
    """How a kernel engine hands a packet to a real server."""

    NAT = "nat"
    DR = "dr"
    TUN = "tun"
    FULLNAT = "fullnat"


class ProxyProtocol(StrEnum):
    """The header that tells a real server who the client is (proxy engine, control connection only)."""

    OFF = "off"
    V1 = "v1"
    V2 = "v2"


class DataToServer(StrEnum):
    """Who opens the data connection between director and real server (proxy engine)."""

    PASSIVE = "passive"
    ACTIVE = "active"
    CLIENT = "client"


class ProbeKind(StrEnum):
    """How far one look at a real server goes; each kind includes the ones before it."""

    CONNECT = "connect"
    BANNER = "banner"
    LOGIN = "login"
    LIST = "list"
    TRANSFER = "transfer"


class ServerSoftware(StrEnum):
    """The FTP server that runs on a real server; tells which settings are rendered for it."""

    VSFTPD = "vsftpd"
    PROFTPD = "proftpd"
    PURE_FTPD = "pure-ftpd"
    PYFTPDLIB = "pyftpdlib"
    OTHER = "other"


class PacketFilter(StrEnum):
    """The packet filter that the kernel engines write rules for."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"


PROXY_SCHEDULERS: Final = ("rr", "wrr", "lc", "wlc", "sh", "mh")
IPVS_SCHEDULERS: Final = (
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos",
)  # fmt: skip
"""ipvsadm(8) and keepalived.conf(5), `lb_algo`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address and a TCP port."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        """`192.0.2.10:21`, `[2001:db8::1]:21`."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """TCP ports from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        """How many ports."""
        return self.last - self.first + 1

    def __contains__(self, port: object) -> bool:
        """Whether a port lies in the range."""
        return isinstance(port, int) and self.first <= port <= self.last

    def __str__(self) -> str:
        """`10000-20000`, as in the cluster file."""
        return f"{self.first}-{self.last}"

    def cut(self, parts: int) -> tuple[PortRange, ...]:
        """Equal parts in order; the remainder at the end of the range belongs to none."""
        size = len(self) // parts
        return tuple(PortRange(self.first + i * size, self.first + (i + 1) * size - 1) for i in range(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the proxy engine waits for whom; the idle time stands with the virtual server."""

    connect_s: float = 5.0
    """One TCP connection to one real server: the first SYN and the two that follow it after 1 and 3 s."""
    greeting_s: float = 60.0
    """A real server's 220: servers that look up the client's name are slow to greet, and still work."""
    data_connection_s: float = 30.0
    """A data connection that never stands."""
    answer_s: float = 10.0
    """The director's own questions (EPSV, PASV, FEAT ...)."""
    login_s: float = 60.0
    """From the greeting to 230."""
    reply_s: float = 0.0
    """A command that the real server does not answer; 0: as long as it takes."""
    early_command_s: float = 1.0
    """A transfer command waits so long for its data connection, then it is sent."""
    upload_grace_s: float = 0.0005
    """Between a client's end of data and the real server's: is the client still there?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a real server is looked at, and how many looks change the verdict."""

    probe: ProbeKind = ProbeKind.BANNER
    user: str = "anonymous"
    password_file: str | None = None
    path: str | None = None
    interval_s: float = 6.0
    timeout_s: float = 3.0
    rise: int = 2
    fall: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A server that does the work."""

    name: str
    address: IPAddress
    port: int = 21
    weight: int = 1
    max_sessions: int = 0
    slice: int | None = None
    sorry: bool = False
    """It takes new sessions only while no other real server of its virtual server (and family, in the kernel) does."""
    server: ServerSoftware = ServerSoftware.OTHER

    @property
    def endpoint(self) -> Endpoint:
        """Where its control connection listens."""
        return Endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServer:
    """What clients connect to, and the real servers behind it; 0 means no limit for every `max_...`."""

    name: str
    addresses: tuple[IPAddress, ...]
    port: int = 21
    passive_ports: PortRange = PortRange(10000, 20000)
    slices: int = 16
    placement: Placement = Placement.SLICES
    forwarding: ForwardingMethod = ForwardingMethod.NAT
    scheduler: str = "wlc"
    persistence_timeout_s: float = 0.0
    persistence_granularity_v4: int = 32
    persistence_granularity_v6: int = 128
    firewall_mark: int = 21
    gateway_addresses: tuple[IPAddress, ...] = ()
    idle_timeout_s: float = 900.0
    max_sessions: int = 10000
    max_sessions_per_client: int = 50
    client_prefix_ipv6: int = CLIENT_PREFIX_IPV6
    """IPv6 addresses that share a prefix of so many bits are one client to `max_sessions_per_client` (proxy)."""
    proxy_protocol: ProxyProtocol = ProxyProtocol.OFF
    data_to_server: DataToServer = DataToServer.PASSIVE
    timeouts: Timeouts = Timeouts()
    health_check: HealthCheck = HealthCheck()
    real_servers: tuple[RealServer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Director:
    """One of the machines that balance."""

    name: str
    address: IPAddress
    priority: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Vrrp:
    """keepalived's numbers for the pair."""

    virtual_router_id: int = 51
    sync_id: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a kernel engine must know of the host."""

    external_interface: str | None = None
    internal_interface: str | None = None
    packet_filter: PacketFilter = PacketFilter.NFTABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole cluster file. `status_listen` is None when no status page is wanted."""

    engine: Engine = Engine.PROXY
    status_listen: Endpoint | None = None
    workers: int = 1
    transfer_log: str | None = None
    virtual_servers: tuple[VirtualServer, ...] = ()
    directors: tuple[Director, ...] = ()
    vrrp: Vrrp = field(default_factory=Vrrp)
    host: HostSettings = field(default_factory=HostSettings)
