"""Needs -> what the real server's host must have: a gateway, or the virtual address without saying so on the wire.

As a script for sh(1) to run at each boot, whatever sets the network up, and as kernel settings. This module knows no
FTP server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ftpdirector.ftpd.needs import Needs
from ftpdirector.ftpd.settings import Part
from ftpdirector.model import ForwardingMethod, IPAddress

SCRIPT: Final = "/etc/ftpdirector/real-server.sh"
SYSCTLS: Final = "/etc/sysctl.d/90-ftpdirector.conf"
_DEVICE: Final = "ftpdirector"
_HEAD: Final = (
    "#!/bin/sh\n# Run at each boot, as root, when the network is up; run again, it changes nothing.\nset -eu\n"
)


def host_of(all_needs: Sequence[Needs]) -> tuple[Part, ...]:
    """The files of a real server's host, for all virtual servers that it stands behind."""
    script = [line for needs in all_needs for line in _script(needs)]
    sysctls = [line for needs in all_needs for line in _sysctls(needs)]
    parts: list[Part] = []
    if script:
        parts.append(Part(path=SCRIPT, text=_HEAD + _text(dict.fromkeys(script)), mode=0o755))
    if sysctls:
        parts.append(Part(path=SYSCTLS, text=_text(dict.fromkeys(sysctls))))
    return tuple(parts)


def _own(needs: Needs, addresses: Sequence[IPAddress]) -> Iterator[IPAddress]:
    return (address for address in addresses if address.version == needs.server.address.version)


def _script(needs: Needs) -> Iterator[str]:
    match needs.virtual.forwarding:
        case ForwardingMethod.NAT:
            yield "# Answers go back through the director, which translates them."
            gateways = list(_own(needs, needs.virtual.gateway_addresses))
            for gateway in gateways:
                yield f"ip -{gateway.version} route replace default via {gateway}"
            if not gateways:
                yield "# The director's address on this network is not in the cluster file (gateway_address):"
                yield "# ip route replace default via DIRECTOR"
        case ForwardingMethod.DR:
            yield "# It takes packets to the virtual address, which it holds on no wire."
            yield f"ip link show {_DEVICE} >/dev/null 2>&1 || ip link add {_DEVICE} type dummy"
            yield f"ip link set {_DEVICE} up"
            yield from _addresses(needs, _DEVICE)
        case ForwardingMethod.TUN:
            version = needs.server.address.version
            module, device = ("ipip", "tunl0") if version == 4 else ("ip6_tunnel", "ip6tnl0")
            yield "# It takes packets out of the director's tunnel, and holds the virtual address there."
            yield f"ip link show {device} >/dev/null 2>&1 || modprobe {module}"
            yield f"ip link set {device} up"
            yield from _addresses(needs, device)
        case ForwardingMethod.FULLNAT:
            return


def _addresses(needs: Needs, device: str) -> Iterator[str]:
    for address in _own(needs, needs.virtual.addresses):
        nodad = " nodad" if address.version == 6 else ""
        yield f"ip addr replace {address}/{address.max_prefixlen} dev {device}{nodad}"


def _sysctls(needs: Needs) -> Iterator[str]:
    if not needs.is_direct or needs.server.address.version != 4:
        return
    yield "# It answers no ARP for the virtual address, and asks for nobody in its name: the director has it."
    yield "net.ipv4.conf.all.arp_ignore = 1"
    yield "net.ipv4.conf.all.arp_announce = 2"
    if needs.virtual.forwarding is ForwardingMethod.TUN:
        yield "# What comes out of the tunnel has clients' addresses, which lead elsewhere. The greater of both counts."
        yield "net.ipv4.conf.all.rp_filter = 0"
        yield "net.ipv4.conf.tunl0.rp_filter = 0"


def _text(lines: Iterator[str] | Sequence[str] | dict[str, None]) -> str:
    return "".join(f"{line}\n" for line in lines)
