"""Cluster files and real servers for the guest, each a case of `scenario`. This module starts nothing."""

from __future__ import annotations

from typing import Any

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
    **others: Any,
) -> dict[str, Any]:
    """One: a cluster file of two real servers, and what they must say for it (docs/reference/real-server-settings)."""
    real_port = real_port or port
    text = CLUSTER.format(
        packet_filter=packet_filter, address=VIRTUAL[version], port=port, placement=placement, forwarding=forwarding,
        first=passive[0], last=passive[1], slots=SLOTS, more=more,
    )  # fmt: skip
    for server, address in zip(NAMES, REAL[version], strict=True):
        text += REAL_SERVER.format(name=server, address=address, port=real_port, kind=kind)
    return {
        "name": name,
        "cluster": text,
        "version": version,
        "port": port,
        "modes": MODES[version],
        "sessions": 2,
        "services": 3 if placement == "slices" else 1,
        "servers": {
            server: {
                "kind": kind,
                "port": real_port,
                "settings": _settings(kind, slot, placement, forwarding, version, passive),
            }
            for slot, server in enumerate(NAMES)
        },
        **others,
    }


def _settings(
    kind: str, slot: int, placement: str, forwarding: str, version: int, passive: tuple[int, int]
) -> list[str]:
    size = (passive[1] - passive[0] + 1) // SLOTS
    first, last = (passive[0] + slot * size, passive[0] + (slot + 1) * size - 1) if placement == "slices" else passive
    announces = placement != "helper" and version == 4 and forwarding == "nat"
    match kind:
        case "vsftpd":
            lines = ["connect_from_port_20=YES"]
            if forwarding != "nat":
                # Active mode from port 20 is lost where answers bypass the director; from a port of the slice it works.
                if placement == "slices":
                    lines.append(f"ftp_data_port={first}")
                    first += 1
            elif announces:
                lines.append(f"pasv_address={VIRTUAL[4]}")
            return [*lines, f"pasv_min_port={first}", f"pasv_max_port={last}"]
        case "proftpd":
            lines = [f"PassivePorts {first} {last}"]
            return [*lines, f"MasqueradeAddress {VIRTUAL[4]}"] if announces else lines
        case _:
            words = ["-p", f"{first}:{last}"]
            return [*words, "-P", VIRTUAL[4]] if announces else words


BEHIND_DIRECT = """
for server in alpha bravo; do
    ip netns exec $server sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    ip -netns $server link add vip type dummy
    ip -netns $server addr add 192.0.2.10/32 dev vip
    ip -netns $server addr add 2001:db8:2::10/128 dev vip nodad
    ip -netns $server link set vip up
done
"""
"""Forwarding dr: a real server takes packets to the virtual address, and tells nobody on the wire that it has it."""
BEHIND_TUNNEL = """
for server in alpha bravo; do
    ip -netns $server link set tunl0 up
    ip -netns $server addr add 192.0.2.10/32 dev tunl0
    ip netns exec $server sysctl -qw net.ipv4.conf.tunl0.rp_filter=0 net.ipv4.conf.all.rp_filter=0
    ip netns exec $server sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
done
"""
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
NO_LONGER_BEHIND = "for server in alpha bravo; do ip -netns $server link del vip; done"
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
    case("dr-slices", forwarding="dr", direct=True, before=BEHIND_DIRECT, after=NO_LONGER_BEHIND),
    case("dr-slices-v6", forwarding="dr", version=6, direct=True, before=BEHIND_DIRECT, after=NO_LONGER_BEHIND),
    case(
        "dr-persistence-iptables",
        forwarding="dr",
        placement="persistence",
        packet_filter="iptables",
        direct=True,
        before=BEHIND_DIRECT,
        after=NO_LONGER_BEHIND,
    ),
    case("tun-slices", forwarding="tun", direct=True, before="modprobe ipip" + BEHIND_TUNNEL),
]
