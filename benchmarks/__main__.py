"""Run every workload on every peer side by side and write benchmarks/RESULTS.md.

python -m benchmarks [--quick] [--only NAME ...] [--no-write]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import load
from benchmarks.peers import (
    CLUSTER,
    FRONT,
    LOAD_CORE,
    NAMES,
    ORIGIN_PORT,
    PASSIVE,
    PORT,
    PROXY_CORE,
    ROOT,
    Peer,
    commands,
    cpu_s,
    own_kib,
    started,
    tree,
)
from benchmarks.trees import trees

RESULTS = Path(__file__).with_name("RESULTS.md")
GIB = 1 << 30
FORKERS = ("ftp-proxy", "mod_proxy")
"""They start a process for each session."""


@dataclass
class Row:
    """What was measured of one peer; lists hold one figure a round."""

    retr_cpu: list[float] = field(default_factory=list)
    retr_rate: list[float] = field(default_factory=list)
    stor_cpu: list[float] = field(default_factory=list)
    stor_rate: list[float] = field(default_factory=list)
    session_us: list[float] = field(default_factory=list)
    session_rate: list[float] = field(default_factory=list)
    setup_ms: list[float] = field(default_factory=list)
    idle_kib: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    rounds: int = 5
    bulk_bytes: int = GIB
    sessions: int = 400
    sessions_of_forkers: int = 60
    setups: int = 300
    idle: int = 5000
    idle_of_forkers: int = 200


@contextlib.contextmanager
def peer(name: str) -> Iterator[Peer]:
    """Start a peer in front of the real server that runs."""
    if name == "direct":
        yield Peer(name, "127.0.0.1", ORIGIN_PORT, 0)
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        work = Path(folder)
        with started(commands(name, work), work, FRONT, PORT, PROXY_CORE) as pid:
            yield Peer(name, FRONT, PORT, pid)


def measure(name: str, row: Row, sizes: Sizes, source: Path) -> None:
    """One round of one peer."""
    with peer(name) as it:
        forks = name in FORKERS
        load.sessions(it.host, it.port, 5 if forks else 20)  # warm

        def timed(cpu: list[float], rate: list[float], work: object, amount: float, unit: float) -> None:
            before, begin = cpu_s(it.pid) if it.pid else 0.0, time.perf_counter()
            work()  # type: ignore[operator]
            seconds = time.perf_counter() - begin
            time.sleep(0.3)  # what was forked has ended by then
            cpu.append(((cpu_s(it.pid) if it.pid else 0.0) - before) / amount * unit)
            rate.append(amount / seconds)

        client = load.Client(it.host, it.port)
        client.ask("TYPE I", "200")
        gib = sizes.bulk_bytes / GIB
        timed(row.retr_cpu, row.retr_rate, lambda: client.retrieve("big.bin"), gib, 1)
        timed(row.stor_cpu, row.stor_rate, lambda: client.store("up.bin", source, sizes.bulk_bytes), gib, 1)
        client.quit()
        timed(
            row.session_us,
            row.session_rate,
            lambda: load.sessions(it.host, it.port, sizes.sessions),
            sizes.sessions,
            1e6,
        )
        row.setup_ms += [
            one * 1000
            for one in load.setup_times(it.host, it.port, sizes.setups // 5 if forks else sizes.setups, 0.001)
        ]


def idle_memory(name: str, row: Row, sizes: Sizes) -> None:
    """KiB of its own for each idle session beyond the first hundred."""
    many = sizes.idle_of_forkers if name in FORKERS else sizes.idle
    with peer(name) as it:
        clients = [load.Client(it.host, it.port) for _ in range(100)]
        before = own_kib(it.pid)
        clients += [load.Client(it.host, it.port) for _ in range(many)]
        time.sleep(1)
        row.idle_kib = (own_kib(it.pid) - before) / many
        for client in clients:
            client.sock.close()


def ten_thousand() -> str:
    """10,000 idle sessions in one process (fewer where the limit of open files is low), and transfers among them."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with peer("ftpdirector") as it:
        clients = [load.Client(it.host, it.port) for _ in range(min(10_000, (limit - 1_500) // 2))]
        took = load.sessions(it.host, it.port, 100) / 100
        kib = own_kib(it.pid)
        processes = len(tree(it.pid)) - 1
        for client in clients:
            client.sock.close()
    return (
        f"{len(clients)} idle sessions in {processes} worker: {kib / 1024:.0f} MiB in all, a new session beside them"
        f" takes {took * 1000:.1f} ms (open files at most: {limit})"
    )


def many_virtual_servers(sizes: Sizes) -> str:
    """Median CPU of the worker a session with one virtual server, and with 1,000 of 10 real servers each."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(3):
        for large in (False, True):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                work = Path(folder)
                command = commands("ftpdirector", work)
                if large:
                    text = CLUSTER.format(front=FRONT, port=PORT, origin=ORIGIN_PORT, work=work)
                    text = text.replace('interval = "1m"', 'interval = "24h"')
                    for number in range(999):
                        address = f"127.1.{number // 250}.{number % 250 + 1}"
                        text += (
                            f'[[virtual_server]]\nname = "v{number}"\naddress = "{address}"\n'
                            'port = 2121\n[virtual_server.health_check]\ninterval = "24h"\nprobe = "connect"\n'
                        )
                        for place in range(10):
                            text += (
                                f'[[virtual_server.real_server]]\nname = "r{place}"\naddress = "127.0.0.1"\n'
                                f"port = {3000 + place}\n"
                            )
                    (work / "cluster.toml").write_text(text)
                with started(command, work, FRONT, PORT, PROXY_CORE) as pid:
                    worker = tree(pid)[1]
                    if large:
                        time.sleep(20)  # the first looks at 9,990 real servers are over
                    load.sessions(FRONT, PORT, 20)
                    before = cpu_s(worker)
                    load.sessions(FRONT, PORT, sizes.sessions)
                    found[large].append((cpu_s(worker) - before) / sizes.sessions * 1e6)
    one, thousand = statistics.median(found[False]), statistics.median(found[True])
    return (
        f"CPU of the worker a session with 1,000 virtual servers x 10 real servers: {thousand:.0f} us, with one:"
        f" {one:.0f} us ({(thousand / one - 1) * 100:+.1f} %)"
    )


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of the sorted values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def table(rows: dict[str, Row]) -> str:
    """The results for people."""
    median = statistics.median
    direct = rows["direct"]
    base = median(direct.setup_ms) if direct.setup_ms else 0.0
    text = (
        "| | RETR CPU s/GiB | RETR GiB/s | STOR CPU s/GiB | STOR GiB/s | session CPU us | sessions/s"
        " | set-up added, median ms | p99 ms | idle session KiB |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    for name, row in rows.items():
        if row.failed:
            text += f"| {name} | {row.failed} |\n"
            continue
        added = median(row.setup_ms) - base
        p99 = quantile(row.setup_ms, 0.99) - quantile(direct.setup_ms, 0.99)
        idle = "" if row.idle_kib is None else f"{row.idle_kib:.1f}"
        cpu = name != "direct"
        text += (
            f"| {name} | {f'{median(row.retr_cpu):.2f}' if cpu else ''} | {median(row.retr_rate):.2f}"
            f" | {f'{median(row.stor_cpu):.2f}' if cpu else ''} | {median(row.stor_rate):.2f}"
            f" | {f'{median(row.session_us):.0f}' if cpu else ''} | {median(row.session_rate):.0f}"
            f" | {f'{added:.2f} | {p99:.2f}' if cpu else '|'} | {idle} |\n"
        )
    return text


def machine() -> str:
    """What it ran on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round, to see that it works")
    parser.add_argument("--only", nargs="*", choices=NAMES, help="these peers only (direct is always there)")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    sizes = Sizes(1, GIB // 8, 50, 20, 50, 300, 50) if options.quick else Sizes()
    names = ["direct", *(name for name in NAMES[1:] if not options.only or name in options.only)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, 65536)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.sched_setaffinity(0, {LOAD_CORE})
    rows = {name: Row() for name in names}
    with tempfile.TemporaryDirectory(prefix="bench-origin-", dir="/dev/shm") as folder:
        root = Path(folder)
        (root / "small.bin").write_bytes(b"x" * 1024)
        with (root / "big.bin").open("wb") as file:
            for _ in range(sizes.bulk_bytes >> 20):
                file.write(os.urandom(1 << 20))
        origin = [
            sys.executable, str(ROOT / "lab/pyftpd.py"), "127.0.0.1", str(ORIGIN_PORT), str(root), "origin",
            str(PASSIVE[0]), str(PASSIVE[1]), "30000",
        ]  # fmt: skip
        with started(origin, root, "127.0.0.1", ORIGIN_PORT, LOAD_CORE):
            for number in range(sizes.rounds):
                for name in names:
                    if rows[name].failed:
                        continue
                    print(f"round {number + 1} of {sizes.rounds}: {name}", file=sys.stderr, flush=True)
                    try:
                        measure(name, rows[name], sizes, root / "big.bin")
                    except (RuntimeError, OSError) as error:
                        rows[name].failed = f"failed: {error}"
            for name in names[1:]:
                if not rows[name].failed:
                    print(f"idle sessions: {name}", file=sys.stderr, flush=True)
                    try:
                        idle_memory(name, rows[name], sizes)
                    except (RuntimeError, OSError) as error:
                        print(f"{name}: {error}", file=sys.stderr)
            lines = [table(rows)]
            if not options.quick and "ftpdirector" in names:
                print("10,000 idle sessions; 1,000 virtual servers", file=sys.stderr, flush=True)
                for work in (ten_thousand, lambda: many_virtual_servers(sizes)):
                    try:
                        lines.append(work())
                    except (RuntimeError, OSError) as error:
                        lines.append(f"failed: {error}")
    if not options.only:
        try:
            lines.append(trees(quick=options.quick))
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            lines.append(f"Trees of small files: failed: {error}")
    report = "\n\n".join(lines)
    print(report)
    if not options.no_write and not options.quick:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
        head, _, _ = RESULTS.read_text().partition("<!-- measured -->") if RESULTS.exists() else ("", "", "")
        RESULTS.write_text(
            f"{head}<!-- measured -->\n\nMeasured {datetime.now(UTC):%Y-%m-%d} at {commit.stdout.strip()}: {machine()};"
            f" medians of {sizes.rounds} rounds.\n\n{report}\n"
        )
    return int(any(row.failed for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
