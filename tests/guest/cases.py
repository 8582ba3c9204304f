"""Cluster files and real servers for the guest, each a case of `scenario`. This module starts nothing."""

from __future__ import annotations

from typing import Any

from ftpdirector.config.decode import decode
from ftpdirector.ftpd.host import SYSCTLS, host_of
from ftpdirector.ftpd.needs import Needs, needs_of
from ftpdirector.ftpd.settings import settings_of
from ftpdirector.model import ServerSoftware

PASSIVE = (10_000, 19_999)
SLOTS = 4
VIRTUAL = {4: "192.0.2.10", 6: "2001:db8:2::10"}
REAL = {4: ("198.51.100.11", "198.51.100.12"), 6: ("2001:db8:3::11", "2001:db8:3::12")}
NAMES = ("alpha", "bravo")
MODES = {4: ["PASV", "EPSV", "PORT", "EPRT"], 6: ["EPSV", "EPRT"]}

CLUSTER = """\
engine = "ipvs"
[host]
external_interface = "outside"
internal_interface = "inside"
packet_filter = "{packet_filter}"
[[virtual_server]]
name = "ftp"
address = "{address}"
port = {port}
placement = "{placement}"
forwarding = "{forwarding}"
scheduler = "rr"
passive_ports = "{first}-{last}"
slices = {slots}
{more}
[virtual_server.health_check]
interval = "1s"
"""
REAL_SERVER = """\
[[virtual_server.real_server]]
name = "{name}"
address = "{address}"
port = {port}
server = "{kind}"
"""


def case(
    name: str,
    *,
    placement: str = "slices",
    forwarding: str = "nat",
    version: int = 4,
    kind: str = "vsftpd",
    packet_filter: str = "nftables",
    port: int = 21,
    real_port: int | None = None,
    passive: tuple[int, int] = PASSIVE,
    more: str = "",
    before: str = "",
    **others: Any,
) -> dict[str, Any]:
    """One: a cluster file of two real servers, and what `render` says for each."""
    real_port = real_port or port
    text = CLUSTER.format(
        packet_filter=packet_filter, address=VIRTUAL[version], port=port, placement=placement, forwarding=forwarding,
        first=passive[0], last=passive[1], slots=SLOTS, more=more,
    )  # fmt: skip
    for server, address in zip(NAMES, REAL[version], strict=True):
        text += REAL_SERVER.format(name=server, address=address, port=real_port, kind=kind)
    cluster = decode(text, source=name)
    (virtual,) = cluster.virtual_servers
    needs = [needs_of(cluster, virtual, server) for server in virtual.real_servers]
    return {
        "name": name,
        "cluster": text,
        "version": version,
        "port": port,
        "modes": MODES[version],
        "sessions": 2,
        "services": 3 if placement == "slices" else 1,
        "servers": {one.server.name: {"kind": kind, "port": real_port, "settings": _words(one)} for one in needs},
        "before": _behind(needs) + before,
        **others,
    }


def _words(needs: Needs) -> list[str]:
    """What is rendered for this server, as `lab.guest.topology` gives it to the program; its port is known there."""
    rendered = {part.path.rpartition("/")[2]: part.text for part in settings_of(needs)}
    if needs.server.server is ServerSoftware.PURE_FTPD:
        # pure-ftpd-wrapper(8) makes these words of the files.
        words = ["-p", rendered["PassivePortRange"].strip().replace(" ", ":")]
        return [*words, "-P", rendered["ForcePassiveIP"].strip()] if "ForcePassiveIP" in rendered else words
    lines = "".join(rendered.values()).splitlines()
    return [line for line in lines if not line.startswith(("#", "Port ", "listen_port"))]


def _behind(all_needs: list[Needs]) -> str:
    """What is rendered for the real servers' hosts, carried out there."""
    script = ""
    for needs in all_needs:
        for part in host_of([needs]) if needs.is_direct else ():
            program = "sysctl -q -p -" if part.path == SYSCTLS else "sh -s"
            script += f"ip netns exec {needs.server.name} {program} <<'END'\n{part.text}END\n"
    return script


STATEFUL = """
nft -f - <<'X'
table inet wall {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        ip daddr 198.51.100.0/24 accept
        ip saddr 198.51.100.0/24 tcp sport 20 accept
    }
}
X
"""
NO_TIME_WAIT = """
for server in alpha bravo; do ip netns exec $server sysctl -qw net.ipv4.tcp_max_tw_buckets=0; done
"""
"""vsftpd cannot bind port 20 while a connection of Pure-FTPd from there is in TIME_WAIT."""
NO_LONGER_BEHIND = "for server in alpha bravo; do ip -netns $server link del ftpdirector; done"
THEIRS = """
mkdir -p /etc/keepalived
printf '# theirs\\nglobal_defs {\\n router_id theirs\\n}\\n' >/etc/keepalived/keepalived.conf
"""

NAT = [
    case("slices", again=True, before=THEIRS),
    case("slices-v6", version=6),
    case("slices-proftpd-iptables", kind="proftpd", packet_filter="iptables", again=True),
    case("slices-stateful-forward", before=STATEFUL, after="nft delete table inet wall"),
    case("slices-wide-range", passive=(1_024, 65_535)),
    case("slices-other-real-port", real_port=2_121),
    case("persistence-iptables", placement="persistence", packet_filter="iptables"),
    case("persistence-v6", placement="persistence", version=6, kind="proftpd"),
    case("slices-pure-ftpd", kind="pure-ftpd", before=NO_TIME_WAIT),
    case("helper", placement="helper"),
    case("helper-classic", placement="helper", more='persistence_timeout = "15m"', packet_filter="iptables"),
]
BEHIND_HELPER = case("slices-behind-helper")
"""Comes after helper-classic, whose persistence template holds the module for its 15 minutes."""
MODULE = [
    case("helper-other-port", placement="helper", port=2_121),
    case("helper-while-in-use", placement="helper", refused=True),
]
DIRECT = [
    case("dr-slices", forwarding="dr", direct=True, after=NO_LONGER_BEHIND),
    case("dr-slices-v6", forwarding="dr", version=6, direct=True, after=NO_LONGER_BEHIND),
    case(
        "dr-persistence-iptables",
        forwarding="dr",
        placement="persistence",
        packet_filter="iptables",
        direct=True,
        after=NO_LONGER_BEHIND,
    ),
    case("tun-slices", forwarding="tun", direct=True),
]
