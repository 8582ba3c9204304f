"""Firewalls of others on a host of lab.netns: ufw and firewalld themselves, and rules of docker's shape.

Nothing of the machine is touched: configuration is private, and rules are those of the host's namespace. Docker wants
more than a namespace; what its daemon loads is written here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.netns.hosts import Host
from lab.realservers import UNPACKED

NAMES = ("firewalld", "ufw", "docker")
PATIENCE_S = 20.0
_PYTHON = "/usr/bin/python3"
"""The one that the distribution's modules are for."""
_LIBRARIES = "usr/lib/python3/dist-packages"
_FILES = {"ufw": "usr/sbin/ufw", "firewalld": "usr/sbin/firewalld", "python3-firewall": _LIBRARIES,
          "python3-nftables": _LIBRARIES}  # fmt: skip

_BUS = """<busconfig>
<type>session</type><listen>unix:path={path}</listen>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy>
</busconfig>
"""
_DOCKER = """*filter
:FORWARD DROP
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-I FORWARD -j DOCKER-FORWARD
-I FORWARD -j DOCKER-USER
COMMIT
*nat
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d {loopback} -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {inside} ! -o docker0 -j MASQUERADE
COMMIT
"""
_DOCKER_LEAVES = """*filter
-D FORWARD -j DOCKER-USER
-D FORWARD -j DOCKER-FORWARD
COMMIT
*nat
-D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-D OUTPUT ! -d {loopback} -m addrtype --dst-type LOCAL -j DOCKER
-D POSTROUTING -s {inside} ! -o docker0 -j MASQUERADE
COMMIT
"""
_DOCKER_NETWORKS = {
    "iptables": {"loopback": "127.0.0.0/8", "inside": "172.17.0.0/16"},
    "ip6tables": {"loopback": "::1/128", "inside": "fd00:17::/64"},
}


def missing() -> str:
    """Why they cannot be had here; empty when they can."""
    absent = [package for package, path in _FILES.items() if not (UNPACKED / package / path).exists()]
    absent += [program for program in ("iptables-nft", "ip6tables-nft", "dbus-daemon") if not shutil.which(program)]
    seen = subprocess.run([_PYTHON, "-c", "import dbus, gi.repository.GLib"], capture_output=True, check=False)
    absent += ["python3-dbus, python3-gi"] if seen.returncode else []
    return f"not installed: {', '.join(absent)} (sh lab/install.sh)" if absent else ""


@dataclass(frozen=True)
class Firewall:
    """One that runs on `host`."""

    name: str
    host: Host
    work: Path

    def run(self, line: str) -> str:
        """A line of a shell, as an operator types it there; what it says."""
        path = f"{self.work / 'bin'}:{os.environ['PATH']}"
        return self.host.run("env", f"PATH={path}", "sh", "-ec", line).stdout

    def load(self) -> None:
        """What loads its rules again, from none of them."""
        match self.name:
            case "ufw":
                self.run("ufw reload")
            case "firewalld":
                self.run("firewall-cmd --reload")
            case _:
                for program, networks in _DOCKER_NETWORKS.items():
                    leave = f"{program}-nft-restore --noflush"
                    self.host.run(*leave.split(), given=_DOCKER_LEAVES.format(**networks))
                    self.host.run(*leave.split(), given=_DOCKER.format(**networks))


def tables(host: Host, *, but: str = "inet ftpdirector") -> str:
    """All tables of others, with the kernel's numbers for their rules: one that is made anew has another."""
    names = [line.removeprefix("table ") for line in host.run("nft", "list", "tables").stdout.splitlines()]
    listing = ("nft", "--stateless", "--handle", "list", "table")
    return "".join(host.run(*listing, *name.split()).stdout for name in sorted(names) if name != but)


@contextlib.contextmanager
def firewall(name: str, host: Host) -> Iterator[Firewall]:
    """It, with its defaults, until the block ends; then no rule of anybody is left on the host."""
    with tempfile.TemporaryDirectory(prefix="ftpdirector-firewall-") as base, contextlib.ExitStack() as running:
        running.callback(host.nft, "flush ruleset")
        it = Firewall(name, host, Path(base))
        (it.work / "bin").mkdir()
        match name:
            case "ufw":
                _ufw(it)
            case "firewalld":
                running.enter_context(_firewalld(it))
            case "docker":
                for program, networks in _DOCKER_NETWORKS.items():
                    host.run(f"{program}-nft", "-N", "DOCKER-USER")
                    host.run(f"{program}-nft-restore", "--noflush", given=_DOCKER.format(**networks))
            case _:
                raise ValueError(name)
        yield it


def _script(it: Firewall, name: str, *words: str, **environment: str) -> None:
    """Their command, for `Firewall.run`."""
    path = it.work / "bin" / name
    settings = " ".join(f"{key}={value}" for key, value in environment.items())
    path.write_text(f'#!/bin/sh\nexec env {settings} {_PYTHON} {" ".join(words)} "$@"\n')
    path.chmod(0o755)


def _ufw(it: Firewall) -> None:
    """As its package sets it up, below a directory of its own."""
    root = it.work / "root"
    shutil.copytree(UNPACKED / "ufw", root, symlinks=True)
    rules = root / "usr/share/ufw"
    for source in (*(rules / "iptables").glob("*.rules"), *rules.glob("*.init"), rules / "ufw.conf"):
        shutil.copy2(source, root / "etc/ufw")
    settings = root / "etc/default/ufw"
    settings.write_text(settings.read_text() + "IPT_SYSCTL=\n")
    program = (str(root / "usr/sbin/ufw"), f"--rootdir={root}", f"--datadir={root}")
    _script(it, "ufw", *program, PYTHONPATH=str(root / _LIBRARIES))
    it.run("ufw --force enable")


@contextlib.contextmanager
def _firewalld(it: Firewall) -> Iterator[None]:
    """On a bus of its own, with each side of the host in a zone."""
    program, own, bus = UNPACKED / "firewalld", it.work / "firewalld", it.work / "bus"
    shutil.copytree(program / "etc/firewalld", own)
    (it.work / "run").mkdir()
    (it.work / "bus.conf").write_text(_BUS.format(path=bus))
    environment = {
        "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}",
        "PYTHONPATH": ":".join(str(UNPACKED / name / _LIBRARIES) for name in ("python3-firewall", "python3-nftables")),
    }
    _script(it, "firewall-cmd", str(program / "usr/bin/firewall-cmd"), **environment)
    bus_daemon = ["dbus-daemon", f"--config-file={it.work / 'bus.conf'}", "--nofork", "--nopidfile", "--nosyslog"]
    daemon = [
        *("unshare", "--mount", "sh", "-ec", 'mount --bind "$0" /run; exec "$@"', str(it.work / "run")),
        *("env", *(f"{key}={value}" for key, value in environment.items())),
        *(_PYTHON, str(program / "usr/sbin/firewalld"), "--nofork", "--nopid"),
        *("--log-target", "file", "--log-file", str(it.work / "firewalld.log")),
        *("--system-config", str(own), "--default-config", str(program / "usr/lib/firewalld")),
    ]
    with (
        _running(it, "dbus-daemon", bus_daemon, bus.exists),
        _running(it, "firewalld", daemon, lambda: _answers(it)),
    ):
        for zone, interface in (("public", "outside"), ("internal", "inside")):
            it.run(f"firewall-cmd --permanent --zone {zone} --add-interface {interface}")
        it.run("firewall-cmd --reload")
        yield


def _answers(it: Firewall) -> bool:
    return it.host.run(str(it.work / "bin" / "firewall-cmd"), "--state", check=False).returncode == 0


@contextlib.contextmanager
def _running(it: Firewall, name: str, command: list[str], is_ready: Callable[[], bool]) -> Iterator[None]:
    output = it.work / f"{name}.output"
    with output.open("wb") as log, it.host.inside():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + PATIENCE_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} does not start: {output.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()
