"""What the director beside the kernel takes while nobody comes: its CPU under probes, its memory with many servers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.netns.greeters import greeting
from lab.netns.hosts import Host, network

COMMAND = Path(sys.executable).with_name("ftpdirector")
PROBED = 100
_TICKS_A_SECOND = 100
_CHANGES = 2
"""The exit code of `plan` that there are any."""
_SETTLED_S = 10.0


def probed(scheduler: str) -> str:
    """A cluster file with as many real servers as are probed, every six seconds each."""
    lines = [
        'engine = "nftables"', "[[virtual_server]]", 'name = "ftp"', 'address = "192.0.2.10"', "slices = 128",
        f'scheduler = "{scheduler}"',
    ]  # fmt: skip
    for address in _addresses():
        lines += ["[[virtual_server.real_server]]", f'name = "r{address}"', f'address = "{address}"']
    return "\n".join(lines) + "\n"


def idle_cpu(scheduler: str, seconds: float) -> float:
    """The part of a core that the director and the programs that it starts take."""
    with network(1) as it:
        it.servers[0].ip("".join(f"addr add {address}/24 dev eth0\n" for address in _addresses()))
        ends = {f"220 {address}\r\n": (it.servers[0], address, 21) for address in _addresses()}
        with greeting(ends), running(it.director, probed(scheduler)) as process:
            time.sleep(_SETTLED_S)
            before, begun = _cpu_s(process.pid), time.perf_counter()
            time.sleep(seconds)
            return (_cpu_s(process.pid) - before) / (time.perf_counter() - begun)


def memory_mib(text: str) -> float:
    """The most that the director has held with this cluster file, ten seconds after its start."""
    with network(1) as it, running(it.director, text) as process:
        time.sleep(_SETTLED_S)
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def by_ipvs(text: str, packet_filter: str) -> str:
    """The same cluster under the other kernel engine."""
    marks = count(100, 100)
    lines = [
        f"{line}\nfirewall_mark = {next(marks)}" if line.startswith("scheduler") else line for line in text.splitlines()
    ]
    return "\n".join(lines).replace('"nftables"', f'"ipvs"\n[host]\npacket_filter = "{packet_filter}"', 1)


def plan_s(text: str) -> float:
    """How long `plan` takes on a host that has nothing yet; it changes nothing."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "cluster.toml")
        file.write_text(text)
        begun = time.perf_counter()
        done = subprocess.run(["unshare", "--net", COMMAND, "plan", file], stdout=subprocess.DEVNULL, check=False)
        took_s = time.perf_counter() - begun
    if done.returncode != _CHANGES:
        raise RuntimeError(f"plan: {done.returncode}")
    return took_s


@contextmanager
def running(host: Host, text: str) -> Iterator[subprocess.Popen[bytes]]:
    """The director there, over its table."""
    with TemporaryDirectory() as folder:
        file, out = Path(folder, "cluster.toml"), Path(folder, "out")
        file.write_text(text)
        subprocess.run([COMMAND, "render", file, "--out", out], check=True, stdout=subprocess.DEVNULL)
        host.nft((out / "etc/ftpdirector/ftpdirector.nft").read_text())
        with host.inside(), Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([COMMAND, "run", file, "--socket", Path(folder, "socket")], stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _addresses() -> list[str]:
    return [f"198.51.100.{100 + number}" for number in range(PROBED)]


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / _TICKS_A_SECOND  # its own and that of children that have ended
