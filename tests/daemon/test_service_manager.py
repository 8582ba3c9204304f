"""What systemd does: it is told of readiness, keeps sockets and gives them back; who came in between is served."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

from tests.directors import COMMAND, cluster_file
from tests.loopback.running_proxy import FtpClient, quiet_port, real_server


def messages(manager: socket.socket, until: str) -> tuple[list[str], list[int]]:
    """What was told, up to a word, and the descriptors that came along."""
    told: list[str] = []
    kept: list[int] = []
    manager.settimeout(30)
    while not any(until in one for one in told):
        data, fds, _, _ = socket.recv_fds(manager, 4096, 253)
        told.append(data.decode())
        kept += fds
    return told, kept


def test_a_restart_refuses_nobody_who_comes_in_between(tmp_path: Path) -> None:
    port = quiet_port()
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with (
        real_server("alpha", tmp_path / "alpha") as real,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        contextlib.ExitStack() as stack,
    ):
        manager.bind(str(tmp_path / "notify"))
        file = cluster_file(
            tmp_path / "c.toml", [("alpha", "127.0.0.1", real.endpoint.port)], port=port,
            virtual='passive_ports = "23000-23999"',
        )  # fmt: skip
        run = [COMMAND, "run", str(file), "--socket", str(tmp_path / "s")]
        first = subprocess.Popen(run, env=environment, stderr=subprocess.DEVNULL)
        stack.callback(first.kill)
        told, kept = messages(manager, "READY=1")
        assert any(one.startswith("FDSTORE=1") for one in told)
        assert len(kept) == 1
        stack.callback(os.close, kept[0])
        messages(manager, "WATCHDOG=1")
        first.terminate()
        messages(manager, "STOPPING=1")
        assert first.wait(30) == 0
        with FtpClient(("127.0.0.1", port)) as early:  # nobody is there to accept it
            # As systemd does: descriptors from 3 on, and whom they are for.
            script = f'exec 3<&{kept[0]}; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
            second = subprocess.Popen(
                ["bash", "-c", script, "bash", *run], env=environment, pass_fds=[kept[0]], stderr=subprocess.DEVNULL
            )
            stack.callback(second.kill)
            begin = time.monotonic()
            early.login()
            assert early.ask("PWD").startswith("257"), time.monotonic() - begin
            _, again = messages(manager, "READY=1")
            for fd in again:
                os.close(fd)
        second.terminate()
        assert second.wait(30) == 0
