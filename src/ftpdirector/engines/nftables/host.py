"""A cluster -> everything that a director's host needs beside the daemon: the table now and at boot, routing, VRRP.

Pure: the same file and the same verdicts give the same host. `ftpdirector.change` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ftpdirector.change.at_boot import forwarding_settings, kernel_files, rules_files, rules_links
from ftpdirector.change.keepalived import KEEPALIVED_FILE, KEEPALIVED_LINE, keepalived_service
from ftpdirector.change.setup import HostFile, HostSetup, Module, PacketFilterRules
from ftpdirector.engines.nftables.adoption import adopt
from ftpdirector.engines.nftables.compile import Compiler
from ftpdirector.engines.nftables.flows import flows_of
from ftpdirector.failover.conntrackd import carried
from ftpdirector.failover.vrrp import vrrp_lines
from ftpdirector.model import Cluster, Director, Placement, PortRange
from ftpdirector.nft.transaction import boot_file
from ftpdirector.wanted import Key, Offer, want

_ALONE: Final = ("multi-user.target",)
_ONE_OF_MORE: Final = ("multi-user.target", "keepalived.service")


def compile_host(cluster: Cluster, me: Director | None, *, listing: str | None = None) -> HostSetup:
    """What the host of director `me` is to have (None: the only director, whose addresses are set by hand).

    `listing` is our table as it stands: verdicts and drains in it are the daemon's, and stay. The file for the boot
    offers every real server.
    """
    compiler = Compiler(cluster)
    whole = want(cluster, {}, {}).offers
    wanted_by = _ALONE if me is None else _ONE_OF_MORE
    modules = tuple(_modules(cluster))
    versions: set[int] = {address.version for virtual in cluster.virtual_servers for address in virtual.addresses}
    sysctls = tuple(forwarding_settings(versions))
    setup = HostSetup(
        modules=modules,
        sysctls=sysctls,
        rules=PacketFilterRules(nft=boot_file(compiler.table(_now(compiler, listing) or whole))),
        files=(
            *kernel_files(modules, sysctls),
            *rules_files(boot_file(compiler.table(whole)), wanted_by=wanted_by),
            *(_keepalived(cluster, me) if me is not None else ()),
        ),
        lines=(KEEPALIVED_LINE,) if me is not None else (),
        links=tuple(rules_links(wanted_by=wanted_by)),
        services=(keepalived_service("it moves the floating addresses"),) if me is not None else (),
        ports=tuple(
            sorted(
                {
                    (ports.first, ports.last)
                    for virtual in cluster.virtual_servers
                    for ports in (PortRange(virtual.port, virtual.port), virtual.passive_ports)
                }
            )
        ),
        flows=flows_of(cluster),
    )
    return setup.with_part(carried(cluster, me, but=()))


def _now(compiler: Compiler, listing: str | None) -> Mapping[Key, Offer] | None:
    try:
        return adopt(listing, compiler).offers if listing is not None else None
    except ValueError:  # someone else's text in our name: made anew
        return None


def _modules(cluster: Cluster) -> Iterator[Module]:
    """What the rules need is loaded by the kernel with the rules; the helper's other half is not."""
    if any(virtual.placement is Placement.HELPER for virtual in cluster.virtual_servers):
        yield Module(name="nf_conntrack_ftp", reason="reads PASV and PORT; rules say of which connections")
        yield Module(name="nf_nat_ftp", reason="rewrites PASV and PORT")


def _keepalived(cluster: Cluster, me: Director) -> Iterator[HostFile]:
    lines = ["global_defs {", f"    router_id {me.name}", "}", *vrrp_lines(cluster, me)]
    yield HostFile(path=KEEPALIVED_FILE, text="\n".join(lines) + "\n", mode=0o640)
