"""Real FTP servers on loopback: vsftpd, ProFTPD, Pure-FTPd, pyftpdlib, started for a test and stopped by process id.

Each serves `root`: files to read, and `incoming` to write to. The programs are those that lab/install.sh unpacked.
"""

from __future__ import annotations

import contextlib
import grp
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNPACKED = Path(__file__).parent.parent / "build" / "lab" / "root"
KINDS = ("vsftpd", "proftpd", "pure-ftpd", "pyftpdlib")
PATIENCE_S = 20.0
NOBODY = pwd.getpwnam("nobody")
NOGROUP = grp.getgrgid(NOBODY.pw_gid).gr_name

PASSIVE = (5_500, 9_499)
"""Below the ephemeral ports, so that nobody's outgoing connection is in the way."""

PROGRAMS = {
    "vsftpd": UNPACKED / "vsftpd/usr/sbin/vsftpd",
    "proftpd": UNPACKED / "proftpd-core/usr/sbin/proftpd",
    "pure-ftpd": UNPACKED / "pure-ftpd/usr/sbin/pure-ftpd",
    "pyftpdlib": Path(sys.executable),
}

SECRET = "$1$directed$tuE8zOcfDl5tMIflY8HBh1"
"""The password `secret` as crypt(3) hashes it in little time: pure-pw's own hash costs seconds of work a login."""

VSFTPD = """
listen={listen4}
listen_ipv6={listen6}
listen_address{six}={host}
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
no_anon_password=NO
ftp_username=daemon
nopriv_user=nobody
anon_root={root}
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
secure_chroot_dir={empty}
seccomp_sandbox=NO
pasv_min_port={first}
pasv_max_port={last}
connect_from_port_20=NO
xferlog_enable=YES
vsftpd_log_file={work}/transfers.log
max_clients={most}
max_per_ip={most}
ftpd_banner={name}
"""

PROFTPD = """
ServerName "{name}"
ServerIdent on "{name}"
ServerType standalone
DefaultAddress {host}
SocketBindTight on
Port {port}
UseIPv6 on
PassivePorts {first} {last}
User nobody
Group {group}
AuthOrder mod_auth_unix.c
UseReverseDNS off
WtmpLog off
TransferLog {work}/transfers.log
SystemLog {work}/proftpd.log
PidFile {work}/proftpd.pid
ScoreboardFile {work}/proftpd.scoreboard
DelayEngine off
MaxInstances {most}
TimeoutIdle 600
AllowStoreRestart on
AllowRetrieveRestart on
AllowOverwrite on
<Anonymous {root}>
  User nobody
  Group {group}
  UserAlias anonymous nobody
  RequireValidShell off
  <Limit LOGIN>
    AllowAll
  </Limit>
</Anonymous>
"""


@dataclass(frozen=True)
class RealServer:
    """One that runs. `pid` is the listening process; `root` what it serves."""

    kind: str
    name: str
    host: str
    port: int
    root: Path
    user: str
    password: str
    pid: int


def missing() -> str:
    """Why real servers cannot be had here; empty when they can."""
    absent = [kind for kind, program in PROGRAMS.items() if not program.exists()]
    if absent:
        return f"not installed: {', '.join(absent)} (sh lab/install.sh)"
    return "" if os.geteuid() == 0 else "vsftpd, ProFTPD and Pure-FTPd want root to serve a login"


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_PORTS = itertools.count(4_000 + 300 * (_WORKER % 16))
"""Parallel test processes have ports of their own: between a look at a port and its use another would take it."""


def free_port(host: str) -> int:
    """A port, below the ephemeral ones, that is free on this address and was not given before."""
    for port in itertools.islice(_PORTS, 100):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            return port
    raise RuntimeError(f"no free port on {host}")


@contextlib.contextmanager
def real_server(
    kind: str,
    name: str,
    work: Path,
    host: str = "127.0.0.1",
    *,
    most: int = 500,
    passive: tuple[int, int] = PASSIVE,
) -> Iterator[RealServer]:
    """Start one; `work` gets its files. Ready when it answers, stopped with all its sessions at the end."""
    with _document_root() as root:
        yield from _serve(kind, name, work, root, host, most, passive)


@contextlib.contextmanager
def _document_root() -> Iterator[Path]:
    """Not below pytest's own directory: every pytest that starts closes that one to the servers' users."""
    with tempfile.TemporaryDirectory(prefix="ftpdirector-lab-") as made:
        root = Path(made)
        root.chmod(0o755)
        (root / "incoming").mkdir()
        (root / "incoming").chmod(0o777)
        yield root


def _serve(
    kind: str, name: str, work: Path, root: Path, host: str, most: int, passive: tuple[int, int]
) -> Iterator[RealServer]:
    port = free_port(host)
    command, user, password = _command(kind, name, work, root, host, port, most, passive)
    with (work / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait(host, port, process, work)
        yield RealServer(kind, name, host, port, root, user, password, process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _command(
    kind: str, name: str, work: Path, root: Path, host: str, port: int, most: int, passive: tuple[int, int]
) -> tuple[list[str], str, str]:
    program = str(PROGRAMS[kind])
    (work / "empty").mkdir(exist_ok=True)
    six = ":" in host
    values = {
        "host": host, "port": port, "root": root, "name": name, "work": work, "empty": work / "empty", "most": most,
        "first": passive[0], "last": passive[1], "group": NOGROUP, "listen4": "NO" if six else "YES",
        "listen6": "YES" if six else "NO", "six": "6" if six else "",
    }  # fmt: skip
    match kind:
        case "vsftpd":
            file = work / "vsftpd.conf"
            file.write_text(VSFTPD.format(**values))
            return [program, str(file)], "anonymous", "test@localhost"
        case "proftpd":
            file = work / "proftpd.conf"
            file.write_text(PROFTPD.format(**values))
            return [program, "-n", "-q", "-c", str(file)], "anonymous", "test@localhost"
        case "pure-ftpd":
            return _pure_ftpd(program, work, root, host, port, most, passive), "user", "secret"
        case _:
            return [
                program, str(Path(__file__).with_name("pyftpd.py")), host, str(port), str(root), name, str(passive[0]),
                str(passive[1]), str(most),
            ], "user", "secret"  # fmt: skip


def _pure_ftpd(
    program: str, work: Path, root: Path, host: str, port: int, most: int, passive: tuple[int, int]
) -> list[str]:
    users, base = work / "users", work / "users.pdb"
    users.write_text(f"user:{SECRET}:{NOBODY.pw_uid}:{NOBODY.pw_gid}::{root}/./::::::::::::\n")
    subprocess.run(
        [str(UNPACKED / "pure-ftpd/usr/bin/pure-pw"), "mkdb", str(base), "-f", str(users)],
        check=True,
        capture_output=True,
    )
    return [
        program, "-S", f"{host},{port}", "-l", f"puredb:{base}", "-E", "-A", "-H", "-u", "1", "-c", str(most), "-C",
        str(most), "-p", f"{passive[0]}:{passive[1]}", "-g", str(work / "pure-ftpd.pid"), "-I", "10", "-O",
        f"clf:{work}/pure-ftpd.log",
    ]  # fmt: skip


def _wait(host: str, port: int, process: subprocess.Popen[bytes], work: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection((host, port), 2) as sock:
                if sock.recv(3) == b"220":
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args} does not serve: {(work / 'output.txt').read_text()[-2000:]}")
        time.sleep(0.02)


def clear(directory: Path) -> None:
    """Remove what lies in a directory."""
    for one in directory.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
