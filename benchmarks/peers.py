"""The peers: how each proxy is set up in front of the same real server, and what it can be compared in.

Clients connect to FRONT:PORT; the real server stands on 127.0.0.1:ORIGIN_PORT with the passive ports PASSIVE.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNPACKED = ROOT / "build/bench/root"
FRONT, PORT, ORIGIN_PORT = "127.0.0.2", 2121, 2199
PASSIVE = (5000, 5199)
PROXY_CORE, LOAD_CORE = 1, 0

HAPROXY = """
global
  maxconn 6000
  {tune}
defaults
  mode tcp
  timeout connect 5s
  timeout client 15m
  timeout server 15m
  {option}
frontend control
  bind {front}:{port}
  default_backend control
backend control
  server origin 127.0.0.1:{origin}
frontend data
  bind {front}:{first}-{last}
  default_backend data
backend data
  server origin 127.0.0.1
"""

NGINX = """
load_module {root}/libnginx-mod-stream/usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
pid {work}/nginx.pid;
error_log {work}/nginx.log;
events {{ worker_connections 25000; }}
stream {{
  tcp_nodelay on;
  server {{ listen {front}:{port}; proxy_pass 127.0.0.1:{origin}; }}
  server {{ listen {front}:{first}-{last}; proxy_pass 127.0.0.1:$server_port; }}
}}
"""

FTP_PROXY = """
[-Global-]
ServerType standalone
Listen {front}
Port {port}
DestinationAddress 127.0.0.1
DestinationPort {origin}
DestinationTransferMode passive
MaxClients 12000
MaxClientsPerHost 12000
User nobody
Group nogroup
LogLevel FLT
ForkLimit 1000000
LogDestination {work}/ftp-proxy.log
PidFile {work}/ftp-proxy.pid
"""

MOD_PROXY = """
ModulePath {root}/proftpd-mod-proxy/usr/lib/proftpd
LoadModule mod_proxy.c
ServerType standalone
DefaultAddress {front}
SocketBindTight on
Port {port}
User nobody
Group nogroup
AuthOrder mod_auth_unix.c
UseReverseDNS off
WtmpLog off
TransferLog none
SystemLog {work}/own/log
PidFile {work}/own/pid
ScoreboardFile {work}/own/scoreboard
DelayEngine off
MaxInstances 12000
<IfModule mod_proxy.c>
  ProxyEngine on
  ProxyTables {work}/own/tables
  ProxyRole reverse
  ProxyReverseServers ftp://127.0.0.1:{origin}
  ProxyDataTransferPolicy PASV
  ProxySourceAddress 127.0.0.1
</IfModule>
"""

CLUSTER = """
transfer_log = "{work}/xferlog"
[status]
listen = "127.0.0.1:8099"
[[virtual_server]]
name = "ftp"
address = "{front}"
port = {port}
passive_ports = "20000-29999"
max_sessions = 20000
max_sessions_per_client = 20000
  [virtual_server.health_check]
  interval = "1m"
  [[virtual_server.real_server]]
  name = "origin"
  address = "127.0.0.1"
  port = {origin}
"""


@dataclass(frozen=True)
class Peer:
    """One that runs: where clients go, and the process whose tree is measured (0: there is none)."""

    name: str
    host: str
    port: int
    pid: int


def commands(name: str, work: Path, *, origin: int = ORIGIN_PORT, passive: tuple[int, int] = PASSIVE) -> list[str]:
    """Write the peer's files; its command line. The real server listens on `origin`, its data ports are `passive`."""
    work.chmod(0o777)  # some peers give up root before they write there
    values = {
        "front": FRONT, "port": PORT, "origin": origin, "first": passive[0], "last": passive[1], "work": work,
        "root": UNPACKED, "tune": "", "option": "",
    }  # fmt: skip
    bin_of_python = Path(sys.executable).parent

    def write(file: str, text: str, **more: str) -> str:
        path = work / file
        path.write_text(text.format(**(values | more)))
        return str(path)

    match name:
        case "ftpdirector":
            file = write("cluster.toml", CLUSTER)
            return [str(bin_of_python / "ftpdirector"), "run", file, "--socket", str(work / "socket")]
        case "relay":
            return [
                sys.executable, str(Path(__file__).with_name("relay.py")), FRONT, f"{PORT}:{origin}",
                f"{passive[0]}-{passive[1]}",
            ]  # fmt: skip
        case "haproxy":
            return [str(UNPACKED / "haproxy/usr/sbin/haproxy"), "-db", "-f", write("haproxy.cfg", HAPROXY)]
        case "haproxy-splice":
            tune = "tune.pipesize 1048576\n  tune.bufsize 65536"
            file = write("haproxy.cfg", HAPROXY, tune=tune, option="option splice-auto")
            return [str(UNPACKED / "haproxy/usr/sbin/haproxy"), "-db", "-f", file]
        case "nginx":
            file = write("nginx.conf", NGINX)
            return [str(UNPACKED / "nginx/usr/sbin/nginx"), "-p", str(work), "-c", file, "-e", str(work / "e.log")]
        case "ftp-proxy":
            return [str(UNPACKED / "ftp-proxy/usr/sbin/ftp-proxy"), "-n", "-f", write("ftp-proxy.conf", FTP_PROXY)]
        case "mod_proxy":
            (work / "own/tables").mkdir(parents=True)
            program = ROOT / "build/lab/root/proftpd-core/usr/sbin/proftpd"
            # mod_proxy wants OpenSSL, which Debian's server without its TLS module does not load.
            return [
                "env",
                "LD_PRELOAD=libssl.so.3 libcrypto.so.3",
                str(program),
                "-n",
                "-q",
                "-c",
                write("proftpd.conf", MOD_PROXY),
            ]
        case _:
            raise ValueError(name)


NAMES = ("direct", "ftpdirector", "relay", "haproxy", "haproxy-splice", "nginx", "ftp-proxy", "mod_proxy")


@contextlib.contextmanager
def started(command: list[str], work: Path, host: str, port: int, core: int) -> Iterator[int]:
    """A process pinned to a core, once it greets; stopped with its process group."""
    with (work / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, port), 3) as sock:
                sock.settimeout(3)
                if sock.recv(3) == b"220":
                    break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} does not serve: {(work / 'output.txt').read_text()[-1000:]}")
            time.sleep(0.05)
        time.sleep(0.5)
        yield process.pid
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += tree(int(child))
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process tree, those of children that ended included (proc(5), stat fields 14 to 17)."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def own_kib(pid: int) -> int:
    """Memory that is a process tree's own, in KiB (smaps_rollup: Private_Clean + Private_Dirty)."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean", "Private_Dirty")):
                    total += int(line.split()[1])
    return total
