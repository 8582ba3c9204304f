"""A cluster -> keepalived.conf: IPVS services by firewall mark, verdicts by track file, floating addresses.

Each line says why it is there. This module knows no packet filter; keepalived.conf(5) is its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from ftpdirector.failover.vrrp import inside_interface, vrrp_lines
from ftpdirector.model import Cluster, Director, ForwardingMethod, Placement, ProbeKind, RealServer, VirtualServer
from ftpdirector.slices import assign, groups_of, slice_marks

TRACKS = "/run/ftpdirector-tracks"
"""Where `ftpdirector run` writes the verdicts. Apart from its runtime directory, which ends with it: keepalived goes on
with the last verdict."""
_LONGEST_TRANSFER_S = 86400
_FINISHING_S = 120
_LOGS_IN = (ProbeKind.LOGIN, ProbeKind.LIST, ProbeKind.TRANSFER)


def track_name(virtual: VirtualServer, server: RealServer) -> str:
    """The name of the verdict that keepalived follows, and of its file below TRACKS."""
    return f"{virtual.name}_{server.name}"


def format_keepalived(cluster: Cluster, me: Director | None, *, probe: str = "") -> str:
    """The whole file, for this director of the cluster; None where there is but one host and no floating address.

    `probe`, the path of this program, has keepalived look by it each time: for hosts without `ftpdirector run`.
    """
    return "\n".join(_file(cluster, me, probe)) + "\n"


def _file(cluster: Cluster, me: Director | None, probe: str) -> Iterator[str]:
    yield from _globals(cluster, me)
    if me is not None:
        yield from vrrp_lines(cluster, me)
    for virtual in cluster.virtual_servers if not probe else ():
        for server in virtual.real_servers:
            if not server.sorry:
                yield from _track(virtual, server)
    marks = slice_marks(cluster)
    for virtual in cluster.virtual_servers:
        for version in sorted({address.version for address in virtual.addresses}):
            yield from _control_service(virtual, version, probe)
    for group, virtuals in groups_of(cluster).items():
        if virtuals[0].placement is Placement.SLICES:
            for assigned in assign(virtuals):
                yield from _slice_service(
                    virtuals[0], marks[group][assigned.slot], assigned.server, f"{assigned.slot}, {assigned.ports}"
                )


def _globals(cluster: Cluster, me: Director | None) -> Iterator[str]:
    yield "global_defs {"
    if me is not None:
        yield f"    router_id {me.name}"
    yield "    # A control connection idles while its transfer lasts: the kernel would forget it after 900 s."
    yield f"    lvs_timeouts tcp {_LONGEST_TRANSFER_S} tcpfin {_FINISHING_S}"
    if me is not None and len(cluster.directors) > 1:
        yield "    # The other director learns of each connection, so that it can go on with them."
        yield f"    lvs_sync_daemon {inside_interface(cluster)} outside id {cluster.vrrp.sync_id}"
    yield "}"


def _track(virtual: VirtualServer, server: RealServer) -> Iterator[str]:
    name = track_name(virtual, server)
    yield f"track_file {name} {{"
    yield f"    file {TRACKS}/{name}"
    yield "    # 0: takes new sessions; anything else: none, but keeps those that it has."
    yield "    weight 0"
    yield "    init_file 0"
    yield "}"


def _control_service(virtual: VirtualServer, version: int, probe: str) -> Iterator[str]:
    servers = [server for server in virtual.real_servers if server.address.version == version]
    if not servers:
        return
    yield f"# {virtual.name}: control connections, IPv{version}"
    yield f"virtual_server fwmark {virtual.firewall_mark} {{"
    yield from _head(virtual, virtual.scheduler)
    yield from _persistence(virtual, version)
    for server in servers:
        yield from _sorry_server(virtual, server) if server.sorry else _real_server(virtual, server, probe)
    yield "}"


def _head(virtual: VirtualServer, scheduler: str) -> Iterator[str]:
    yield f"    lb_algo {scheduler}"
    yield f"    lb_kind {_kind(virtual.forwarding)}"


def _kind(method: ForwardingMethod) -> str:
    match method:
        case ForwardingMethod.NAT | ForwardingMethod.FULLNAT:
            return "NAT"
        case ForwardingMethod.DR:
            return "DR"
        case ForwardingMethod.TUN:
            return "TUN"


def _persistence(virtual: VirtualServer, version: int) -> Iterator[str]:
    if not virtual.persistence_timeout_s:
        return
    yield "    # A client network keeps its real server for this long after its last connection."
    yield f"    persistence_timeout {max(1, round(virtual.persistence_timeout_s))}"
    if version == 4 and virtual.persistence_granularity_v4 != 32:
        mask = IPv4Network((0, virtual.persistence_granularity_v4)).netmask
        yield f"    persistence_granularity {mask}"
    if version == 6 and virtual.persistence_granularity_v6 != 128:
        yield f"    persistence_granularity {virtual.persistence_granularity_v6}"


def _real_server(virtual: VirtualServer, server: RealServer, probe: str) -> Iterator[str]:
    check = virtual.health_check
    yield f"    # {server.name}"
    yield f"    real_server {server.address} {_port(virtual, server)} {{"
    yield f"        weight {server.weight}"
    if server.max_sessions:
        yield f"        uthreshold {server.max_sessions}"
    yield "        # A server that fails keeps what it holds: weight 0, not removed."
    yield "        inhibit_on_failure"
    yield from _look(virtual, server, probe) if probe else _verdict(virtual, server)
    yield "        # The floor, with nobody else there to look."
    yield "        TCP_CHECK {"
    yield f"            connect_port {server.port}"
    yield f"            connect_timeout {max(1, round(check.timeout_s))}"
    yield f"            retry {max(0, check.fall - 1)}"
    yield f"            delay_loop {max(1, round(check.interval_s))}"
    yield "        }"
    yield "    }"


def _sorry_server(virtual: VirtualServer, server: RealServer) -> Iterator[str]:
    yield f"    # {server.name}: new sessions while no other one takes any."
    yield "    # With a quorum above 1, keepalived would take away servers that are up, and their sessions with them."
    yield "    quorum 1"
    yield f"    sorry_server {server.address} {_port(virtual, server)}"
    yield "    # It keeps its sessions when the others are back: weight 0, not removed."
    yield "    sorry_server_inhibit"


def _port(virtual: VirtualServer, server: RealServer) -> int:
    # Forwarding dr and tun hand packets on as they come.
    return server.port if virtual.forwarding is ForwardingMethod.NAT else 0


def _verdict(virtual: VirtualServer, server: RealServer) -> Iterator[str]:
    yield "        # The verdict of `ftpdirector run`."
    yield "        FILE_CHECK {"
    yield f"            track_file {track_name(virtual, server)}"
    yield "        }"


def _look(virtual: VirtualServer, server: RealServer, probe: str) -> Iterator[str]:
    check = virtual.health_check
    words = [probe, "probe", str(server.endpoint), "--probe", check.probe.value, "--timeout", f"{check.timeout_s:g}s"]
    if check.probe in _LOGS_IN:
        words += ["--user", check.user]
    if check.password_file is not None:
        words += ["--password-file", str(check.password_file)]
    if check.path is not None:
        words += ["--path", check.path]
    yield "        # A look by a process of its own, each time: 0 up, 1 anything else."
    yield "        MISC_CHECK {"
    yield f'            misc_path "{" ".join(words)}"'
    yield f"            misc_timeout {max(1, round(check.timeout_s)) + 1}"
    yield f"            user {'root' if check.password_file is not None else 'nobody'}"
    yield f"            retry {max(0, check.fall - 1)}"
    yield f"            delay_loop {max(1, round(check.interval_s))}"
    yield "        }"


def _slice_service(virtual: VirtualServer, mark: int, server: RealServer, what: str) -> Iterator[str]:
    yield f"# slice {what}: one server, whatever its verdict: a session that it holds opens its data connections"
    yield f"virtual_server fwmark {mark} {{"
    yield from _head(virtual, "rr")
    yield "    # Port 0: the port that the client asked for, which the server announced."
    yield f"    real_server {server.address} 0 {{"
    yield "        weight 1"
    yield "    }"
    yield "}"
