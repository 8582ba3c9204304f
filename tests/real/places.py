"""One real server of the distribution behind one director, and what that server itself says of each upload."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import realservers
from lab.realservers import RealServer

from tests.directors import Director, cluster_file, director
from tests.loopback.running_proxy import FtpClient, quiet_port

SIZE = 256 << 20
"""More than all buffers on the way hold, so that the server is still sending when somebody dies."""
PATIENCE_S = 20.0


@dataclass
class Place:
    """One real server behind one director."""

    real: RealServer
    port: int
    director: Director
    work: Path

    def login(self, port: int = 0) -> FtpClient:
        line = FtpClient(("127.0.0.1", port or self.port))
        line.sock.settimeout(60)  # two hundred logins at once are work for a forking server
        assert line.reply().startswith("220")
        reply = line.ask(f"USER {self.real.user}")
        assert (line.ask(f"PASS {self.real.password}") if reply.startswith("331") else reply).startswith("230")
        assert line.ask("TYPE I").startswith("200")
        return line

    def kill_sessions(self) -> int:
        """SIGKILL every process of the real server but its listener; how many."""
        found = descendants(self.real.pid)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    @property
    def tells(self) -> bool:
        """Whether the server tells whole files from cut ones in its log.

        Pure-FTPd's has status 200 for both, and pyftpdlib itself takes a reset for an end (`DTPHandler.handle_close`).
        """
        return self.real.kind in ("vsftpd", "proftpd")

    def worker(self, other_than: int = 0) -> int:
        """The director's only worker, once it serves and the one before it is buried."""
        end = time.monotonic() + PATIENCE_S
        while True:
            pids = self._workers()
            with contextlib.suppress(OSError, EOFError, AssertionError):
                if len(pids) == 1 and pids != [other_than]:
                    self.login().sock.close()
                    return pids[0]
            assert time.monotonic() < end, f"nobody serves: {pids}\n{self.director.text[-2000:]}"
            time.sleep(0.02)

    def _workers(self) -> list[int]:
        """By their name: the supervisor may have other children."""
        found: list[int] = []
        for pid in self.director.workers():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "ftpdirector-w0\n":
                    found.append(pid)
        return found

    def verdict(self, name: str) -> str:
        """What the server's own log says of a transfer, once it does: `whole`, or `cut`."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = self._verdicts(name)
            if found:
                assert len(found) == 1, found
                return found[0]
            assert time.monotonic() < end, f"no word of {name}: {self._log()[-500:]}"
            time.sleep(0.005)

    def stored(self, name: str) -> int:
        """Bytes that lie there under this name."""
        file = self.real.root / "incoming" / name
        return file.stat().st_size if file.exists() else 0

    def _log(self) -> str:
        file = self.work / "transfers.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _verdicts(self, name: str) -> list[str]:
        lines = [line for line in self._log().splitlines() if re.search(rf"/{re.escape(name)}\b", line)]
        if self.real.kind == "proftpd":  # xferlog(5): i, incomplete, is the last word
            return ["cut" if line.endswith(" i") else "whole" for line in lines]
        return ["cut" if "FAIL " in line else "whole" for line in lines]


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [*descendants(int(child)), int(child)]
    return found


@contextlib.contextmanager
def place_of(kind: str, work: Path, *, virtual: str = "", top: str = "") -> Iterator[Place]:
    """Start both; `virtual` are more lines of the virtual server, `top` of the cluster."""
    with realservers.real_server(kind, "alpha", work) as real:
        with (real.root / "big.bin").open("wb") as file:
            file.truncate(SIZE)
        (real.root / "small.bin").write_bytes(b"s" * 1000)
        port = quiet_port()
        first = 20_000 + 1_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 5)
        file = cluster_file(
            work / "cluster.toml",
            [("alpha", real.host, real.port)],
            port=port,
            top=top,
            virtual=f'passive_ports = "{first}-{first + 999}"\nmax_sessions_per_client = 0\n{virtual}\n'
            '[virtual_server.health_check]\nprobe = "connect"\nfall = 100',
        )
        with director(file) as it:
            yield Place(real, port, it, work)
