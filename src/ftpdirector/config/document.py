"""The cluster file as pydantic models: the shape of each table, its keys, their types and defaults.

The JSON schema and the reference page are made from these models too, so a key is described once. Rules across fields
stand in `rules`. This module knows no file and no wording of problems.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ftpdirector.model import (
    HIGHEST_PORT,
    HIGHEST_WEIGHT,
    DataToServer,
    Endpoint,
    Engine,
    ForwardingMethod,
    IPAddress,
    PacketFilter,
    Placement,
    PortRange,
    ProbeKind,
    ProxyProtocol,
    ServerSoftware,
)

_DURATION = re.compile(r"(\d{1,9})(us|ms|s|m|h|d)")
_UNITS_OF_A_SECOND = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_RANGE = re.compile(r"(\d{1,5})\s*-\s*(\d{1,5})")
_LONGEST_ADDRESS = 45
_LONGEST_ENDPOINT = 60


def parse_duration(value: object) -> float:
    """`500us`, `90s`, `15m`, `1h`, `1d` in seconds; anything else is a ValueError that says what would be right."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a duration as "90s", "15m" or "1h"')
    return float(int(match[1]) * _UNITS_OF_A_SECOND[match[2]])


def parse_address(value: object) -> IPAddress:
    """An IPv4 or IPv6 address; a name is refused, since it could mean another server tomorrow."""
    if not isinstance(value, str) or len(value) > _LONGEST_ADDRESS or "%" in value:
        raise ValueError('write an IP address in quotation marks, as "192.0.2.10" or "2001:db8:2::10"')
    try:
        return ip_address(value)
    except ValueError:
        raise ValueError('write an IP address, as "192.0.2.10" or "2001:db8:2::10"; names are not looked up') from None


def parse_addresses(value: object) -> tuple[IPAddress, ...]:
    """One address or a list of them."""
    if isinstance(value, list):
        return tuple(parse_address(one) for one in cast("list[object]", value))
    return (parse_address(value),)


def parse_port_range(value: object) -> PortRange:
    """`10000-20000`: both ends belong to it; ports below 1024 are not passive ports (RFC 2577 section 3)."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a range of ports as "10000-20000"')
    first, last = int(match[1]), int(match[2])
    if not 1024 <= first <= last <= HIGHEST_PORT:
        raise ValueError("write a range from 1024 to 65535, the lower port first")
    return PortRange(first, last)


def parse_endpoint(value: object) -> Endpoint:
    """`127.0.0.1:8021`, `[::1]:8021`."""
    if not isinstance(value, str) or len(value) > _LONGEST_ENDPOINT:
        raise ValueError('write an address and a port, as "127.0.0.1:8021"')
    host, _, port = value.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= len(str(HIGHEST_PORT)) and int(port) <= HIGHEST_PORT):
        raise ValueError('write an address and a port, as "127.0.0.1:8021" or "[::1]:8021"')
    return Endpoint(parse_address(host.removeprefix("[").removesuffix("]")), int(port))


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=str)]
Address = Annotated[IPAddress, BeforeValidator(parse_address, json_schema_input_type=str)]
Addresses = Annotated[
    tuple[IPAddress, ...], BeforeValidator(parse_addresses, json_schema_input_type=str | list[str]), Field(min_length=1)
]
Ports = Annotated[PortRange, BeforeValidator(parse_port_range, json_schema_input_type=str)]
EndpointText = Annotated[Endpoint, BeforeValidator(parse_endpoint, json_schema_input_type=str)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Port = Annotated[int, Field(strict=True, ge=1, le=HIGHEST_PORT)]
Limit = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]
SchedulerName = Literal[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "fo", "ovf", "sed", "nq", "twos"
]  # fmt: skip


class Table(BaseModel):
    """Any table of the file: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class StatusTable(Table):
    """The status page, `/metrics` and `/api/v1/...`."""

    listen: EndpointText = Field(description="Where the status page listens.")


class HealthCheckTable(Table):
    """How a real server is looked at."""

    probe: ProbeKind = Field(ProbeKind.BANNER, description="How far one look goes; each includes the ones before it.")
    user: str = Field("anonymous", max_length=255, description="Who logs in.")
    password_file: str | None = Field(None, description="A file that holds the password; its first line counts.")
    path: str | None = Field(
        None, description="The file that probe `transfer` reads, or the directory that `list` lists."
    )
    interval: Duration = Field(6.0, description="From one look to the next.", ge=1)
    timeout: Duration = Field(3.0, description="For one whole look.", ge=1)
    rise: Annotated[int, Field(strict=True)] = Field(2, ge=1, le=100, description="Good looks that make a server up.")
    fall: Annotated[int, Field(strict=True)] = Field(3, ge=1, le=100, description="Bad looks that make it down.")


class RealServerTable(Table):
    """A server that does the work."""

    name: Name = Field(description="Its name in every table and log.")
    address: Address = Field(description="Its IP address.")
    port: Port = Field(21, description="Its control port.")
    weight: Annotated[int, Field(strict=True)] = Field(
        1, ge=0, le=HIGHEST_WEIGHT, description="Its capacity; 0: keeps its clients, gets no new ones."
    )
    max_sessions: Limit = Field(0, description="Upper threshold; 0: none.")
    slice: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        None, description="Pins its slot; else the first free one, in the order of the file."
    )
    sorry: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="The sorry server: gets new sessions only while no other real server takes any."
    )
    server: ServerSoftware = Field(ServerSoftware.OTHER, description="Its software, for the files that we render.")


class TimeoutsTable(Table):
    """How long the proxy engine waits for whom."""

    connect: Duration = Field(5.0, gt=0, description="One TCP connection to one real server.")
    greeting: Duration = Field(60.0, gt=0, description="A real server's 220.")
    data_connection: Duration = Field(30.0, gt=0, description="A data connection that never stands.")
    answer: Duration = Field(10.0, gt=0, description="The director's own questions: EPSV, PASV, FEAT ...")
    login: Duration = Field(60.0, gt=0, description="From the greeting to 230.")
    reply: Duration = Field(
        0.0, description="A command that the real server does not answer; `0s`: as long as it takes."
    )
    early_command: Duration = Field(
        1.0, description="A transfer command waits so long for its data connection, then it is sent."
    )
    upload_grace: Duration = Field(
        0.0005, le=1, description="Between a client's end of data and the real server's: is the client still there?"
    )


class VirtualServerTable(Table):
    """What clients connect to."""

    name: Name = Field(description="Its name in every table and log.")
    address: Addresses = Field(description="The virtual address, or a list: at most one IPv4 and one IPv6.")
    port: Port = Field(21, description="The control port.")
    passive_ports: Ports = Field(PortRange(10000, 20000), description="Ports for passive data connections.")
    slices: Annotated[int, Field(strict=True)] = Field(
        16, ge=1, le=1024, description="Equal slots that the range is cut into (placement `slices`)."
    )
    placement: Placement = Field(
        Placement.SLICES, description="How a passive data connection finds its real server (kernel engines)."
    )
    forwarding: ForwardingMethod = Field(ForwardingMethod.NAT, description="How a kernel engine hands packets on.")
    scheduler: SchedulerName = Field("wlc", description="Who gets the next client; names as in ipvsadm(8).")
    persistence_timeout: Duration | None = Field(
        None,
        description="How long a client network keeps its real server; 15m under placement `persistence`, else off.",
    )
    persistence_granularity: Annotated[int, Field(strict=True, ge=1, le=128)] | None = Field(
        None, description="Prefix length of a client network; 32 for IPv4, 128 for IPv6."
    )
    firewall_mark: Annotated[int, Field(strict=True)] = Field(
        21, ge=1, le=2**31 - 1, description="ipvs: the control service's mark; slices take free marks after it."
    )
    gateway_address: Addresses | None = Field(
        None, description="nat: the real servers' gateway, a floating address inside."
    )
    idle_timeout: Duration = Field(
        900.0, ge=1, description="For a control connection without commands and without data."
    )
    max_sessions: Limit = Field(10000, description="Sessions at a time; 0: no limit.")
    max_sessions_per_client: Limit = Field(50, description="Sessions at a time of one client address; 0: no limit.")
    client_prefix_ipv6: Annotated[int, Field(strict=True)] = Field(
        64, ge=1, le=128, description="proxy: IPv6 addresses with a prefix of so many bits in common are one client."
    )
    proxy_protocol: ProxyProtocol = Field(
        ProxyProtocol.OFF, description="proxy: tell real servers who the client is, on the control connection."
    )
    data_to_server: DataToServer = Field(
        DataToServer.PASSIVE, description="proxy: who opens the data connection on the real servers' side."
    )
    timeouts: TimeoutsTable = Field(default_factory=lambda: TimeoutsTable.model_validate({}))
    health_check: HealthCheckTable = Field(default_factory=lambda: HealthCheckTable.model_validate({}))
    real_server: list[RealServerTable] = Field(min_length=1, description="The servers that do the work.")


class DirectorTable(Table):
    """One of the machines that balance."""

    name: Name = Field(description="Its name.")
    address: Address = Field(description="Its own address, by which a host knows which director it is.")
    priority: Annotated[int, Field(strict=True)] = Field(
        100, ge=1, le=254, description="VRRP priority; the highest is the master."
    )


class VrrpTable(Table):
    """keepalived's numbers for a pair."""

    virtual_router_id: Annotated[int, Field(strict=True)] = Field(
        51, ge=1, le=255, description="VRRP's id in its network."
    )
    sync_id: Annotated[int, Field(strict=True)] = Field(1, ge=0, le=255, description="The IPVS sync daemon's id.")


class HostTable(Table):
    """What a kernel engine must know of the host."""

    external_interface: Annotated[str, Field(min_length=1, max_length=15)] | None = Field(
        None, description="The interface toward the clients."
    )
    internal_interface: Annotated[str, Field(min_length=1, max_length=15)] | None = Field(
        None, description="The interface toward the real servers."
    )
    packet_filter: PacketFilter = Field(PacketFilter.NFTABLES, description="What rules are written for.")


class Document(Table):
    """The whole cluster file."""

    engine: Engine = Field(Engine.PROXY, description="Who moves the bytes.")
    workers: Annotated[int, Field(strict=True)] = Field(1, ge=1, le=256, description="proxy: worker processes.")
    transfer_log: str | None = Field(None, description="proxy: a file for one xferlog line a transfer.")
    status: StatusTable | None = None
    virtual_server: list[VirtualServerTable] = Field(min_length=1, description="What clients connect to.")
    director: list[DirectorTable] = Field(
        default_factory=list[DirectorTable], description="The directors of a cluster."
    )
    vrrp: VrrpTable = Field(default_factory=lambda: VrrpTable.model_validate({}))
    host: HostTable = Field(default_factory=lambda: HostTable.model_validate({}))
