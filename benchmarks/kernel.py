"""What the nftables engine costs against plain routing, in namespaces of this machine; writes benchmarks/KERNEL.md.

python -m benchmarks.kernel [--quick] [--no-write]

A client, a director that routes, and a real server; nothing is different between the columns but the director's packet
filter. The real server is a loop over sockets: an FTP server's own work would only hide what is compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lab.netns.hosts import CLIENTS, Host, Network, address_of, missing, network

from benchmarks.beside import PROBED, by_ipvs, idle_cpu, memory_mib, plan_s

RESULTS = Path(__file__).with_name("KERNEL.md")
COMMAND = Path(sys.executable).with_name("ftpdirector")
VIRTUAL = "192.0.2.10"
SERVER = address_of(1, 4)
DATA_PORT = 10_000
CHUNK = 1 << 28
MANY = 1_000
BEHIND = 10


@dataclass(frozen=True)
class Sizes:
    """How much of each a round takes."""

    rounds: int
    chunks: int
    connections: int
    sessions: int
    idle_s: float


FULL = Sizes(rounds=7, chunks=16, connections=3_000, sessions=1_000, idle_s=60)
QUICK = Sizes(rounds=2, chunks=2, connections=300, sessions=80, idle_s=6)


def cluster(virtual_servers: int) -> str:
    """A cluster file; the first virtual server is the one that is used."""
    lines = ['engine = "nftables"']
    for number in range(virtual_servers):
        address = VIRTUAL if not number else f"10.{100 + number // 250}.{number % 250}.1"
        lines += [
            "[[virtual_server]]", f'name = "v{number}"', f'address = "{address}"', 'scheduler = "wrr"',
            # No limits: connections of a benchmark come from one address, and are remembered after they end.
            "max_sessions_per_client = 0",
        ]  # fmt: skip
        for each in range(BEHIND if number else 1):
            at = number * BEHIND + each
            real = SERVER if not number else f"10.{150 + at // 62_500}.{at // 250 % 250}.{at % 250 + 1}"
            lines += ["[[virtual_server.real_server]]", f'name = "r{at}"', f'address = "{real}"']
            lines += [f"weight = {1 + each % 3}"]
    return "\n".join(lines) + "\n"


def table(virtual_servers: int) -> str:
    """What the installed command makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "cluster.toml"), Path(folder, "out")
        file.write_text(cluster(virtual_servers))
        subprocess.run([COMMAND, "render", file, "--out", out], check=True, stdout=subprocess.DEVNULL)
        return (out / "etc/ftpdirector/ftpdirector.nft").read_text()


EMPTY = """
table inet tracked {
    chain nat { type nat hook prerouting priority dstnat; policy accept; }
    chain forward { type filter hook forward priority filter; policy accept; ct state invalid drop; }
}
"""


def serve(host: Host) -> int:
    """The real server, in a process of its own; its process id."""
    with host.inside():
        control = socket.create_server((SERVER, 21), backlog=1024)
        data = socket.create_server((SERVER, DATA_PORT), backlog=1024)
    child = os.fork()
    if child:  # its listeners stand before the first client comes
        control.close()
        data.close()
        return child
    source = os.memfd_create("zeros")
    os.ftruncate(source, CHUNK)
    open_control: dict[int, socket.socket] = {}
    poll = select.epoll()
    for listener in (control, data):
        poll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == control.fileno():
                sock, _ = control.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_control[sock.fileno()] = sock
                poll.register(sock.fileno(), select.EPOLLIN)
            elif number == data.fileno():
                sock, _ = data.accept()
                with sock:
                    wanted = int.from_bytes(sock.recv(8), "big")
                    _send(sock, source, wanted)
            else:
                sock = open_control[number]
                if sock.recv(512):
                    sock.sendall(b"200 Fine.\r\n")
                else:
                    del open_control[number]
                    sock.close()


def _send(sock: socket.socket, source: int, wanted: int) -> None:
    while wanted:
        offset = 0
        while offset < min(CHUNK, wanted):
            offset += os.sendfile(sock.fileno(), source, offset, min(CHUNK, wanted) - offset)
        wanted -= offset


def control_of(address: str) -> socket.socket:
    """A control connection on which one command was answered."""
    sock = socket.create_connection((address, 21), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ask(sock)
    return sock


def ask(sock: socket.socket) -> None:
    """One command, one reply."""
    sock.sendall(b"NOOP\r\n")
    if not sock.recv(512):
        raise RuntimeError("the control connection ended")


def fetch(address: str, size: int) -> int:
    """As many bytes over a data connection."""
    with socket.create_connection((address, DATA_PORT), 10) as data:
        data.sendall(size.to_bytes(8, "big"))
        got = 0
        while part := data.recv_into(_SINK, len(_SINK), socket.MSG_TRUNC):
            got += part
    if got != size:
        raise RuntimeError(f"{got} of {size} bytes")
    return got


_SINK = bytearray(1 << 20)


def bulk(address: str, sizes: Sizes) -> float:
    """GiB/s of one data connection."""
    with control_of(address):
        begun = time.perf_counter()
        got = fetch(address, sizes.chunks * CHUNK)
        return got / (1 << 30) / (time.perf_counter() - begun)


def connections(address: str, sizes: Sizes) -> float:
    """Control connections a second, one after the other: made, one command, closed."""
    begun = time.perf_counter()
    for _ in range(sizes.connections):
        control_of(address).close()
    return sizes.connections / (time.perf_counter() - begun)


def sessions(address: str, sizes: Sizes) -> float:
    """Sessions a second: a control connection, six commands, a data connection of 1 KiB."""
    begun = time.perf_counter()
    for _ in range(sizes.sessions):
        with control_of(address) as control:
            for _ in range(5):
                ask(control)
            fetch(address, 1024)
    return sizes.sessions / (time.perf_counter() - begun)


def first_packet(address: str, sizes: Sizes) -> float:
    """Microseconds from connect to a data connection's first byte: the median."""
    found: list[float] = []
    with control_of(address):
        for _ in range(sizes.sessions):
            begun = time.perf_counter()
            fetch(address, 1)
            found.append(time.perf_counter() - begun)
    return statistics.median(found) * 1e6


WORK: dict[str, Callable[[str, Sizes], float]] = {
    "bulk, GiB/s": bulk,
    "control connections/s": connections,
    "sessions/s": sessions,
    "data connection's first byte, us": first_packet,
}


@contextmanager
def arranged(it: Network, text: str, virtual_servers: int) -> Iterator[float]:
    """The director with this packet filter; the seconds that it took to load."""
    del virtual_servers
    begun = time.perf_counter()
    if text:
        it.director.nft(text)
    try:
        yield time.perf_counter() - begun
    finally:
        it.director.nft("flush ruleset")
        it.director.run("conntrack", "--flush", check=False)


def measure(sizes: Sizes) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
    """Every work under every arrangement, in turn."""
    arrangements = {
        "routing": (SERVER, "", 0),
        "routing, tracked": (SERVER, EMPTY, 0),
        "ftpdirector, 1 x 1": (VIRTUAL, table(1), 1),
        f"ftpdirector, {MANY:,} x {BEHIND}": (VIRTUAL, table(MANY), MANY),
    }
    found = {name: {work: list[float]() for work in WORK} for name in arrangements}
    loads: dict[str, float] = {}
    with network(1) as it:
        it.client.ip("route add 198.51.100.0/24 via 203.0.113.1\n")
        it.client.ip("".join(f"addr del {one}/24 dev eth0\n" for one in CLIENTS[4][1:]))
        for host in (it.client, it.servers[0]):
            # Ports that wait for stragglers would be used up, and the search for a free one be what is measured.
            host.set("ipv4/tcp_max_tw_buckets", "0")
        child = serve(it.servers[0])
        try:
            for number in range(sizes.rounds):
                print(f"round {number + 1} of {sizes.rounds}", file=sys.stderr)
                for name, (address, text, virtual_servers) in arrangements.items():
                    with arranged(it, text, virtual_servers) as took_s, it.client.inside():
                        loads[name] = took_s
                        control_of(address).close()
                        for work, run in WORK.items():
                            found[name][work].append(run(address, sizes))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return found, loads


def report(found: dict[str, dict[str, list[float]]], loads: dict[str, float]) -> str:
    """A table of medians, and of their ratios to plain routing."""
    names = list(found)
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for work in WORK:
        medians = {name: statistics.median(found[name][work]) for name in names}
        cells = [f"{value:,.2f}" if value < 100 else f"{value:,.0f}" for value in medians.values()]
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
        if work.endswith("us"):
            more = [f"{value - medians[names[0]]:+.0f} us" for value in medians.values()]
        else:
            more = [f"{value / medians[names[0]]:.2f}" for value in medians.values()]
        lines.append("| ... against routing | " + " | ".join(more) + " |")
    lines.append("| load of the table, s | " + " | ".join(f"{loads[name]:.2f}" for name in names) + " |")
    return "\n".join(lines) + "\n"


def beside_report(sizes: Sizes) -> str:
    """What `ftpdirector run` takes while nobody comes, and how long a plan takes."""
    lines = ["| the director beside the kernel | |", "|---|---|"]
    for scheduler in ("rr", "wlc"):
        part = idle_cpu(scheduler, sizes.idle_s)
        lines.append(f"| CPU, {PROBED} real servers probed every 6 s, {scheduler} | {part:.1%} of a core |")
    lines.append(f"| memory, {MANY:,} x {BEHIND} | {memory_mib(cluster(MANY)):.0f} MiB |")
    for packet_filter in ("nftables", "iptables"):
        took_s = min(plan_s(by_ipvs(cluster(MANY), packet_filter)) for _ in range(3))
        lines.append(f"| plan of {MANY:,} x {BEHIND} under ipvs with {packet_filter} | {took_s:.1f} s |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    reason = missing()
    if reason:
        print(reason, file=sys.stderr)
        return 1
    sizes = QUICK if options.quick else FULL
    text = f"{report(*measure(sizes))}\n{beside_report(sizes)}"
    print(text)
    if not options.no_write and not options.quick:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        head, _, _ = RESULTS.read_text().partition("<!-- measured -->") if RESULTS.exists() else ("", "", "")
        where = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
        RESULTS.write_text(
            f"{head}<!-- measured -->\n\nMeasured {datetime.now(UTC):%Y-%m-%d} at {commit.stdout.strip()}: {where};"
            f" medians of {sizes.rounds} rounds.\n\n{text}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
