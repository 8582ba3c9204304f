"""A tree of small files, one file after the other, up and down: directly, and through the director, by real clients.

python -m benchmarks.trees [--quick]

A serial client waits for every reply, so whatever stands in the way of one file is paid as often as there are files.
What comes of it is a part of benchmarks/RESULTS.md. HAProxy is there to see what another program in the way
costs, whatever it is written in: here it copies bytes of one server, reads nothing, and could not balance.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.realservers import KINDS, PASSIVE, RealServer, missing, real_server

from benchmarks.load import Client
from benchmarks.peers import FRONT, LOAD_CORE, PORT, PROXY_CORE, commands, cpu_s, started

DIRECTORIES, A_DIRECTORY = 20, 100
LARGEST_BYTES = 8_192
WAYS = ("direct", "ftpdirector", "haproxy")

NET_FTP = """
use Net::FTP;
my ($host, $port, $user, $password, $what, $local, $remote, @names) = @ARGV;
my $ftp = Net::FTP->new($host, Port => $port, Passive => 1, Timeout => 30) or die $@;
$ftp->login($user, $password) or die $ftp->message;
$ftp->binary or die $ftp->message;
while (my $name = <STDIN>) {
    chomp $name;
    if ($what eq "up") { $ftp->put("$local/$name", "$remote/$name") or die $ftp->message }
    else { $ftp->get("$remote/$name", "$local/$name") or die $ftp->message }
}
$ftp->quit;
"""


@dataclass(frozen=True)
class Errand:
    """One tree in one direction; `local` is a folder here, `remote` one on the server, both with all directories."""

    host: str
    port: int
    user: str
    password: str
    up: bool
    local: Path
    remote: str
    names: tuple[str, ...]

    @property
    def url(self) -> str:
        """The server."""
        return f"ftp://{self.host}:{self.port}"


def bare(errand: Errand) -> None:
    """Plain sockets: PASV and RETR or STOR, nothing else; what it costs itself is next to nothing."""
    client = Client(errand.host, errand.port, errand.user, errand.password)
    client.ask("TYPE I", "200")
    for name in errand.names:
        path = errand.local / name
        if errand.up:
            client.store(f"{errand.remote}/{name}", path, path.stat().st_size)
        else:
            path.write_bytes(client.read(f"{errand.remote}/{name}"))
    client.quit()


def net_ftp(errand: Errand) -> None:
    """Perl's own."""
    words = [errand.host, str(errand.port), errand.user, errand.password, "up" if errand.up else "down"]
    _run(["perl", "-e", NET_FTP, *words, str(errand.local), errand.remote], "\n".join(errand.names) + "\n")


def lftp(errand: Errand) -> None:
    """mirror, one file at a time; it lists and makes directories too."""
    there, here = errand.remote, str(errand.local)
    mirror = f"mirror -R --no-perms {here} {there}" if errand.up else f"mirror --no-perms {there} {here}"
    login = f"open -u {errand.user},{errand.password} {errand.url}"
    _run(["lftp", "--norc", "-c", f"set cmd:fail-exit true; {login}; {mirror}; bye"])


CLIENTS: dict[str, tuple[Callable[[Errand], None], str]] = {
    "bare": (bare, ""),
    "Net::FTP": (net_ftp, "perl"),
    "lftp": (lftp, "lftp"),
}


def _run(command: list[str], text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} exited {done.returncode}: {(done.stdout + done.stderr)[-500:]}")


def made(folder: Path, directories: int) -> tuple[str, ...]:
    """Write a tree; its names."""
    names = []
    for number in range(directories * A_DIRECTORY):
        name = f"d{number // A_DIRECTORY:02}/f{number % A_DIRECTORY:02}"
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(number * 977 % LARGEST_BYTES + 1))
        names.append(name)
    return tuple(names)


def emptied(folder: Path, names: tuple[str, ...]) -> Path:
    """The directories of the tree without a file, that everybody may write to."""
    shutil.rmtree(folder, ignore_errors=True)
    for one in [folder, *(folder / name for name in sorted({name.partition("/")[0] for name in names}))]:
        one.mkdir()
        one.chmod(0o777)
    return folder


@contextmanager
def way(name: str, server: RealServer, work: Path) -> Iterator[tuple[str, int, int]]:
    """What stands between client and server: where to go, and the process that is measured (0: there is none)."""
    if name == "direct":
        yield server.host, server.port, 0
        return
    work.mkdir()
    with started(commands(name, work, origin=server.port, passive=PASSIVE), work, FRONT, PORT, PROXY_CORE) as pid:
        yield FRONT, PORT, pid


@dataclass
class Cell:
    """Seconds for one file, one figure a round; the CPU of what stands in the way among them."""

    took: list[float]
    cpu: list[float]


def measured(
    kind: str, ways: tuple[str, ...], clients: tuple[str, ...], rounds: int, directories: int
) -> dict[tuple[str, bool], dict[str, Cell]]:
    """(client, up?) -> way -> cell, of one kind of real server."""
    cells: dict[tuple[str, bool], dict[str, Cell]] = {
        (client, up): {name: Cell([], []) for name in ways} for client in clients for up in (True, False)
    }
    with tempfile.TemporaryDirectory(prefix="bench-tree-") as folder:
        work = Path(folder)
        work.chmod(0o755)
        (work / "server").mkdir()
        (work / "local").mkdir()
        with real_server(kind, "origin", work / "server") as server:
            names = made(work / "local", directories)
            shutil.copytree(work / "local", server.root / "tree")
            for number in range(rounds):
                for name in ways:
                    with way(name, server, work / f"{name}-{number}") as (host, port, pid):
                        for client, up in cells:
                            there = server.root / "incoming" / "tree"
                            emptied(there, names)
                            got = emptied(work / "got", names)
                            errand = Errand(
                                host, port, server.user, server.password, up, work / "local" if up else got,
                                "incoming/tree" if up else "tree", names,
                            )  # fmt: skip
                            before, begin = cpu_s(pid) if pid else 0.0, time.perf_counter()
                            CLIENTS[client][0](errand)
                            cell = cells[client, up][name]
                            cell.took.append((time.perf_counter() - begin) / len(names))
                            cell.cpu.append(((cpu_s(pid) if pid else 0.0) - before) / len(names))
                            same(work / "local", there if up else got, names)
    return cells


def same(one: Path, other: Path, names: tuple[str, ...]) -> None:
    """RuntimeError when a file is missing or another one."""
    for name in names:
        if not (other / name).exists() or (one / name).read_bytes() != (other / name).read_bytes():
            raise RuntimeError(f"{other / name} did not arrive as it was")


def report(kinds: tuple[str, ...], ways: tuple[str, ...], rounds: int, directories: int) -> str:
    """The table."""
    median = statistics.median
    others = [name for name in ways if name != "direct"]
    lines = [
        f"A tree of {directories * A_DIRECTORY:,} files of 1 byte to 8 KiB, one after the other: milliseconds a file,"
        " and what the proxy's processes take of it in CPU.",
        "",
        "| server | client | | direct | " + " | ".join(f"{name} | x direct | CPU" for name in others) + " |",
        "|---|---|---|---|" + "---|---|---|" * len(others),
    ]
    clients = tuple(name for name, (_, program) in CLIENTS.items() if not program or shutil.which(program))
    for kind in kinds:
        print(f"trees: {kind}", file=sys.stderr, flush=True)
        for (client, up), cells in measured(kind, ways, clients, rounds, directories).items():
            direct = median(cells["direct"].took)
            text = f"| {kind} | {client} | {'up' if up else 'down'} | {direct * 1e3:.2f} |"
            for name in others:
                took = median(cells[name].took)
                text += f" {took * 1e3:.2f} | {took / direct:.2f} | {median(cells[name].cpu) * 1e3:.2f} |"
            lines.append(text)
    return "\n".join(lines)


def trees(*, quick: bool = False) -> str:
    """The section of RESULTS.md."""
    if why_not := missing():
        return f"Trees of small files were not measured: {why_not}"
    ways = tuple(name for name in WAYS if name != "haproxy" or Path("build/bench/root/haproxy").exists())
    return report(KINDS, ways, 1 if quick else 2, 2 if quick else DIRECTORIES)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 files, one round, to see that it works")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    print(trees(quick=options.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
