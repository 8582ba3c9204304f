"""Directors as namespaces of a guest, so that each starts with a network stack, an IPVS and a packet filter of its own.

    client 203.0.113.9 --- outside --- | director .1, 192.0.2.10 | --- inside --- alpha 198.51.100.11, bravo .12

The same addresses as in `lab.guest.topology`, where the guest itself is the director. Here it is the two switches only,
and directors come and go between them: `put("director")`, or two of them with numbers and without the virtual
addresses, which then are keepalived's to move, and so is the gateway (198.51.100.1 and 203.0.113.1, 2001:db8:3::1 and
2001:db8:1::1). The client knows no way to the real servers.

Network namespaces share the guest's files, and two directors would write to one /etc: `apart` gives a director its own,
and `command` runs a program as that host. This module knows no FTP and sets no rule.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lab.guest.topology import CLIENT, REAL_SERVER, SERVERS, THROUGH_DIRECTOR, VIRTUAL, ftp_user, ip

LINK_NET = 0x40000000
"""CLONE_NEWNET: setns(2) moves the calling thread alone."""
LINK_MOUNTS = 0x00020000
"""CLONE_NEWNS."""
_LIBC = ctypes.CDLL(None, use_errno=True)

SWITCHES = """
link add outside type bridge
link add inside type bridge
link set outside up
link set inside up
"""
PLUG = """
netns add {name}
link add {name} type veth peer name eth0 netns {name}
link set {name} master {switch}
link set {name} up
"""
DIRECTOR = """
netns add {name}
link add {name}-out type veth peer name outside address 02:00:00:00:01:{number:02x} netns {name}
link add {name}-in type veth peer name inside address 02:00:00:00:02:{number:02x} netns {name}
link set {name}-out master outside
link set {name}-in master inside
link set {name}-out up
link set {name}-in up
"""
ADDRESSES = """
link set lo up
addr add 203.0.113.{number}/24 dev outside
addr add 2001:db8:1::{number:x}/64 dev outside nodad
addr add 198.51.100.{number}/24 dev inside
addr add 2001:db8:3::{number:x}/64 dev inside nodad
link set outside up
link set inside up
"""
MOUNTS = Path("/run/mounts")
APART = """
mount -t sysfs sys /sys
mkdir "$0"
for folder in etc var; do
    mkdir "$0/$folder" "$0/$folder.work"
    mount -t overlay -o "lowerdir=/$folder,upperdir=$0/$folder,workdir=$0/$folder.work" overlay "/$folder"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
"""
"""$0: where what is written to its /etc and /var goes."""
FORWARD = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")


@contextmanager
def inside(namespace: str) -> Generator[None]:
    """This thread, its new sockets and the processes that it starts are in the namespace; no other thread is."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        target = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            _enter(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, LINK_NET):
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def build() -> None:
    """The switches, the client and the real servers. Once a guest."""
    ftp_user()
    ip(SWITCHES + PLUG.format(name="client", switch="outside"))
    ip(CLIENT, "client")
    ip("".join(PLUG.format(name=name, switch="inside") for name in SERVERS))
    for name, address in SERVERS.items():
        ip(REAL_SERVER.format(v4=address[4], v6=address[6]) + THROUGH_DIRECTOR, name)


def put(name: str, number: int = 1, *, virtual: bool = True) -> None:
    """A director that forwards. Number 1 is everybody's gateway; with `virtual` it has the virtual addresses."""
    ip(DIRECTOR.format(name=name, number=number))
    addresses = ADDRESSES.format(number=number)
    if virtual:
        addresses += f"addr add {VIRTUAL[4]}/32 dev outside\naddr add {VIRTUAL[6]}/128 dev outside nodad\n"
    ip(addresses, name)
    with inside(name):
        for setting in FORWARD:
            sysctl(setting, 1)


def sysctl(setting: str, value: int) -> None:
    """Set `net/...` of the namespace that this thread is in."""
    Path("/proc/sys/net", setting).write_text(f"{value}\n")


def apart(name: str) -> None:
    """From now on `command` shows this director an /etc, a /var and a /run of its own, which begin as the guest's."""
    MOUNTS.mkdir(exist_ok=True)
    mounts = MOUNTS / name
    mounts.touch()
    script = ["sh", "-ec", APART, f"/tmp/{name}.files"]
    space = ["nsenter", f"--net=/run/netns/{name}", "unshare", f"--mount={mounts}", "--propagation=private"]
    subprocess.run([*space, *script], check=True)


def become(name: str) -> None:
    """This process is on the director from now on, with its network and its files; it must have one thread."""
    _join(f"/run/netns/{name}", LINK_NET)
    _join(str(MOUNTS / name), LINK_MOUNTS)
    os.chdir("/")


def _join(path: str, kind: int) -> None:
    target = os.open(path, os.O_RDONLY)
    try:
        if _LIBC.setns(target, kind):
            error = ctypes.get_errno()
            raise OSError(error, f"setns: {os.strerror(error)}")
    finally:
        os.close(target)


def command(name: str, *words: str) -> list[str]:
    """The command line that runs a program on a director that is `apart`; it starts in the root directory."""
    return ["nsenter", f"--net=/run/netns/{name}", f"--mount={MOUNTS / name}", "--", *words]


def cut(name: str) -> None:
    """Both wires of the director are pulled out at the switch; it lives on, and hears nobody."""
    ip(f"link set {name}-out down\nlink set {name}-in down\n")


def take(name: str) -> None:
    """The director goes, with all that its kernel knew."""
    ip(f"netns del {name}\n")
