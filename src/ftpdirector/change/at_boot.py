"""What puts a kernel engine's part in place at boot: files of modules and settings, and a unit that loads the rules.

This module knows no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ftpdirector.change.setup import HostFile, Module, Symlink, Sysctl

RULES_FILE: Final = "/etc/ftpdirector/ftpdirector.nft"
RULES_UNIT: Final = "ftpdirector-rules.service"
_UNIT_PATH: Final = f"/etc/systemd/system/{RULES_UNIT}"

_UNIT: Final = """\
[Unit]
Description=Packet filter rules of ftpdirector
Documentation=man:nft(8)
# A flush by another service's start comes first; the network comes after.
After=nftables.service firewalld.service
Before={before}
Wants=network-pre.target
DefaultDependencies=no

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f {file}
ExecReload=nft -f {file}

[Install]
WantedBy={wanted_by}
"""


def rules_files(rules: str, *, wanted_by: Sequence[str]) -> Iterator[HostFile]:
    """The rules as a file, and the unit that loads it before the services in `wanted_by`."""
    yield HostFile(path=RULES_FILE, text=rules)
    services = [unit for unit in wanted_by if unit.endswith(".service")]
    before = " ".join(["network-pre.target", *services])
    text = _UNIT.format(file=RULES_FILE, before=before, wanted_by=" ".join(wanted_by))
    yield HostFile(path=_UNIT_PATH, text=text)


def rules_links(*, wanted_by: Sequence[str]) -> Iterator[Symlink]:
    """The unit, enabled."""
    for unit in wanted_by:
        services = unit.endswith(".service")
        yield Symlink(
            path=f"/etc/systemd/system/{unit}.wants/{RULES_UNIT}",
            to=_UNIT_PATH,
            reason="the rules are loaded at boot" + (f", before {unit.removesuffix('.service')}" if services else ""),
        )


def kernel_files(
    modules: Sequence[Module], sysctls: Sequence[Sysctl], *, without: Sequence[Module] = ()
) -> Iterator[HostFile]:
    """Modules, their options and kernel settings at each boot; no file for what there is none of."""
    loads = "".join(f"# {module.reason}\n{module.name}\n" for module in modules)
    if loads:
        yield HostFile(path="/etc/modules-load.d/ftpdirector.conf", text=loads)
    options = "".join(
        f"# {module.reason}\noptions {module.name} {module.options}\n" for module in modules if module.options
    )
    # systemd-modules-load(8) heeds this, so that a line left in another file loads nothing.
    options += "".join(f"# {module.reason}\nblacklist {module.name}\n" for module in without)
    if options:
        yield HostFile(path="/etc/modprobe.d/ftpdirector.conf", text=options)
    settings = "".join(f"# {sysctl.reason}\n{sysctl.key} = {sysctl.value}\n" for sysctl in sysctls)
    if settings:
        yield HostFile(path="/etc/sysctl.d/90-ftpdirector.conf", text=settings)


def forwarding_settings(versions: set[int]) -> Iterator[Sysctl]:
    """The kernel routes packets of these families (4, 6)."""
    for version, key in ((4, "net.ipv4.ip_forward"), (6, "net.ipv6.conf.all.forwarding")):
        if version in versions:
            yield Sysctl(key=key, value="1", reason="real servers answer through the director")
