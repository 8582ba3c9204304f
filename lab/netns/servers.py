"""Real FTP servers in namespaces, set up as an operator would: passive range, announced address, port 20."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lab.netns.hosts import Host
from lab.netns.hosts import missing as no_hosts
from lab.realservers import KINDS, NOBODY, NOGROUP, PROGRAMS, SECRET, UNPACKED

PATIENCE_S = 20.0
SIZE = 200_000


@dataclass(frozen=True)
class Wanted:
    """A server to start; its name begins with real-. `announced` is the address for 227 replies, empty for its own."""

    kind: str
    name: str
    host: Host
    address: str
    passive: tuple[int, int]
    announced: str
    work: Path = Path()
    """Made when it starts."""
    more: tuple[str, ...] = ()
    """Lines for vsftpd."""

    @property
    def root(self) -> Path:
        return self.work / "root"

    def file(self, name: str, text: str) -> str:
        path = self.work / name
        path.write_text(text)
        return str(path)


def missing() -> str:
    """Why they cannot be had here; empty when they can."""
    absent = [kind for kind, program in PROGRAMS.items() if not program.exists()]
    return no_hosts() or (f"not installed: {', '.join(absent)} (sh lab/install.sh)" if absent else "")


def vsftpd(it: Wanted) -> list[str]:
    six = ":" in it.address
    lines = [
        f"listen={'NO' if six else 'YES'}", f"listen_ipv6={'YES' if six else 'NO'}",
        f"listen_address{'6' if six else ''}={it.address}", "background=NO", "anonymous_enable=YES", "local_enable=NO",
        "no_anon_password=NO", f"anon_root={it.root}", f"ftpd_banner={it.name}", "seccomp_sandbox=NO",
        f"secure_chroot_dir={it.work / 'empty'}", "ftp_username=daemon", "nopriv_user=nobody",
        f"pasv_min_port={it.passive[0]}", f"pasv_max_port={it.passive[1]}", "connect_from_port_20=YES",
    ]  # fmt: skip
    if it.announced:
        lines.append(f"pasv_address={it.announced}")
    lines += it.more
    return [str(PROGRAMS["vsftpd"]), it.file("vsftpd.conf", "".join(f"{line}\n" for line in lines))]


def proftpd(it: Wanted) -> list[str]:
    lines = [
        f'ServerName "{it.name}"', f'ServerIdent on "{it.name}"', "ServerType standalone", "SocketBindTight on",
        f"DefaultAddress {it.address}", "Port 21", "UseIPv6 on", "User nobody", f"Group {NOGROUP}",
        "AuthOrder mod_auth_unix.c", "UseReverseDNS off", "WtmpLog off", "TransferLog none", "DelayEngine off",
        f"PidFile {it.work}/pid", f"SystemLog {it.work}/log", f"ScoreboardFile {it.work}/scoreboard",
        f"PassivePorts {it.passive[0]} {it.passive[1]}",
        *([f"MasqueradeAddress {it.announced}"] if it.announced else []),
        f"<Anonymous {it.root}>", "User nobody", f"Group {NOGROUP}", "UserAlias anonymous nobody",
        "RequireValidShell off", "</Anonymous>",
    ]  # fmt: skip
    file = it.file("proftpd.conf", "".join(f"{line}\n" for line in lines))
    return [str(PROGRAMS["proftpd"]), "-n", "-q", "-c", file]


def pure_ftpd(it: Wanted) -> list[str]:
    users = it.file("users", f"anonymous:{SECRET}:{NOBODY.pw_uid}:{NOBODY.pw_gid}::{it.root}/./::::::::::::\n")
    base = str(it.work / "users.pdb")
    maker = str(UNPACKED / "pure-ftpd/usr/bin/pure-pw")
    subprocess.run([maker, "mkdb", base, "-f", users], check=True, capture_output=True)
    return [
        str(PROGRAMS["pure-ftpd"]), "-S", f"{it.address},21", "-l", f"puredb:{base}", "-E", "-H", "-u", "1",
        "-p", f"{it.passive[0]}:{it.passive[1]}", "-g", f"{it.work}/pid", "-F", it.file("banner", it.name),
        *(["-P", it.announced] if it.announced else []),
    ]  # fmt: skip


def pyftpdlib(it: Wanted) -> list[str]:
    return [
        sys.executable, str(Path(__file__).with_name("pyftpd.py")), it.address, str(it.root), it.name,
        str(it.passive[0]), str(it.passive[1]), it.announced,
    ]  # fmt: skip


COMMANDS: dict[str, Callable[[Wanted], list[str]]] = {
    "vsftpd": vsftpd,
    "proftpd": proftpd,
    "pure-ftpd": pure_ftpd,
    "pyftpdlib": pyftpdlib,
}
assert tuple(COMMANDS) == KINDS


@contextlib.contextmanager
def serving(wanted: list[Wanted], *, greet: bool = True) -> Iterator[None]:
    """All of them, until the block ends. Each serves id.txt, which begins with its name.

    `greet`: they speak first, which a server with implicit TLS does not.
    """
    # Not below pytest's own directory: every pytest that starts closes that one to the servers' users.
    with tempfile.TemporaryDirectory(prefix="ftpdirector-lab-") as base, contextlib.ExitStack() as running:
        Path(base).chmod(0o755)
        placed = [replace(one, work=Path(base) / str(number)) for number, one in enumerate(wanted)]
        processes = [running.enter_context(_running(one)) for one in placed]
        for one, process in zip(placed, processes, strict=True):
            _wait(one, process, b"220" if greet else b"")
        yield


@contextlib.contextmanager
def _running(one: Wanted) -> Iterator[subprocess.Popen[bytes]]:
    one.root.mkdir(parents=True)
    (one.work / "empty").mkdir()
    (one.root / "id.txt").write_bytes(one.name.encode().ljust(SIZE, b"\0"))
    command = COMMANDS[one.kind](one)
    with (one.work / "output").open("wb") as output, one.host.inside():
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(one: Wanted, process: subprocess.Popen[bytes], greeting: bytes) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), one.host.inside(), socket.create_connection((one.address, 21), 2) as sock:
            if not greeting or sock.recv(3) == greeting:
                return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args} does not serve: {(one.work / 'output').read_text()[-2000:]}")
        time.sleep(0.02)
