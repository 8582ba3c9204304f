"""A cluster -> everything that a director's host needs for IPVS: modules, settings, packet filter, keepalived, boot.

Pure: the same file gives the same host. This module carries nothing out (`ftpdirector.change` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ftpdirector.change.setup import Folder, HostFile, HostSetup, Line, Link, Module, PacketFilterRules, Service, Sysctl
from ftpdirector.engines.ipvs.iptables import chains_of
from ftpdirector.engines.ipvs.keepalived import TRACKS, format_keepalived
from ftpdirector.engines.ipvs.nft import format_nft
from ftpdirector.engines.ipvs.rules import rules_of
from ftpdirector.failover.conntrackd import carried
from ftpdirector.model import Cluster, Director, ForwardingMethod, PacketFilter, Placement

_KEEPALIVED_MAIN: Final = "/etc/keepalived/keepalived.conf"
KEEPALIVED_FILE: Final = "/etc/keepalived/ftpdirector.conf"
RULES_FILE: Final = "/etc/ftpdirector/ftpdirector.nft"
RULES_UNIT: Final = "ftpdirector-rules.service"

_UNIT: Final = f"""\
[Unit]
Description=Packet filter rules of ftpdirector
Documentation=man:nft(8)
# A flush by another service's start comes first; the network comes after.
After=nftables.service firewalld.service
Before=network-pre.target keepalived.service
Wants=network-pre.target
DefaultDependencies=no

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f {RULES_FILE}
ExecReload=nft -f {RULES_FILE}

[Install]
WantedBy=multi-user.target keepalived.service
"""


def compile_host(cluster: Cluster, me: Director | None) -> HostSetup:
    """What the host of director `me` is to have (None: the only director, whose addresses are set by hand)."""
    rules = rules_of(cluster)
    modules, without = tuple(_modules(cluster)), tuple(_without(cluster))
    sysctls = tuple(_sysctls(cluster))
    by_nft = cluster.host.packet_filter is PacketFilter.NFTABLES
    text = format_nft(rules)
    setup = HostSetup(
        modules=modules,
        without=without,
        sysctls=sysctls,
        rules=PacketFilterRules(nft=text)
        if by_nft
        else PacketFilterRules(iptables=chains_of(rules, version=4), ip6tables=chains_of(rules, version=6)),
        folders=(Folder(path=TRACKS, reason="verdicts for keepalived"),),
        files=(
            *_boot_files(modules, without, sysctls),
            *((HostFile(path=RULES_FILE, text=text), HostFile(path=_unit_path(), text=_UNIT)) if by_nft else ()),
            HostFile(path=KEEPALIVED_FILE, text=format_keepalived(cluster, me), mode=0o640),
        ),
        lines=(
            Line(
                path=_KEEPALIVED_MAIN,
                line=f"include {KEEPALIVED_FILE}",
                reason="keepalived reads our file beside its own",
            ),
        ),
        services=(
            Service(
                unit="keepalived.service",
                program=("keepalived", f"--use-file={_KEEPALIVED_MAIN}"),
                main_file=_KEEPALIVED_MAIN,
                reads=(KEEPALIVED_FILE,),
                test=("keepalived", "--config-test", f"--use-file={_KEEPALIVED_MAIN}"),
                pid_file="/run/keepalived.pid",
                reason="it puts the virtual servers into IPVS",
            ),
        ),
        links=tuple(_enabled()) if by_nft else (),
        marks=tuple(sorted({mark.mark for mark in rules.marks})),
        ports=tuple(sorted({(mark.ports.first, mark.ports.last) for mark in rules.marks})),
    )
    # Connections to virtual addresses are IPVS's, whose sync daemon carries them; active data connections are not.
    virtual = [address for one in cluster.virtual_servers for address in one.addresses]
    return setup.with_part(carried(cluster, me, but=virtual)) if rules.translations else setup


def _enabled() -> Iterator[Link]:
    for wants in ("multi-user.target.wants", "keepalived.service.wants"):
        yield Link(
            path=f"/etc/systemd/system/{wants}/{RULES_UNIT}",
            to=_unit_path(),
            reason="the rules are loaded at boot, before keepalived",
        )


def _unit_path() -> str:
    return f"/etc/systemd/system/{RULES_UNIT}"


def _modules(cluster: Cluster) -> Iterator[Module]:
    yield Module(name="ip_vs", reason="IPVS")
    for scheduler in sorted({"rr", *(one.scheduler for one in cluster.virtual_servers)}):
        yield Module(name=f"ip_vs_{scheduler}", reason=f"scheduler {scheduler}")
    if any(one.forwarding is ForwardingMethod.NAT for one in cluster.virtual_servers):
        yield Module(name="nf_conntrack", reason="connections of NAT are tracked")
    helped = [one for one in cluster.virtual_servers if one.placement is Placement.HELPER]
    if helped:
        ports = sorted({one.port for one in helped})
        yield Module(
            name="ip_vs_ftp",
            reason="rewrites PASV and PORT; its ports are set when it is loaded, and only then",
            options=f"ports={','.join(map(str, ports))}",
        )
    if any(one.forwarding is ForwardingMethod.TUN for one in cluster.virtual_servers):
        yield Module(name="ipip", reason="forwarding tun")


def _without(cluster: Cluster) -> Iterator[Module]:
    """ip_vs_ftp takes the address in a 227 for the real server's: one that announces the virtual address is lost."""
    by_nat = [one for one in cluster.virtual_servers if one.forwarding is ForwardingMethod.NAT]
    if by_nat and all(one.placement is not Placement.HELPER for one in cluster.virtual_servers):
        yield Module(
            name="ip_vs_ftp",
            reason="would look for passive data connections at the virtual address that real servers announce",
        )


def _sysctls(cluster: Cluster) -> Iterator[Sysctl]:
    by_nat = [one for one in cluster.virtual_servers if one.forwarding is ForwardingMethod.NAT]
    versions = {address.version for one in by_nat for address in one.addresses}
    if 4 in versions:
        yield Sysctl(key="net.ipv4.ip_forward", value="1", reason="real servers answer through the director")
    if 6 in versions:
        yield Sysctl(key="net.ipv6.conf.all.forwarding", value="1", reason="real servers answer through the director")
    if by_nat:
        yield Sysctl(
            key="net.ipv4.vs.conntrack",
            value="1",
            reason="a stateful FORWARD chain would drop the control connection as invalid otherwise",
        )
    yield Sysctl(
        key="net.ipv4.vs.expire_nodest_conn",
        value="1",
        reason="connections to a server that left the file end at once instead of hanging",
    )
    yield Sysctl(
        key="net.ipv4.vs.expire_quiescent_template",
        value="1",
        reason="persistence does not lead new sessions to a server that failed",
    )


def _boot_files(
    modules: tuple[Module, ...], without: tuple[Module, ...], sysctls: tuple[Sysctl, ...]
) -> Iterator[HostFile]:
    loads = "".join(f"# {one.reason}\n{one.name}\n" for one in modules)
    yield HostFile(path="/etc/modules-load.d/ftpdirector.conf", text=loads)
    options = "".join(f"# {one.reason}\noptions {one.name} {one.options}\n" for one in modules if one.options)
    # systemd-modules-load(8) heeds this, so that a line left in another file loads nothing.
    options += "".join(f"# {one.reason}\nblacklist {one.name}\n" for one in without)
    if options:
        yield HostFile(path="/etc/modprobe.d/ftpdirector.conf", text=options)
    settings = "".join(f"# {one.reason}\n{one.key} = {one.value}\n" for one in sysctls)
    yield HostFile(path="/etc/sysctl.d/90-ftpdirector.conf", text=settings)
    yield HostFile(
        path="/etc/tmpfiles.d/ftpdirector.conf",
        text=f"# Verdicts for keepalived; they outlive the daemon that writes them.\nd {TRACKS} 0755 - - -\n",
    )
