"""Hosts on a wire each side of a director, as network namespaces of this machine; nothing outside them is touched.

    client 203.0.113.11-14 --- outside 203.0.113.1 | director 192.0.2.10 | inside 198.51.100.1 --- real servers .11 ...

The same in IPv6: 2001:db8:1::/64, 2001:db8:2::10, 2001:db8:3::/64. The client knows no way to the real servers.
A thread of this process may stand in a namespace for a moment; the sockets that it makes there stay there.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CLIENTS = {4: [f"203.0.113.{n}" for n in range(11, 15)], 6: [f"2001:db8:1::{n}" for n in range(11, 15)]}
VIRTUAL = {4: "192.0.2.10", 6: "2001:db8:2::10"}
INSIDE = {4: "198.51.100.1", 6: "2001:db8:3::1"}
PASSIVE = (10_000, 10_399)
"""Narrow, so that every part of it is used."""

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_COUNT = itertools.count()


def missing() -> str:
    """Why there can be no such hosts here; empty when there can."""
    if os.geteuid():
        return "network namespaces want root"
    absent = [program for program in ("ip", "nft", "conntrack") if not shutil.which(program)]
    return f"not installed: {', '.join(absent)} (sh lab/install.sh)" if absent else ""


def address_of(number: int, version: int) -> str:
    """The address of the real server of this number, from 1."""
    return f"198.51.100.{10 + number}" if version == 4 else f"2001:db8:3::{10 + number}"


@dataclass(frozen=True)
class Host:
    """A namespace."""

    name: str

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread stands there until the block ends."""
        with Path("/proc/thread-self/ns/net").open() as here, Path(f"/run/netns/{self.name}").open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def ip(self, lines: str) -> None:
        """One batch of ip(8)."""
        subprocess.run(["ip", "-netns", self.name, "-batch", "-"], input=lines, text=True, check=True)

    def run(self, *words: str, given: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """A program, there; what it says."""
        with self.inside():
            done = subprocess.run(words, input=given, capture_output=True, text=True, check=False, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}\n{done.stderr}\n{given[-4000:]}")
        return done

    def nft(self, text: str) -> None:
        """Carry out an nft file."""
        self.run("nft", "--file", "-", given=text)

    def set(self, key: str, value: str) -> None:
        """A setting of its network, below /proc/sys/net."""
        with self.inside():
            Path(f"/proc/sys/net/{key}").write_text(value)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True)
class Network:
    """All hosts of one test."""

    client: Host
    director: Host
    servers: tuple[Host, ...]

    def gateway(self, *, present: bool) -> None:
        """Whether the real servers answer through the director."""
        for host in self.servers:
            verb = "replace" if present else "del"
            host.ip("".join(f"route {verb} default via {address}\n" for address in INSIDE.values()))


@contextlib.contextmanager
def network(servers: int, *, virtual: Sequence[str] = (*VIRTUAL.values(),), numbers: int = 1) -> Iterator[Network]:
    """Hosts for as many real servers; each has `numbers` addresses of each family."""
    prefix = f"fd{os.getpid()}-{next(_COUNT)}"
    made: list[Host] = []

    def host(name: str) -> Host:
        subprocess.run(["ip", "netns", "add", f"{prefix}-{name}"], check=True)
        made.append(Host(f"{prefix}-{name}"))
        made[-1].ip("link set lo up\n")
        return made[-1]

    try:
        director, client = host("d"), host("c")
        it = Network(client=client, director=director, servers=tuple(host(f"s{n}") for n in range(1, servers + 1)))
        _connect(it, virtual, numbers)
        yield it
    finally:
        for one in made:
            subprocess.run(["ip", "netns", "del", one.name], check=False)


def _connect(it: Network, virtual: Sequence[str], numbers: int) -> None:
    lines = "link add inside type bridge\nlink set inside up\n"
    lines += f"link add outside type veth peer name eth0 netns {it.client.name}\nlink set outside up\n"
    lines += "addr add 203.0.113.1/24 dev outside\naddr add 2001:db8:1::1/64 dev outside nodad\n"
    lines += "addr add 198.51.100.1/24 dev inside\naddr add 2001:db8:3::1/64 dev inside nodad\n"
    for address in virtual:
        lines += f"addr add {address}/{'128 dev outside nodad' if ':' in address else '32 dev outside'}\n"
    for number, host in enumerate(it.servers, 1):
        lines += f"link add port{number} type veth peer name eth0 netns {host.name}\n"
        lines += f"link set port{number} master inside up\n"
    it.director.ip(lines)
    lines = "".join(f"addr add {address}/24 dev eth0\n" for address in CLIENTS[4])
    lines += "".join(f"addr add {address}/64 dev eth0 nodad\n" for address in CLIENTS[6])
    lines += "link set eth0 up\nroute add 192.0.2.0/24 via 203.0.113.1\nroute add 2001:db8:2::/64 via 2001:db8:1::1\n"
    it.client.ip(lines)
    for number, host in enumerate(it.servers, 1):
        own = range(number, numbers * len(it.servers) + 1, len(it.servers))
        lines = "".join(f"addr add {address_of(one, 4)}/24 dev eth0\n" for one in own)
        lines += "".join(f"addr add {address_of(one, 6)}/64 dev eth0 nodad\n" for one in own)
        host.ip(lines + "link set eth0 up\n")
    it.gateway(present=True)
    it.director.set("ipv4/ip_forward", "1")
    it.director.set("ipv6/conf/all/forwarding", "1")
