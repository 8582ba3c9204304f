"""Real FTP clients as command lines: which modes and operations each is able to, and how it is asked for one.

A visit is one client program, in one mode, doing one thing. It returns the bytes that it got, or raises VisitError.
"""

from __future__ import annotations

import asyncio
import ftplib
import io
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aioftp

TIMEOUT_S = 25


class VisitError(Exception):
    """The client program says that it did not work."""


@dataclass(frozen=True)
class Visit:
    """What is asked of a client. `remote` is a path on the server, `content` what is uploaded, `work` a directory."""

    host: str
    port: int
    user: str
    password: str
    mode: str
    operation: str
    remote: str
    work: Path
    content: bytes = b""

    @property
    def bracketed(self) -> str:
        """The host as a URL writes it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def active(self) -> bool:
        """PORT or EPRT."""
        return self.mode in ("PORT", "EPRT")

    def source(self) -> Path:
        """A local file with what is uploaded."""
        path = self.work / "source"
        path.write_bytes(self.content)
        return path


def _run(command: list[str], *, text: str = "", cwd: Path | None = None) -> bytes:
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT_S, check=False, cwd=cwd)
    if done.returncode:
        said = (done.stdout[-1500:] + done.stderr[-1500:]).decode(errors="replace")
        raise VisitError(f"{command[0]} exited {done.returncode}: {said}")
    return done.stdout


def curl(visit: Visit) -> bytes:
    """-P: active; --disable-epsv, --disable-eprt: the old commands."""
    mode = {"PASV": ["--disable-epsv"], "EPSV": [], "PORT": ["-P", "-", "--disable-eprt"], "EPRT": ["-P", "-"]}
    operation = {
        "RETR": [],
        "LIST": [],
        "MLSD": ["-X", "MLSD"],
        "STOR": ["-T", str(visit.source())],
        "APPE": ["-T", str(visit.source()), "--append"],
    }[visit.operation]
    url = f"ftp://{visit.bracketed}:{visit.port}/{visit.remote}"
    return _run(["curl", "-sS", "--user", f"{visit.user}:{visit.password}", *mode[visit.mode], *operation, url])


def lftp(visit: Visit) -> bytes:
    """It reads a directory with LIST or MLSD for every command on it."""
    out = visit.work / "got"
    do = {
        "RETR": f"get {visit.remote} -o {out}",
        "STOR": f"put {visit.source()} -o {visit.remote}",
        "LIST": f"ls {visit.remote}",
        "MLSD": f"cls -l {visit.remote}",
    }[visit.operation]
    script = (
        "set net:max-retries 1; set net:timeout 15; set cmd:fail-exit true; set ftp:use-feat true;"
        f" set ftp:use-mlsd {'yes' if visit.operation == 'MLSD' else 'no'};"
        f" set ftp:passive-mode {'no' if visit.active else 'yes'};"
        f" set ftp:prefer-epsv {'yes' if visit.mode == 'EPSV' else 'no'};"
        f" open -u {visit.user},{visit.password} ftp://{visit.bracketed}:{visit.port}; {do}; bye"
    )
    said = _run(["lftp", "--norc", "-c", script])
    return out.read_bytes() if visit.operation == "RETR" else said


def tnftp(visit: Visit) -> bytes:
    """Driven by its commands on standard input; -V: verbose, so that a refusal is seen."""
    out = visit.work / "got"
    do = {
        "RETR": f"get {visit.remote} {out}",
        "STOR": f"put {visit.source()} {visit.remote}",
        "APPE": f"append {visit.source()} {visit.remote}",
        "LIST": f"dir {visit.remote or '.'} {out}",
    }[visit.operation]
    lines = [f"open {visit.host} {visit.port}", f"user {visit.user} {visit.password}", "binary"]
    if visit.mode in ("PASV", "PORT"):
        lines.insert(0, "epsv4 off")
    said = _run(
        ["tnftp", "-n", "-i", "-v", "-q", "15", "-A" if visit.active else "-p"],
        text="\n".join([*lines, do, "bye"]) + "\n",
        cwd=visit.work,
    ).decode(errors="replace")
    if "\n226" not in said and "\n250" not in said:
        raise VisitError(said[-1500:])
    return out.read_bytes() if out.exists() else b""


def ncftp(visit: Visit) -> bytes:
    """-E: PORT, -F: PASV; ncftpget, ncftpput and ncftpls are programs of their own."""
    mode = ["-E" if visit.active else "-F", "-u", visit.user, "-p", visit.password, "-P", str(visit.port), "-t", "15"]
    folder, _, name = visit.remote.rpartition("/")
    match visit.operation:
        case "RETR":
            _run(["ncftpget", "-V", "-Z", *mode, visit.host, str(visit.work), visit.remote])
            return (visit.work / name).read_bytes()
        case "LIST":
            return _run(["ncftpls", "-l", *mode, f"ftp://{visit.host}:{visit.port}/{visit.remote}"])
        case _:
            named = visit.work / name
            named.write_bytes(visit.content)
            append = ["-A"] if visit.operation == "APPE" else []
            return _run(["ncftpput", "-V", "-Z", *append, *mode, visit.host, folder or ".", str(named)])


def wget(visit: Visit) -> bytes:
    """It lists before it reads; PORT and EPRT by --no-passive-ftp."""
    out = visit.work / "got"
    mode = ["--no-passive-ftp"] if visit.active else []
    url = f"ftp://{visit.bracketed}:{visit.port}/{visit.remote}"
    login = [f"--ftp-user={visit.user}", f"--ftp-password={visit.password}"]
    _run(["wget", "-nv", "-t", "1", "-T", "15", *login, *mode, "-O", str(out), url], cwd=visit.work)
    return out.read_bytes()


def with_ftplib(visit: Visit) -> bytes:
    """Python's own; EPSV and EPRT over IPv6 only."""
    with ftplib.FTP(timeout=TIMEOUT_S) as ftp:
        ftp.connect(visit.host, visit.port)
        ftp.login(visit.user, visit.password)
        ftp.set_pasv(not visit.active)
        taken = io.BytesIO()
        match visit.operation:
            case "RETR":
                ftp.retrbinary(f"RETR {visit.remote}", taken.write)
            case "LIST" | "MLSD":
                lines: list[str] = []
                ftp.retrlines(f"{visit.operation} {visit.remote}".rstrip(), lines.append)
                return "\n".join(lines).encode()
            case operation:
                ftp.storbinary(f"{operation} {visit.remote}", io.BytesIO(visit.content))
        return taken.getvalue()


def with_aioftp(visit: Visit) -> bytes:
    """Passive only."""
    return asyncio.run(asyncio.wait_for(_aioftp(visit), TIMEOUT_S))


async def _aioftp(visit: Visit) -> bytes:
    client = aioftp.Client(passive_commands=(visit.mode.lower(),), socket_timeout=15)
    await client.connect(visit.host, visit.port)
    await client.login(visit.user, visit.password)
    try:
        match visit.operation:
            case "RETR":
                async with client.download_stream(visit.remote) as stream:
                    return await stream.read()
            case "LIST" | "MLSD":
                found = await client.list(visit.remote or "/", raw_command=visit.operation)
                return "\n".join(str(path) for path, _ in found).encode()
            case "STOR":
                async with client.upload_stream(visit.remote) as stream:
                    await stream.write(visit.content)
            case _:
                async with client.append_stream(visit.remote) as stream:
                    await stream.write(visit.content)
        return b""
    finally:
        await client.quit()


Client = Callable[[Visit], bytes]

CLIENTS: dict[str, tuple[Client, str]] = {
    "curl": (curl, "curl"),
    "lftp": (lftp, "lftp"),
    "tnftp": (tnftp, "tnftp"),
    "ncftp": (ncftp, "ncftpget"),
    "wget": (wget, "wget"),
    "ftplib": (with_ftplib, ""),
    "aioftp": (with_aioftp, ""),
}
"""Name -> how it is run, and the program that must be there."""

# lftp names :: in its EPRT, whatever its own address is.
#   client    over IPv4              over IPv6       operations
ABLE = """
    curl      PASV EPSV PORT EPRT  | EPSV EPRT     | RETR STOR APPE LIST MLSD
    lftp      PASV EPSV PORT       | EPSV          | RETR STOR LIST MLSD
    tnftp     PASV EPSV PORT EPRT  | EPSV EPRT     | RETR STOR APPE LIST
    ncftp     PASV PORT            |               | RETR STOR APPE LIST
    wget      PASV PORT            | EPSV EPRT     | RETR LIST
    ftplib    PASV PORT            | EPSV EPRT     | RETR STOR APPE LIST MLSD
    aioftp    PASV EPSV            | EPSV          | RETR STOR APPE LIST MLSD
"""


def cells() -> list[tuple[str, str, str, str]]:
    """Every (client, host, mode, operation) that the table allows."""
    found: list[tuple[str, str, str, str]] = []
    for line in ABLE.strip().splitlines():
        before, six, operations = (part.split() for part in line.split("|"))
        client, four = before[0], before[1:]
        for host, modes in (("127.0.0.1", four), ("::1", six)):
            found += [(client, host, mode, operation) for mode in modes for operation in operations]
    return found


def missing() -> str:
    """Which client programs are not here; empty when all are."""
    absent = [program for _, program in CLIENTS.values() if program and not shutil.which(program)]
    return f"not installed: {', '.join(absent)} (sh lab/install.sh)" if absent else ""


def has_ipv6() -> bool:
    """Whether ::1 can be used."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
