"""What a cluster is, as values: the cluster file after it was decoded, with every default filled in.

Each key of the cluster file is declared here, once: it is a field with a `Setting`, which says what the field's name,
type and default do not. `ftpdirector.config` decodes the file by these declarations; the JSON schema and the reference
page are printed from them.

Durations are seconds (`_s`), sizes bytes (`_bytes`). A value here is valid in itself; rules across values stand in
`ftpdirector.config.rules`. This module knows no file format, no engine and no operating system.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Final

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
    """How far one probe of a real server goes; each kind includes the ones before it."""

    CONNECT = "connect"
    BANNER = "banner"
    LOGIN = "login"
    LIST = "list"
    TRANSFER = "transfer"

    @property
    def logs_in(self) -> bool:
        """Whether it says a name and a password."""
        return self in (ProbeKind.LOGIN, ProbeKind.LIST, ProbeKind.TRANSFER)


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


ALL_ENGINES: Final = (Engine.PROXY, Engine.NFTABLES, Engine.IPVS)
KERNEL_ENGINES: Final = (Engine.NFTABLES, Engine.IPVS)
PROXY_ONLY: Final = (Engine.PROXY,)
IPVS_ONLY: Final = (Engine.IPVS,)

NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What a name may be: it stands in metrics, in file names and in rules of the packet filter."""
MOST_SESSIONS: Final = 10_000_000
_LONGEST_INTERFACE_NAME: Final = 15
"""IFNAMSIZ of linux/if.h without the final NUL."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What the cluster file says of a field, beside the field's own name, type and default.

    Bounds are in the field's unit. A table (a field that is a dataclass, or a tuple of them) needs no help.
    """

    help: str = ""
    _: KW_ONLY
    key: str = ""
    """As it is written in the file; "": the field's name without its unit."""
    engines: tuple[Engine, ...] = ALL_ENGINES
    """Who obeys it; the others ignore it, and `check` says so."""
    at_least: float | None = None
    more_than: float | None = None
    at_most: float | None = None
    shortest: int = 0
    longest: int | None = None
    """Characters of a text."""
    pattern: str = ""
    one_of: tuple[str, ...] = ()
    required: bool = False
    """It must stand in the file, though the program may build the value without it; a list has at least one."""
    default_depends: bool = False
    """The default depends on other keys, as the help says; the field's own default is not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long the proxy engine waits for whom; the idle time stands with the virtual server."""

    # A TCP connection: the first SYN and the two that follow it after 1 and 3 s.
    connect_s: Annotated[float, Setting("One TCP connection to one real server.", more_than=0)] = 5.0
    # Servers that look up the client's name are slow to greet, and still work.
    greeting_s: Annotated[float, Setting("A real server's 220.", more_than=0)] = 60.0
    data_connection_s: Annotated[float, Setting("A data connection that never stands.", more_than=0)] = 30.0
    answer_s: Annotated[float, Setting("The director's own questions: EPSV, PASV, FEAT ...", more_than=0)] = 10.0
    login_s: Annotated[float, Setting("From the greeting to 230.", more_than=0)] = 60.0
    reply_s: Annotated[float, Setting("A command that the real server does not answer; `0s`: as long as it takes.")] = (
        0.0
    )
    early_command_s: Annotated[
        float, Setting("A transfer command waits so long for its data connection, then it is sent.")
    ] = 1.0
    upload_grace_s: Annotated[
        float,
        Setting("Between a client's end of data and the real server's: is the client still there?", at_most=1),
    ] = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How a real server is probed, and how many probes change the verdict."""

    probe: Annotated[ProbeKind, Setting("How far one probe goes; each includes the ones before it.")] = ProbeKind.BANNER
    user: Annotated[str, Setting("Who logs in.", longest=255)] = "anonymous"
    password_file: Annotated[str | None, Setting("A file that holds the password; its first line counts.")] = None
    path: Annotated[
        str | None, Setting("The file that probe `transfer` reads, or the directory that `list` lists.")
    ] = None
    interval_s: Annotated[float, Setting("From one probe to the next.", at_least=1)] = 6.0
    timeout_s: Annotated[float, Setting("For one whole probe.", at_least=1)] = 3.0
    rise: Annotated[int, Setting("Successful probes that make a server up.", at_least=1, at_most=100)] = 2
    fall: Annotated[int, Setting("Failed probes that make it down.", at_least=1, at_most=100)] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """A server that does the work."""

    name: Annotated[str, Setting("Its name in every table and log.", pattern=NAME)]
    address: Annotated[IPAddress, Setting("Its IP address.")]
    port: Annotated[int, Setting("Its control port.", at_least=1, at_most=HIGHEST_PORT)] = 21
    weight: Annotated[
        int,
        Setting("Its capacity; 0: keeps its clients, gets no new ones.", at_least=0, at_most=HIGHEST_WEIGHT),
    ] = 1
    max_sessions: Annotated[int, Setting("Upper threshold; 0: none.", at_least=0, at_most=MOST_SESSIONS)] = 0
    slice: Annotated[
        int | None,
        Setting(
            "Pins its slot; else the first free one, in the order of the file.", at_least=0, engines=KERNEL_ENGINES
        ),
    ] = None
    # It takes new sessions only while no other real server of its virtual server (and family, in the kernel) does.
    sorry: Annotated[
        bool, Setting("The sorry server: gets new sessions only while no other real server takes any.")
    ] = False
    server: Annotated[ServerSoftware, Setting("Its software, for the files that we render.")] = ServerSoftware.OTHER

    @property
    def endpoint(self) -> Endpoint:
        """Where its control connection listens."""
        return Endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServer:
    """What clients connect to, and the real servers behind it; 0 means no limit for every `max_...`."""

    name: Annotated[str, Setting("Its name in every table and log.", pattern=NAME)]
    addresses: Annotated[
        tuple[IPAddress, ...],
        Setting("The virtual address, or a list: at most one IPv4 and one IPv6.", key="address"),
    ]
    port: Annotated[int, Setting("The control port.", at_least=1, at_most=HIGHEST_PORT)] = 21
    passive_ports: Annotated[PortRange, Setting("Ports for passive data connections.")] = PortRange(10000, 20000)
    slices: Annotated[
        int,
        Setting(
            "Equal slots that the range is cut into (placement `slices`).",
            at_least=1,
            at_most=1024,
            engines=KERNEL_ENGINES,
        ),
    ] = 16
    placement: Annotated[
        Placement, Setting("How a passive data connection finds its real server.", engines=KERNEL_ENGINES)
    ] = Placement.SLICES
    forwarding: Annotated[
        ForwardingMethod, Setting("How a kernel engine hands packets on.", engines=KERNEL_ENGINES)
    ] = ForwardingMethod.NAT
    scheduler: Annotated[str, Setting("Who gets the next client; names as in ipvsadm(8).", one_of=IPVS_SCHEDULERS)] = (
        "wlc"
    )
    persistence_timeout_s: Annotated[
        float,
        Setting(
            "How long a client network keeps its real server; 15m under placement `persistence`, else off.",
            default_depends=True,
        ),
    ] = 0.0
    persistence_granularity_v4: int = 32
    """The same key as that for IPv6: a prefix longer than an IPv4 address is meant for IPv6 only."""
    persistence_granularity_v6: Annotated[
        int,
        Setting(
            "Prefix length of a client network; 32 for IPv4, 128 for IPv6.",
            key="persistence_granularity",
            at_least=1,
            at_most=128,
            default_depends=True,
        ),
    ] = 128
    firewall_mark: Annotated[
        int,
        Setting(
            "The control service's mark; slices take free marks after it.",
            at_least=1,
            at_most=2**31 - 1,
            engines=IPVS_ONLY,
        ),
    ] = 21
    gateway_addresses: Annotated[
        tuple[IPAddress, ...],
        Setting(
            "nat: the real servers' gateway, a floating address inside.", key="gateway_address", engines=KERNEL_ENGINES
        ),
    ] = ()
    idle_timeout_s: Annotated[
        float,
        Setting(
            "For a control connection without commands and without data.",
            at_least=1,
            engines=(Engine.PROXY, Engine.NFTABLES),
        ),
    ] = 900.0
    max_sessions: Annotated[
        int,
        Setting(
            "Sessions at a time; 0: no limit.",
            at_least=0,
            at_most=MOST_SESSIONS,
            engines=(Engine.PROXY, Engine.NFTABLES),
        ),
    ] = 10000
    max_sessions_per_client: Annotated[
        int,
        Setting(
            "Sessions at a time of one client address; 0: no limit.",
            at_least=0,
            at_most=MOST_SESSIONS,
            engines=(Engine.PROXY, Engine.NFTABLES),
        ),
    ] = 50
    client_prefix_ipv6: Annotated[
        int,
        Setting(
            "IPv6 addresses with a prefix of so many bits in common are one client.",
            at_least=1,
            at_most=128,
            engines=PROXY_ONLY,
        ),
    ] = CLIENT_PREFIX_IPV6
    """To `max_sessions_per_client`: every host has a network of addresses."""
    proxy_protocol: Annotated[
        ProxyProtocol,
        Setting("Tell real servers who the client is, on the control connection.", engines=PROXY_ONLY),
    ] = ProxyProtocol.OFF
    data_to_server: Annotated[
        DataToServer,
        Setting("Who opens the data connection on the real servers' side.", engines=PROXY_ONLY),
    ] = DataToServer.PASSIVE
    timeouts: Annotated[Timeouts, Setting(engines=PROXY_ONLY)] = Timeouts()
    health_check: Annotated[HealthCheck, Setting()] = HealthCheck()
    real_servers: Annotated[
        tuple[RealServer, ...], Setting("The servers that do the work.", key="real_server", required=True)
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Director:
    """One of the machines that balance."""

    name: Annotated[str, Setting("Its name.", pattern=NAME)]
    address: Annotated[IPAddress, Setting("Its own address, by which a host knows which director it is.")]
    priority: Annotated[int, Setting("VRRP priority; the highest is the master.", at_least=1, at_most=254)] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Vrrp:
    """keepalived's numbers for the pair."""

    virtual_router_id: Annotated[int, Setting("VRRP's id in its network.", at_least=1, at_most=255)] = 51
    sync_id: Annotated[int, Setting("The IPVS sync daemon's id.", at_least=0, at_most=255, engines=IPVS_ONLY)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a kernel engine must know of the host."""

    external_interface: Annotated[
        str | None,
        Setting("The interface toward the clients.", shortest=1, longest=_LONGEST_INTERFACE_NAME),
    ] = None
    internal_interface: Annotated[
        str | None,
        Setting("The interface toward the real servers.", shortest=1, longest=_LONGEST_INTERFACE_NAME),
    ] = None
    packet_filter: Annotated[PacketFilter, Setting("What rules are written for.", engines=IPVS_ONLY)] = (
        PacketFilter.NFTABLES
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """The status page, `/metrics` and `/api/v1/...`."""

    listen: Annotated[Endpoint, Setting("Where the status page listens.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The whole cluster file. `status` is None when no status page is wanted."""

    engine: Annotated[Engine, Setting("Who moves the bytes.")] = Engine.PROXY
    workers: Annotated[int, Setting("Worker processes.", at_least=1, at_most=256, engines=PROXY_ONLY)] = 1
    transfer_log: Annotated[str | None, Setting("A file for one xferlog line a transfer.", engines=PROXY_ONLY)] = None
    status: Annotated[StatusPage | None, Setting()] = None
    virtual_servers: Annotated[
        tuple[VirtualServer, ...], Setting("What clients connect to.", key="virtual_server", required=True)
    ] = ()
    directors: Annotated[
        tuple[Director, ...], Setting("The directors of a cluster.", key="director", engines=KERNEL_ENGINES)
    ] = ()
    vrrp: Annotated[Vrrp, Setting(engines=KERNEL_ENGINES)] = field(default_factory=Vrrp)
    host: Annotated[HostSettings, Setting(engines=KERNEL_ENGINES)] = field(default_factory=HostSettings)

    @property
    def status_listen(self) -> Endpoint | None:
        """Where the status page listens, if there is one."""
        return self.status.listen if self.status else None
