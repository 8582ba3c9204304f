"""A cluster -> everything that a director's host needs for IPVS: modules, settings, packet filter, keepalived, boot.

Pure: the same file gives the same host. This module carries nothing out (`ftpdirector.change` does).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ftpdirector.change.at_boot import forwarding_settings, kernel_files, rules_files, rules_links
from ftpdirector.change.keepalived import KEEPALIVED_FILE, KEEPALIVED_LINE, keepalived_service
from ftpdirector.change.setup import Folder, HostFile, HostSetup, Module, PacketFilterRules, Sysctl
from ftpdirector.engines.ipvs.flows import flows_of
from ftpdirector.engines.ipvs.iptables import chains_of
from ftpdirector.engines.ipvs.keepalived import TRACKS, format_keepalived
from ftpdirector.engines.ipvs.nft import format_nft
from ftpdirector.engines.ipvs.rules import rules_of
from ftpdirector.failover.conntrackd import carried
from ftpdirector.model import Cluster, Director, ForwardingMethod, PacketFilter, Placement

_WANTED_BY: Final = ("multi-user.target", "keepalived.service")


def compile_host(cluster: Cluster, me: Director | None, *, probe: str = "") -> HostSetup:
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
            *(rules_files(text, wanted_by=_WANTED_BY) if by_nft else ()),
            HostFile(path=KEEPALIVED_FILE, text=format_keepalived(cluster, me, probe=probe), mode=0o640),
        ),
        lines=(KEEPALIVED_LINE,),
        services=(keepalived_service("it puts the virtual servers into IPVS"),),
        links=tuple(rules_links(wanted_by=_WANTED_BY)) if by_nft else (),
        marks=tuple(sorted({mark.mark for mark in rules.marks})),
        ports=tuple(sorted({(mark.ports.first, mark.ports.last) for mark in rules.marks})),
        flows=flows_of(cluster),
    )
    # Connections to virtual addresses are IPVS's, whose sync daemon carries them; active data connections are not.
    virtual = [address for virtual in cluster.virtual_servers for address in virtual.addresses]
    return setup.with_part(carried(cluster, me, but=virtual)) if rules.translations else setup


def _modules(cluster: Cluster) -> Iterator[Module]:
    yield Module(name="ip_vs", reason="IPVS")
    for scheduler in sorted({"rr", *(virtual.scheduler for virtual in cluster.virtual_servers)}):
        yield Module(name=f"ip_vs_{scheduler}", reason=f"scheduler {scheduler}")
    if any(virtual.forwarding is ForwardingMethod.NAT for virtual in cluster.virtual_servers):
        yield Module(name="nf_conntrack", reason="connections of NAT are tracked")
    helped = [virtual for virtual in cluster.virtual_servers if virtual.placement is Placement.HELPER]
    if helped:
        ports = sorted({virtual.port for virtual in helped})
        yield Module(
            name="ip_vs_ftp",
            reason="rewrites PASV and PORT; its ports are set when it is loaded, and only then",
            options=f"ports={','.join(map(str, ports))}",
        )
    if any(virtual.forwarding is ForwardingMethod.TUN for virtual in cluster.virtual_servers):
        yield Module(name="ipip", reason="forwarding tun")


def _without(cluster: Cluster) -> Iterator[Module]:
    """ip_vs_ftp takes the address in a 227 for the real server's: one that announces the virtual address is lost."""
    by_nat = [virtual for virtual in cluster.virtual_servers if virtual.forwarding is ForwardingMethod.NAT]
    if by_nat and all(virtual.placement is not Placement.HELPER for virtual in cluster.virtual_servers):
        yield Module(
            name="ip_vs_ftp",
            reason="would look for passive data connections at the virtual address that real servers announce",
        )


def _sysctls(cluster: Cluster) -> Iterator[Sysctl]:
    by_nat = [virtual for virtual in cluster.virtual_servers if virtual.forwarding is ForwardingMethod.NAT]
    yield from forwarding_settings({address.version for virtual in by_nat for address in virtual.addresses})
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
    yield from kernel_files(modules, sysctls, without=without)
    yield HostFile(
        path="/etc/tmpfiles.d/ftpdirector.conf",
        text=f"# Verdicts for keepalived; they outlive the daemon that writes them.\nd {TRACKS} 0755 - - -\n",
    )
