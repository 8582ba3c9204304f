"""What a host is to have, as values: modules, kernel settings, packet filter rules, files, services.

An engine compiles a cluster file to a `HostSetup`; `change.plan` compares it with what the host has. This module knows
no engine and touches no host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ftpdirector.firewalls.flow import RequiredFlow

TABLE: Final = "inet ftpdirector"
"""The one nftables table that is ours."""
CHAIN_PREFIX: Final = "FTPDIRECTOR"
"""How the iptables chains that are ours begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A kernel module, loaded now and at each boot; `options` as in modprobe.d(5), `ports=21,2121`."""

    name: str
    reason: str
    options: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl:
    """A kernel setting, now and at each boot; `key` as sysctl(8) writes it."""

    key: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFile:
    """A file of ours, whole."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A directory of ours, now; at boot tmpfiles.d(5) makes it."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of ours in a file that is someone else's; the file is made when there is none."""

    path: str
    line: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """A symbolic link of ours."""

    path: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IptablesChain:
    """An iptables chain of ours, what calls it, and its rules (without `-A NAME`)."""

    table: str
    name: str
    called_from: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketFilterRules:
    """The packet filter's part: a table of nft, or chains of iptables and of ip6tables. One of the two is empty."""

    nft: str = ""
    iptables: tuple[IptablesChain, ...] = ()
    ip6tables: tuple[IptablesChain, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostService:
    """A service that reads files of ours: its unit, how its files are tested, and where it writes its process id."""

    unit: str
    program: tuple[str, ...]
    """How it is started where systemd does not run."""
    main_file: str
    """It is stopped when this file is gone."""
    pid_file: str
    reason: str
    reads: tuple[str, ...] = ()
    """Files beside it; a change of one has it read them anew."""
    test: tuple[str, ...] = ()
    """How its files are tested first, where it can be asked."""
    needs: str = ""
    """The program that must be installed for it."""
    restarts: bool = False
    """It reads its files when it starts, and only then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSetup:
    """Everything, in the order in which it is put in place."""

    modules: tuple[Module, ...] = ()
    without: tuple[Module, ...] = ()
    """Kernel modules that would do harm; they must not be loaded."""
    sysctls: tuple[Sysctl, ...] = ()
    rules: PacketFilterRules = PacketFilterRules()
    folders: tuple[Folder, ...] = ()
    files: tuple[HostFile, ...] = ()
    lines: tuple[Line, ...] = ()
    links: tuple[Symlink, ...] = ()
    services: tuple[HostService, ...] = ()
    marks: tuple[int, ...] = ()
    """Firewall marks that no other rule may set."""
    ports: tuple[tuple[int, int], ...] = ()
    """Ports of virtual addresses, first and last, that no other rule may translate."""
    flows: tuple[RequiredFlow, ...] = ()
    """What packet filters of others must let pass."""

    def with_part(self, part: HostSetup) -> HostSetup:
        """Both; the packet filter rules, marks, ports and flows are this one's."""
        return replace(
            self,
            modules=self.modules + part.modules,
            sysctls=self.sysctls + part.sysctls,
            folders=self.folders + part.folders,
            files=self.files + part.files,
            lines=self.lines + part.lines,
            links=self.links + part.links,
            services=self.services + part.services,
        )
