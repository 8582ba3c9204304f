"""What a host may have of ours, known by its name: for a host whose state directory is lost.

Modules and kernel settings carry no name of ours: what they were before is lost with the state. This module knows no
command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ftpdirector.change.at_boot import rules_files, rules_links
from ftpdirector.change.keepalived import KEEPALIVED_FILE, KEEPALIVED_LINE, keepalived_service
from ftpdirector.change.setup import (
    CHAIN_PREFIX,
    TABLE,
    Folder,
    HostFile,
    HostSetup,
    IptablesChain,
    PacketFilterRules,
)
from ftpdirector.engines.ipvs.keepalived import TRACKS
from ftpdirector.failover.conntrackd import conntrackd_setup
from ftpdirector.host import files

_FILES: Final = (
    "/etc/modules-load.d/ftpdirector.conf",
    "/etc/modprobe.d/ftpdirector.conf",
    "/etc/sysctl.d/90-ftpdirector.conf",
    "/etc/tmpfiles.d/ftpdirector.conf",
    KEEPALIVED_FILE,
)
_CHAIN: Final = IptablesChain(table="nat", name=f"{CHAIN_PREFIX}-ANY", called_from="POSTROUTING", rules=())
_WANTED_BY: Final = ("multi-user.target", "keepalived.service")
_RULE_FILES: Final = ("etc/nftables.conf", "etc/sysconfig/nftables.conf")
_RULE_FOLDERS: Final = ("etc/nftables", "etc/nftables.d", "etc/sysconfig/nftables")


def named_setup() -> HostSetup:
    """Every resource that a director of any cluster may have put onto a host; their values mean nothing."""
    named = HostSetup(
        rules=PacketFilterRules(nft=f"table {TABLE} {{\n}}\n", iptables=(_CHAIN,), ip6tables=(_CHAIN,)),
        folders=(Folder(path=TRACKS, reason=""),),
        files=(*(HostFile(path=path, text="") for path in _FILES), *rules_files("", wanted_by=_WANTED_BY)),
        lines=(KEEPALIVED_LINE,),
        links=tuple(rules_links(wanted_by=_WANTED_BY)),
        services=(keepalived_service("it has read our file"),),
    )
    return named.with_part(conntrackd_setup(""))


def copies_of_our_table(root: Path) -> Iterator[str]:
    """Files of others that bring our table back when they are loaded (`nft list ruleset > /etc/nftables.conf`)."""
    for path in _rule_files(root):
        if f"table {TABLE} {{" in (files.read_text(path) or ""):
            yield (
                f"{path} has a copy of our table, which comes back whenever that file is loaded: take the block "
                f'"table {TABLE}" out of it'
            )


def _rule_files(root: Path) -> Sequence[Path]:
    found = [root / name for name in _RULE_FILES]
    for folder in _RULE_FOLDERS:
        found += sorted((root / folder).glob("*.nft"))
    return [path for path in found if path.is_file()]
