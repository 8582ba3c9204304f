"""Configurations of IPVS as an administrator writes them by hand, as values that a guest carries out.

A recipe has vsftpd's settings, packet filter rules, IPVS services and sysctls; `tests.guest.recipes` carries it out and
returns what the strict client saw, and `outcome` puts that into one word. This module knows not what is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from lab.guest.topology import SERVERS, VIRTUAL

MODES = ("PASV", "EPSV", "PORT", "EPRT")
EXTENDED = ("EPSV", "EPRT")
"""IPv6 has these only (RFC 2428)."""
FIRST, MIDDLE, LAST = 10_000, 15_000, 20_000

YES = "yes"
REAL_ADDRESS = "the 227 names a real server, which the client cannot reach"
TIME_OUT = "time-out"
WRONG_SERVER = "refused by the other real server"
BY_DIRECTOR = "refused by the director, which has no service there"
NO_TRANSFER = "the data connection stands, but nothing comes"
NO_CONTROL = "no control connection: "

REAL = ip_network("198.51.100.0/24")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A configuration by hand.

    `settings` are vsftpd's lines, by real server, and `port` where it listens; `hangs` are the modes that are said to
    time out, for which the client waits 3 s and not 20; `steps` name what is done instead of a transfer in each mode.
    """

    name: str
    settings: Mapping[str, list[str]]
    services: list[str]
    nft: str = ""
    iptables: Sequence[str] = ()
    sysctls: Mapping[str, int] = field(default_factory=dict[str, int])
    ip_vs_ftp: bool = False
    version: int = 4
    port: int = 21
    modes: Sequence[str] = MODES
    hangs: Sequence[str] = ()
    steps: str = ""


def servers(*lines: str, port_20: bool = True, sliced: bool = False) -> dict[str, list[str]]:
    """vsftpd's settings on both real servers; `sliced` cuts the passive range in two."""
    ranges = ((FIRST, MIDDLE - 1), (MIDDLE, LAST - 1)) if sliced else ((FIRST, LAST), (FIRST, LAST))
    return {
        name: [
            f"pasv_min_port={first}",
            f"pasv_max_port={last}",
            f"connect_from_port_20={'YES' if port_20 else 'NO'}",
            *lines,
        ]
        for name, (first, last) in zip(SERVERS, ranges, strict=True)
    }


def table(*chains: str, version: int = 4) -> str:
    return "\n".join((f"table {'ip' if version == 4 else 'ip6'} manual {{", *chains, "}"))


def marks(*ports: str, version: int = 4, by_port: Mapping[str, int] | None = None) -> str:
    """Firewall mark 21 on these ports of the virtual address, or each port's own."""
    to = f"{'ip' if version == 4 else 'ip6'} daddr {VIRTUAL[version]} tcp dport"
    rules = [f"{to} {{ {', '.join(ports)} }} meta mark set 21"] if ports else []
    rules += [f"{to} {port} meta mark set {mark}" for port, mark in (by_port or {}).items()]
    return "\n".join(("chain marks { type filter hook prerouting priority mangle;", *rules, "}"))


def service(
    key: str, *flags: str, port: int = 0, version: int = 4, names: tuple[str, ...] = tuple(SERVERS)
) -> list[str]:
    """An IPVS service and its real servers, as ipvsadm reads them; port 0 is the port that the client asked for."""
    six = " -6" if version == 6 and key.startswith("-f") else ""
    address = {name: f"[{SERVERS[name][6]}]" if version == 6 else SERVERS[name][4] for name in names}
    return [
        f"-A {key}{six} -s rr {' '.join(flags)}",
        *(f"-a {key}{six} -r {address[name]}:{port} -m -w 1" for name in names),
    ]


RANGE = f"{FIRST}-{LAST}"
PLAIN = servers()
ANNOUNCED = f"pasv_address={VIRTUAL[4]}"
BOTH = marks("21", RANGE)
PERSISTENT = service("-f 21", "-p 300")
NOT_PERSISTENT = service("-f 21")
BY_PORT_21 = service(f"-t {VIRTUAL[4]}:21", port=21)
SNAT = f"""
chain active {{ type nat hook postrouting priority srcnat;
ip saddr 198.51.100.0/24 oifname "outside" snat to {VIRTUAL[4]}
}}"""
MASQUERADE = """
chain active { type nat hook postrouting priority srcnat;
ip saddr 198.51.100.0/24 oifname "outside" tcp sport 20 masquerade
}"""
CT_STATE = "chain state { type filter hook forward priority filter;\nct state established,related accept\n}"
M_CONNTRACK = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
CT_HELPER = f"""
ct helper ftp {{ type "ftp" protocol tcp; }}
chain helper {{ type filter hook prerouting priority filter;
ip daddr {VIRTUAL[4]} tcp dport 21 ct helper set "ftp"
}}"""


def sliced(name: str, *chains: str, version: int = 4, port: int = 21, slice_port: int = 0) -> Recipe:
    """One mark for the control port on both servers, one a slice on its server; nothing persistent, no helper."""
    family, real = ("ip", "198.51.100.0/24") if version == 4 else ("ip6", "2001:db8:3::/64")
    snat = (
        f'chain active {{ type nat hook postrouting priority srcnat;\n{family} saddr {real} oifname "outside" '
        f"tcp sport 20 snat to {VIRTUAL[version]}\n}}"
    )
    by_port = {"21": 21, f"{FIRST}-{MIDDLE - 1}": 211, f"{MIDDLE}-{LAST - 1}": 212}
    return Recipe(
        name=name,
        settings=servers(*([ANNOUNCED] if version == 4 else []), sliced=True),
        nft=table(marks(version=version, by_port=by_port), snat, *chains, version=version),
        services=[
            *service("-f 21", version=version, port=port),
            *service("-f 211", version=version, port=slice_port, names=("alpha",)),
            *service("-f 212", version=version, port=slice_port, names=("bravo",)),
        ],
        version=version,
        port=port,
        modes=MODES if version == 4 else EXTENDED,
    )


def helped(name: str, *chains: str) -> Recipe:
    """ip_vs_ftp, with one persistent mark over the control port and the range."""
    return Recipe(name=name, settings=PLAIN, nft=table(BOTH, *chains), services=PERSISTENT, ip_vs_ftp=True)


def outcome(seen: Mapping[str, Any]) -> str:
    """What a client's transfer came to, in one of the words above, or else in its own."""
    if seen["works"]:
        return YES
    if seen["at"] == "control":
        return f"{NO_CONTROL}{seen['cause']}"
    if seen["cause"] == "unreachable" and "announced" in seen and ip_address(seen["announced"]) in REAL:
        return REAL_ADDRESS
    if seen["cause"] == "time-out":
        return NO_TRANSFER if seen["at"] == "transfer" else TIME_OUT
    if seen["cause"] == "refused" and not seen["went_to"]:
        return BY_DIRECTOR
    if seen["cause"] == "refused" and seen["went_to"] not in seen["greeting"]:
        return WRONG_SERVER
    return str(seen)
