"""FTP through IPVS as it is configured by hand: what must work works, and what must fail fails for the stated reason.

One guest, a director of its own for each recipe, vsftpd behind it, a strict client that obeys the address in a 227 and
cannot route to the real servers. What ftpdirector renders, refuses and warns of stands on these rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lab.guest import run
from lab.guest.topology import SERVERS, VIRTUAL

from tests.guest.once import once

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(run.missing()), reason=run.missing()),
    pytest.mark.timeout(400),  # whoever comes first boots the guest for all
    pytest.mark.xdist_group("recipes"),
]

MODES = ("PASV", "EPSV", "PORT", "EPRT")
FIRST, MIDDLE, LAST = 10_000, 15_000, 20_000

YES = "yes"
REAL_ADDRESS = "the 227 names a real server, which the client cannot reach"
TIME_OUT = "time-out"
REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A configuration by hand. `settings` are vsftpd's, by real server; `hangs` are the modes that are said to time out."""

    name: str
    settings: Mapping[str, list[str]]
    services: list[str]
    nft: str = ""
    iptables: list[str] = field(default_factory=list)
    sysctls: Mapping[str, int] = field(default_factory=dict)
    ip_vs_ftp: bool = False
    version: int = 4
    port: int = 21
    modes: list[str] = field(default_factory=lambda: list(MODES))
    hangs: list[str] = field(default_factory=list)
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
    return "\n".join((f"table {'ip' if version == 4 else 'ip6'} byhand {{", *chains, "}"))


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
ip saddr 198.51.100.0/24 oifname "outside" tcp dport 1-65535 snat to {VIRTUAL[4]}
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


def sliced(version: int = 4) -> dict[str, Any]:
    """One mark for the control port on both servers, one a slice on its server, both without persistence."""
    family, real = ("ip", "198.51.100.0/24") if version == 4 else ("ip6", "2001:db8:3::/64")
    snat = (
        f'chain active {{ type nat hook postrouting priority srcnat;\n{family} saddr {real} oifname "outside" '
        f"tcp sport 20 snat to {VIRTUAL[version]}\n}}"
    )
    by_port = {"21": 21, f"{FIRST}-{MIDDLE - 1}": 211, f"{MIDDLE}-{LAST - 1}": 212}
    return {
        "settings": servers(*([ANNOUNCED] if version == 4 else []), sliced=True),
        "nft": table(marks(version=version, by_port=by_port), snat, version=version),
        "services": [
            *service("-f 21", version=version),
            *service("-f 211", version=version, names=("alpha",)),
            *service("-f 212", version=version, names=("bravo",)),
        ],
        "version": version,
    }


def helped(name: str, *chains: str, **more: Any) -> Recipe:
    """ip_vs_ftp with mark 21."""
    return Recipe(
        **{"name": name, "settings": PLAIN, "nft": table(BOTH, *chains), "services": PERSISTENT, "ip_vs_ftp": True}
        | more
    )


ROWS: list[tuple[Recipe, tuple[str, str, str, str]]] = [
    (
        Recipe(name="one persistent mark, nothing else", settings=PLAIN, nft=table(BOTH), services=PERSISTENT),
        (REAL_ADDRESS, YES, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(name="and pasv_address", settings=servers(ANNOUNCED), nft=table(BOTH), services=PERSISTENT),
        (YES, YES, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(
            name="and pasv_address and SNAT", settings=servers(ANNOUNCED), nft=table(BOTH, SNAT), services=PERSISTENT
        ),
        (YES, YES, YES, YES),
    ),
    (
        Recipe(
            name="not persistent, pasv_address", settings=servers(ANNOUNCED), nft=table(BOTH), services=NOT_PERSISTENT
        ),
        (REFUSED, REFUSED, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(
            name="CT helper and SNAT, no ip_vs_ftp",
            settings=PLAIN,
            nft=table(BOTH, SNAT, CT_HELPER),
            services=PERSISTENT,
        ),
        (REAL_ADDRESS, YES, YES, YES),
    ),
    (
        Recipe(name="port 21 alone, no helper", settings=PLAIN, services=BY_PORT_21),
        (REAL_ADDRESS, REFUSED, TIME_OUT, TIME_OUT),
    ),
    (
        Recipe(
            name="all ports, persistent, pasv_address",
            settings=servers(ANNOUNCED),
            services=service(f"-t {VIRTUAL[4]}:0", "-p 300"),
        ),
        (YES, YES, TIME_OUT, TIME_OUT),
    ),
    (Recipe(name="slices", **sliced()), (YES, YES, YES, YES)),
    (helped("ip_vs_ftp without conntrack", sysctls={"ipv4/vs/conntrack": 0}), (REAL_ADDRESS, YES, YES, YES)),
    (
        helped("ip_vs_ftp without conntrack but vs.conntrack", sysctls={"ipv4/vs/conntrack": 1}),
        (REAL_ADDRESS, YES, YES, YES),
    ),
    (helped("ip_vs_ftp and a nat rule", MASQUERADE), (YES, YES, YES, YES)),
    (helped("ip_vs_ftp and -m conntrack", iptables=[M_CONNTRACK]), (YES, YES, YES, YES)),
    (helped("ip_vs_ftp and ct state", CT_STATE), (YES, YES, YES, YES)),
    (
        helped("ip_vs_ftp, only port 21 marked", nft=table(marks("21"), CT_STATE)),
        (YES, YES, YES, YES),
    ),
    (helped("ip_vs_ftp, not persistent", CT_STATE, services=NOT_PERSISTENT), (YES, YES, YES, YES)),
    (
        helped("ip_vs_ftp, only port 21, not persistent", nft=table(marks("21"), CT_STATE), services=NOT_PERSISTENT),
        (YES, YES, YES, YES),
    ),
    (
        helped("ip_vs_ftp, not from port 20", CT_STATE, settings=servers(port_20=False)),
        (YES, YES, TIME_OUT, TIME_OUT),
    ),
    (
        helped("ip_vs_ftp and pasv_address", CT_STATE, settings=servers(ANNOUNCED)),
        (TIME_OUT, YES, YES, YES),
    ),
    (
        Recipe(name="port 21 alone, ip_vs_ftp", settings=PLAIN, services=BY_PORT_21, ip_vs_ftp=True),
        (YES, YES, YES, YES),
    ),
]
