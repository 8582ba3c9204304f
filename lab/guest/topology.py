"""Hosts on one wire each side of a director, as network namespaces of a guest; the director is the guest itself.

    client 203.0.113.9 --- outside 203.0.113.1 | director 192.0.2.10 | inside 198.51.100.1 --- alpha .11, bravo .12

The same in IPv6: 2001:db8:1::/64, 2001:db8:2::10, 2001:db8:3::/64. The client knows no way to the real servers. With
`direct`, the real servers have a wire of their own to the client, which their answers take (forwarding dr and tun).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.guest.strict_client import content

ROOT = Path(__file__).resolve().parent.parent.parent
VIRTUAL = {4: "192.0.2.10", 6: "2001:db8:2::10"}
SERVERS = {
    "alpha": {4: "198.51.100.11", 6: "2001:db8:3::11"},
    "bravo": {4: "198.51.100.12", 6: "2001:db8:3::12"},
}
GATEWAY = {4: "198.51.100.1", 6: "2001:db8:3::1"}
SIZE = 200_000

VSFTPD = ROOT / "build/lab/root/vsftpd/usr/sbin/vsftpd"
PURE_FTPD = ROOT / "build/lab/root/pure-ftpd/usr/sbin/pure-ftpd"
PROFTPD = ROOT / "build/lab/root/proftpd-core/usr/sbin/proftpd"

NETWORK = """
netns add client
link add br0 type bridge
link set br0 up
link add outside type veth peer name eth0 netns client
link add inside type veth peer name port0
link set port0 master br0 up
addr add 203.0.113.1/24 dev outside
addr add 2001:db8:1::1/64 dev outside nodad
addr add 198.51.100.1/24 dev inside
addr add 2001:db8:3::1/64 dev inside nodad
link set outside up
link set inside up
"""
VIRTUAL_HERE = """
addr add 192.0.2.10/32 dev outside
addr add 2001:db8:2::10/128 dev outside nodad
"""
CLIENT = """
link set lo up
addr add 203.0.113.9/24 dev eth0
addr add 2001:db8:1::9/64 dev eth0 nodad
link set eth0 up
route add 192.0.2.0/24 via 203.0.113.1
route add 2001:db8:2::/64 via 2001:db8:1::1
"""
REAL_SERVER = """
link set lo up
addr add {v4}/24 dev eth0
addr add {v6}/64 dev eth0 nodad
link set eth0 up
"""
THROUGH_DIRECTOR = """
route add default via 198.51.100.1
route add default via 2001:db8:3::1
"""


def ip(lines: str, namespace: str = "") -> None:
    """One batch of ip(8)."""
    words = ["ip", "-netns", namespace, "-batch", "-"] if namespace else ["ip", "-batch", "-"]
    subprocess.run(words, input=lines, text=True, check=True)


def build(*, virtual_here: bool = True, direct: bool = False) -> None:
    """All hosts. Once a guest."""
    ftp_user()
    network = NETWORK
    for name in SERVERS:
        network += (
            f"netns add {name}\nlink add {name} type veth peer name eth0 netns {name}\nlink set {name} master br0 up\n"
        )
        if direct:
            network += f"link add {name}1 type veth peer name eth1 netns {name}\nlink set {name}1 netns client\n"
    ip(network + (VIRTUAL_HERE if virtual_here else ""))
    ip(CLIENT, "client")
    for number, (name, address) in enumerate(SERVERS.items()):
        ip(REAL_SERVER.format(v4=address[4], v6=address[6]), name)
        if not direct:
            ip(THROUGH_DIRECTOR, name)
            continue
        four, six = f"10.9.{number}", f"2001:db8:9:{number}:"
        ip(f"addr add {four}.1/24 dev {name}1\naddr add {six}:1/64 dev {name}1 nodad\nlink set {name}1 up\n", "client")
        ip(
            f"addr add {four}.2/24 dev eth1\naddr add {six}:2/64 dev eth1 nodad\nlink set eth1 up\n"
            f"route add 203.0.113.0/24 via {four}.1\nroute add 2001:db8:1::/64 via {six}:1\n",
            name,
        )


def ftp_user() -> None:
    """Pure-FTPd serves nobody anonymously where there is no such user."""
    with Path("/etc/passwd").open("a") as users:
        users.write("ftp:x:990:65534::/srv/ftp:/usr/sbin/nologin\n")
    Path("/srv/ftp").mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class Wanted:
    """A real server to start: `settings` are lines (vsftpd, ProFTPD) or words (Pure-FTPd) of its own."""

    name: str
    kind: str
    version: int
    port: int
    settings: Sequence[str]
    root: Path
    work: Path

    @property
    def address(self) -> str:
        return SERVERS[self.name][self.version]

    def file(self, ending: str, lines: Sequence[str]) -> str:
        path = self.work / f"{self.name}.{ending}"
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)


def vsftpd(it: Wanted) -> list[str]:
    lines = [
        f"listen={'YES' if it.version == 4 else 'NO'}", f"listen_ipv6={'YES' if it.version == 6 else 'NO'}",
        f"listen_port={it.port}", "background=NO", "anonymous_enable=YES", "local_enable=NO", "no_anon_password=YES",
        f"anon_root={it.root}", f"ftpd_banner={it.name}", "secure_chroot_dir=/run/vsftpd/empty", "seccomp_sandbox=NO",
        "ftp_username=daemon", "nopriv_user=nobody", *it.settings,
    ]  # fmt: skip
    return [str(VSFTPD), it.file("vsftpd.conf", lines)]


def proftpd(it: Wanted) -> list[str]:
    lines = [
        f'ServerName "{it.name}"', f'ServerIdent on "{it.name}"', "ServerType standalone",
        f"DefaultAddress {it.address}", f"Port {it.port}", "UseIPv6 on", "User nobody", "Group nogroup",
        "AuthOrder mod_auth_unix.c", "UseReverseDNS off", "WtmpLog off", "TransferLog none", "DelayEngine off",
        f"PidFile {it.work}/{it.name}.pid", f"SystemLog {it.work}/{it.name}.proftpd.log",
        f"ScoreboardFile {it.work}/{it.name}.scoreboard", *it.settings,
        f"<Anonymous {it.root}>", "User nobody", "Group nogroup", "UserAlias anonymous nobody",
        "RequireValidShell off", "</Anonymous>",
    ]  # fmt: skip
    return [str(PROFTPD), "-n", "-q", "-c", it.file("proftpd.conf", lines)]


def pure_ftpd(it: Wanted) -> list[str]:
    # It serves the home of the user ftp to anybody; `ip netns exec` gives each server file systems of its own.
    bind = 'mount --bind "$0" /srv/ftp && exec "$@"'
    return [
        "sh", "-c", bind, str(it.root), str(PURE_FTPD), "-S", f"{it.address},{it.port}", "-e", "-H", "-u", "1",
        "-g", f"{it.work}/{it.name}.pid", "-F", it.file("banner", [it.name]), *it.settings,
    ]  # fmt: skip


KINDS = {"vsftpd": vsftpd, "proftpd": proftpd, "pure-ftpd": pure_ftpd}


class Servers:
    """The real servers that run."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, kind: str, version: int, settings: Sequence[str], port: int = 21) -> None:
        """Start one in its namespace."""
        root = self.work / name
        if not root.exists():
            root.mkdir(parents=True)
            (root / "id.txt").write_bytes(content(name, SIZE))
        command = KINDS[kind](Wanted(name, kind, version, port, settings, root, self.work))
        with (self.work / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                ["ip", "netns", "exec", name, *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def ready(self, version: int, port: int = 21) -> None:
        """Wait until each greets; seen from the director."""
        for name in self.running:
            end = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError), socket.create_connection((SERVERS[name][version], port), 2) as sock:
                    if sock.recv(3) == b"220":
                        break
                if time.monotonic() > end or self.running[name].poll() is not None:
                    raise RuntimeError(f"{name}: {(self.work / f'{name}.log').read_text()[-1000:]}")
                time.sleep(0.1)

    def kill(self, name: str) -> None:
        """One real server, with all its sessions, by SIGKILL."""
        process = self.running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()
        for name in SERVERS:
            for one in self.work.glob(f"{name}.*"):
                one.unlink()


def clear(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
