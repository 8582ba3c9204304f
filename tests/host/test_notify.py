"""What the service manager is told, and what it gave."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ftpdirector.host.notify import inherited_sockets, notify, watchdog_interval_s


@pytest.mark.parametrize("abstract", [False, True])
def test_lines_and_descriptors_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"\0ftpdirector-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, socket.socket() as kept:
        manager.bind(name)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        notify("FDSTORE=1", "FDNAME=ftpdirector", fds=(kept.fileno(),))
        data, fds, _, _ = socket.recv_fds(manager, 1000, 4)
        for fd in fds:
            os.close(fd)
    assert (data, len(fds)) == (b"FDSTORE=1\nFDNAME=ftpdirector", 1)


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize(("text", "seconds"), [("", None), ("30000000", 15.0), ("x", None), ("9" * 30, None)])
def test_the_watchdog_is_fed_twice_in_its_time(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", text)
    assert watchdog_interval_s() == seconds


def test_sockets_that_are_for_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert inherited_sockets() == []
