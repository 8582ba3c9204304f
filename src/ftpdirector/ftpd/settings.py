"""Needs -> the settings of vsftpd, ProFTPD, Pure-FTPd and pyftpdlib; each line says why it is there, where it may.

This module knows no cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ftpdirector.ftpd.needs import Needs
from ftpdirector.model import Placement, ServerSoftware

_PROXY_TEXT: Final = """\
# engine "proxy" needs nothing of a real server: the director asks it for PASV or EPSV from its own address, does not
# look at the address in a 227, and sends PORT or EPRT only where data_to_server says so.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a real server's host; `is_whole`: all of it, not lines for a file that says more."""

    path: str
    text: str
    is_whole: bool = True
    mode: int = 0o644


def settings_of(needs: Needs, *, suffix: str = "") -> tuple[Part, ...]:
    """The settings of its FTP server; `suffix` tells files apart where one real server needs them twice."""
    return tuple(_SOFTWARE[needs.server.server](needs, suffix))


def nothing_needed() -> Part:
    """The proxy engine's only word."""
    return Part(path="/etc/ftpdirector/real-server.txt", text=_PROXY_TEXT)


def _whose(needs: Needs) -> str:
    return f'# {needs.server.name}, behind virtual_server "{needs.virtual.name}"'


def _ports_reason(needs: Needs) -> str:
    ports = needs.virtual.passive_ports
    if needs.slice is None:
        return f"# Passive ports: the whole range; the director lets {ports} in."
    spare = " but for its first port," if needs.is_direct else ""
    return f"# Passive ports: slice {needs.slice.slot} of {ports},{spare} and no others: the port names the server."


def _address_reason(needs: Needs) -> str:
    if needs.announced is not None:
        return "# The 227 names the address that clients can reach; nothing rewrites it."
    if needs.virtual.placement is Placement.HELPER:
        return "must not be set: the kernel's helper finds this server's own address, and writes the virtual one."
    if needs.is_direct:
        return "is not needed: clients are met on the virtual address, which this server has."
    return "is not needed: a 229 (EPSV) holds no address."


def _vsftpd(needs: Needs, suffix: str) -> Iterator[Part]:
    lines = [_whose(needs)]
    if needs.server.port != 21:
        lines.append(f"listen_port={needs.server.port}")
    lines.append(_ports_reason(needs))
    lines += [f"pasv_min_port={needs.passive_ports.first}", f"pasv_max_port={needs.passive_ports.last}"]
    if needs.announced is not None:
        lines += [_address_reason(needs), f"pasv_address={needs.announced}"]
    else:
        lines.append(f"# pasv_address {_address_reason(needs)}")
    if needs.slice is not None and needs.data_port:
        lines.append("# Active data connections leave from the first port of the slice: answers to it come back here.")
        lines += ["connect_from_port_20=YES", f"ftp_data_port={needs.data_port}"]
    elif needs.data_port:
        lines.append("# Active data connections leave from a port that the director knows.")
        lines += ["connect_from_port_20=YES", f"ftp_data_port={needs.data_port}"]
    else:
        lines.append("# Active data connections may leave from any port; firewalls of clients may want port 20.")
        lines.append("connect_from_port_20=YES")
    yield _lines_for(f"/etc/vsftpd{suffix}.conf", lines)


def _proftpd(needs: Needs, suffix: str) -> Iterator[Part]:
    lines = [_whose(needs)]
    if needs.server.port != 21:
        lines.append(f"Port {needs.server.port}")
    lines += [_ports_reason(needs), f"PassivePorts {needs.passive_ports.first} {needs.passive_ports.last}"]
    if needs.announced is not None:
        lines += [_address_reason(needs), f"MasqueradeAddress {needs.announced}"]
    else:
        lines.append(f"# MasqueradeAddress {_address_reason(needs)}")
    if needs.data_port:
        lines.append("# Active data connections leave from port 20, as long as it is started as root.")
    yield Part(path=f"/etc/proftpd/conf.d/ftpdirector{suffix}.conf", text=_text(lines))


def _pure_ftpd(needs: Needs, suffix: str) -> Iterator[Part]:
    folder = f"/etc/pure-ftpd{suffix}/conf"
    ports = needs.passive_ports
    if needs.server.port != 21:
        yield Part(path=f"{folder}/Bind", text=f",{needs.server.port}\n")
    yield Part(path=f"{folder}/PassivePortRange", text=f"{ports.first} {ports.last}\n")
    if needs.announced is not None:
        yield Part(path=f"{folder}/ForcePassiveIP", text=f"{needs.announced}\n")
    else:
        # Each file in that folder is an option: a remark must stand elsewhere.
        remark = f"{_whose(needs)}\n# ForcePassiveIP {_address_reason(needs)}\n"
        yield Part(path=f"/etc/ftpdirector/real-server{suffix}.txt", text=remark)


def _pyftpdlib(needs: Needs, suffix: str) -> Iterator[Part]:
    lines = [_whose(needs), _ports_reason(needs)]
    lines.append(f"handler.passive_ports = range({needs.passive_ports.first}, {needs.passive_ports.last + 1})")
    if needs.announced is not None:
        lines += [_address_reason(needs), f'handler.masquerade_address = "{needs.announced}"']
    else:
        lines.append(f"# handler.masquerade_address {_address_reason(needs)}")
    yield _lines_for(f"/etc/ftpdirector/pyftpdlib{suffix}.py", lines)


def _other(needs: Needs, suffix: str) -> Iterator[Part]:
    ports = needs.passive_ports
    lines = [_whose(needs), "# In the words of your FTP server:", _ports_reason(needs), f"passive ports: {ports}"]
    if needs.announced is not None:
        lines += [_address_reason(needs), f"announced address: {needs.announced}"]
    else:
        lines.append(f"# An announced address {_address_reason(needs)}")
    lines.append(f"listens on port: {needs.server.port}")
    if needs.data_port:
        lines.append(f"active data connections leave from port: {needs.data_port}")
    yield Part(path=f"/etc/ftpdirector/real-server{suffix}.txt", text=_text(lines))


_SOFTWARE: Final[Mapping[ServerSoftware, Callable[[Needs, str], Iterator[Part]]]] = {
    ServerSoftware.VSFTPD: _vsftpd,
    ServerSoftware.PROFTPD: _proftpd,
    ServerSoftware.PURE_FTPD: _pure_ftpd,
    ServerSoftware.PYFTPDLIB: _pyftpdlib,
    ServerSoftware.OTHER: _other,
}


def _lines_for(path: str, lines: list[str]) -> Part:
    return Part(path=path, text=_text(lines), is_whole=False)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
