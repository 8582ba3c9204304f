"""Fuzz target (atheris): whole conversations, said to a real server directly and through the director, and compared.

    python fuzz/fuzz_diff.py diff [CORPUS_DIRECTORY] [-max_total_time=60] ...

The bytes choose commands; what both ways answer must be the same but for addresses, times and a few replies that are
the director's own. The real server is pyftpdlib: it is Python, so that what is found is easily read.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ftpdirector.ftp"]):
    from ftpdirector.ftp import session

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.loopback.running_proxy import FtpClient, director, read_all, real_server, virtual_server

assert session

PLAIN = [
    "NOOP",
    "PWD",
    "CWD d",
    "CWD ..",
    "CWD gone",
    "CDUP",
    "TYPE I",
    "TYPE A",
    "TYPE Q",
    "SIZE f",
    "SIZE gone",
    "MDTM gone",
    "SYST",
    "MKD q",
    "RMD q",
    "DELE gone",
    "RNFR f",
    "RNTO f",
    "RNFR gone",
    "REST 5",
    "REST x",
    "ALLO 5",
    "SITE CHMOD 600 f",
    "MLST f",
    "OPTS UTF8 ON",
    "ABOR",
    "STRU F",
    "MODE S",
    "NONSENSE",
    "ACCT x",
    "XPWD",
    "XCWD d",
    "cwd d",
    "noop",
    "PORT 1,2,3",
    "EPRT x",
]
DATA = [
    "LIST",
    "NLST",
    "RETR f",
    "RETR gone",
    "RETR d",
    "STOR in/u",
    "APPE in/u",
    "MLSD",
    "LIST d",
    "NLST gone",
    "RETR empty",
    "LIST empty",
]
FILE = b"0123456789" * 100
MOST = 12


class Ways:
    """A real server and a director before it, for as long as this process lives."""

    def __init__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.root = Path(tempfile.mkdtemp(prefix="ftpdirector-fuzz-"))
        self.stack.callback(shutil.rmtree, self.root, ignore_errors=True)
        real = self.stack.enter_context(real_server("alpha", self.root))
        proxy = self.stack.enter_context(director(virtual_server([("alpha", real.endpoint)])))
        self.direct = (str(real.endpoint.address), real.endpoint.port)
        self.through = proxy.address

    def fresh(self) -> None:
        """The same files for each conversation; folders stay, pyftpdlib's process may stand in one of them."""
        for made in list(self.root.rglob("q")):
            shutil.rmtree(made, ignore_errors=True)
        for name in ("d", "in"):
            (self.root / name).mkdir(exist_ok=True)
        for file in self.root.rglob("*"):
            if file.is_file():
                file.unlink()
        (self.root / "f").write_bytes(FILE)
        (self.root / "empty").touch()


def normal(reply: str) -> str:
    """What may differ is left out."""
    reply = re.sub(r"^(125 Data connection already open|150 File status okay).*", "1xx", reply)
    reply = re.sub(r"modify=\d+|unique=\w+|\d\d:\d\d", "~", reply)
    # The director refuses some commands itself, in other words; a refused transfer leaves no data connection to ABOR.
    return reply[:3] if reply.startswith(("500", "501", "225")) else reply


def talk(address: tuple[str, int], notes: bytes) -> list[str]:
    """What is heard in the conversation that these bytes stand for."""
    heard: list[str] = []
    with FtpClient(address).login() as line:
        for note in notes[:MOST]:
            if note < 160:
                heard.append(normal(line.ask(PLAIN[note % len(PLAIN)])))
                continue
            command = DATA[note % len(DATA)]
            answer = line.ask("EPSV")
            if not answer.startswith("229"):
                heard.append(normal(answer))
                continue
            with socket.create_connection((address[0], int(answer.split("|")[3])), 10) as data:
                reply = line.ask(command)
                heard.append(normal(reply))
                if reply[0] != "1":
                    continue
                if command.startswith(("STOR", "APPE")):
                    data.sendall(FILE)
                    data.close()
                else:
                    got = read_all(data)
                    heard.append(str(len(got)) if command.startswith("RETR") else f"{len(got.splitlines())} lines")
                heard.append(normal(line.reply()))
    return heard


@lru_cache(1)
def ways() -> Ways:
    """Started with the first input, kept as long as this process lives."""
    return Ways()


def diff(data: bytes) -> None:
    """Both ways are heard the same."""
    if not data:
        return
    ways().fresh()
    direct = talk(ways().direct, data)
    ways().fresh()
    through = talk(ways().through, data)
    said = [PLAIN[note % len(PLAIN)] if note < 160 else DATA[note % len(DATA)] for note in data[:MOST]]
    assert through == direct, f"{said}\ndirect:  {direct}\nthrough: {through}"


TARGETS: dict[str, Callable[[bytes], None]] = {
    "diff": diff,
}


def main() -> None:
    """Run the target named first; the rest is libFuzzer's."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz_diff.py {'|'.join(TARGETS)} [CORPUS] [-max_total_time=60]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup([*sys.argv, "-max_len=12"], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
