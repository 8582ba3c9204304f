"""The distribution's servers at the limits of their own default files: full, not down, and back when there is room.

ProFTPD at its MaxInstances (30 in Debian's file) accepts and closes without a byte; vsftpd at its max_per_ip and
Pure-FTPd at its number of users (50 each, compiled in) say 421. Behind the director all clients have one address.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import realservers

from tests.directors import Director, cluster_file, director
from tests.loopback.running_proxy import FtpClient, quiet_port

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

LIMITS = {"proftpd": 30, "vsftpd": 50, "pure-ftpd": 50}


def _command(kind: str, port: int, work: Path) -> list[str]:
    """Their own files, but for the port and for paths and users that only the installed package has."""
    program = str(realservers.PROGRAMS[kind])
    match kind:
        case "proftpd":
            template = realservers.UNPACKED / "proftpd-core/usr/share/proftpd/templates/proftpd.conf"
            ours = {"Port": f"{port}", "User": "nobody", "Group": realservers.NOGROUP}
            lines = [f"PidFile {work}/pid", f"ScoreboardFile {work}/scoreboard"]
            for line in template.read_text().splitlines():
                word = line.split()[0] if line.split() else ""
                if word in ("Include", "TransferLog", "SystemLog", "ControlsLog", "ControlsSocket"):
                    continue
                lines.append(f"{word} {ours[word]}" if word in ours else line)
            file = work / "proftpd.conf"
            file.write_text("\n".join(lines) + "\nSystemLog none\nTransferLog none\n")
            return [program, "-n", "-q", "-c", str(file)]
        case "vsftpd":
            (work / "empty").mkdir()
            file = realservers.UNPACKED / "vsftpd/etc/vsftpd.conf"
            return [program, str(file), f"-olisten_port={port}", "-obackground=NO", f"-osecure_chroot_dir={work}/empty"]
        case _:
            return [program, "-S", f"127.0.0.1,{port}", "-H", "-g", str(work / "pid")]


@contextlib.contextmanager
def by_its_own_file(kind: str, work: Path) -> Iterator[int]:
    """The port of one that runs."""
    port = realservers.free_port("127.0.0.1")
    with (work / "output").open("wb") as output:
        process = subprocess.Popen(
            _command(kind, port, work), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        end_s = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as sock:
                if sock.recv(3) == b"220":
                    break
            assert process.poll() is None, (work / "output").read_text()
            assert time.monotonic() < end_s
            time.sleep(0.02)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("kind", LIMITS)
def test_a_server_at_its_own_limit_is_full_and_not_down(tmp_path: Path, kind: str) -> None:
    port = quiet_port()
    with by_its_own_file(kind, tmp_path) as real_port, contextlib.ExitStack() as clients:
        file = cluster_file(
            tmp_path / "cluster.toml",
            [("alpha", "127.0.0.1", real_port)],
            port=port,
            virtual="max_sessions_per_client = 0\n[virtual_server.health_check]\n"
            'interval = "1s"\ntimeout = "1s"\nfall = 1\nrise = 1\n',
        )
        with director(file) as it:
            it.wait_for("verdict", now="up")
            lines: list[FtpClient] = []
            for _ in range(LIMITS[kind] + 1):
                line = clients.enter_context(FtpClient(("127.0.0.1", port)))
                line.sock.settimeout(30)
                if not line.reply().startswith("220"):
                    break
                lines.append(line)
            assert LIMITS[kind] - 1 <= len(lines) <= LIMITS[kind]
            _until_health(it, "full")
            time.sleep(3)  # some probes more, each refused
            assert [one["now"] for one in it.events if one.get("event") == "verdict"][1:] == ["full"]
            verdict = it.real_server("alpha")["verdict"]
            assert verdict["health"] == "full"
            for line in lines:
                assert not line.ask("NOOP").startswith("421"), "who is there is not harmed"
            for line in lines[:5]:
                line.ask("QUIT")
                line.sock.close()
            _until_health(it, "up")
            back = clients.enter_context(FtpClient(("127.0.0.1", port)))
            back.sock.settimeout(30)
            assert back.reply().startswith("220")
            assert "down" not in [one["now"] for one in it.events if one.get("event") == "verdict"]


def _until_health(it: Director, health: str) -> None:
    it.until(lambda: it.real_server("alpha")["verdict"]["health"] == health, health)


def test_silence_where_nobody_is_served_is_down(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = subprocess.Popen(
            ["/usr/bin/python3", "-c", _CLOSES, str(listener.fileno())], pass_fds=[listener.fileno()]
        )
        try:
            file = cluster_file(
                tmp_path / "cluster.toml", [("alpha", "127.0.0.1", listener.getsockname()[1])], port=quiet_port()
            )
            with director(file) as it:
                verdict = it.wait_for("verdict", now="down")
                assert verdict["reason"].startswith("closed the connection before the greeting")
        finally:
            closing.kill()
            closing.wait()


_CLOSES = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    listener.accept()[0].close()
"""
