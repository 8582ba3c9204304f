"""Services of the host: systemd where it runs, process ids where it does not. This module knows no service's files."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

from ftpdirector.errors import HostError
from ftpdirector.host.run import run_program, succeeds

_SYSTEMD_RUNS: Final = Path("/run/systemd/system")
_STOP_S: Final = 10.0


def systemd_runs() -> bool:
    """Whether systemd is the service manager of this host (sd_booted(3))."""
    return _SYSTEMD_RUNS.is_dir()


def process_of(pid_file: str) -> int | None:
    """The process that a process id file names, if it lives."""
    try:
        pid = int(Path(pid_file).read_text(encoding="ascii").strip()[:10])
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def is_running(unit: str, pid_file: str) -> bool:
    """Whether it runs: by systemd's word, or by its process id where systemd does not run."""
    if systemd_runs():
        return succeeds("systemctl", "is-active", "--quiet", unit)
    return process_of(pid_file) is not None


def daemon_reload() -> None:
    """Have systemd read its unit files again (systemctl daemon-reload). Raises `HostError`."""
    if systemd_runs():
        run_program("systemctl", "daemon-reload")


def reload_service(unit: str, pid_file: str) -> None:
    """Have a running service read its files anew. Raises `HostError`."""
    if systemd_runs():
        run_program("systemctl", "reload", unit)
        return
    pid = process_of(pid_file)
    if pid is None:
        raise HostError(f"{unit}: no process to reload (looked at {pid_file})")
    os.kill(pid, signal.SIGHUP)


def restart_service(unit: str, program: tuple[str, ...], pid_file: str) -> None:
    """End it and start it anew. Raises `HostError`."""
    if systemd_runs():
        run_program("systemctl", "restart", unit)
        return
    stop_service(unit, pid_file)
    deadline_s = time.monotonic() + _STOP_S
    while process_of(pid_file) is not None:
        if time.monotonic() > deadline_s:
            raise HostError(f"{unit}: its process did not end within {_STOP_S:.0f} s")
        time.sleep(0.05)
    start_service(unit, program)


def start_service(unit: str, program: tuple[str, ...]) -> None:
    """Start it, by systemd, or as a daemon where systemd does not run. Raises `HostError`."""
    if systemd_runs():
        run_program("systemctl", "start", unit)
    else:
        run_program(*program)


def stop_service(unit: str, pid_file: str) -> None:
    """Stop it."""
    if systemd_runs():
        run_program("systemctl", "stop", unit)
        return
    pid = process_of(pid_file)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
