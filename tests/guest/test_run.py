"""The guest itself: a scenario's JSON comes back, its failure too, and nothing of it stays on the host."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.guest import run

from tests.guest.shared import NEEDS_GUEST

pytestmark = NEEDS_GUEST

SMALL = Path(__file__).with_name("small.py")
PATIENCE_S = 120.0


@pytest.fixture
def mark() -> Iterator[Path]:
    """A file outside the guest's own memory, which the guest writes to."""
    path = Path("/etc") / f"ftpdirector-guest-{secrets.token_hex(4)}"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Job directories are made here, so that what is left of them is seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_scenario_is_root_on_a_kernel_of_its_own_and_changes_nothing_here(mark: Path, tmp_path: Path) -> None:
    """What it is given arrives, what it reports comes back, and a file that it writes is in its memory alone."""
    told = run.scenario(SMALL, {"mark": str(mark), "fail": False}, timeout_s=PATIENCE_S)
    assert told["given"] == {"mark": str(mark), "fail": False}
    assert told["kernel"] == (run.GUEST / "release").read_text().strip() != os.uname().release
    assert told["user"] == 0
    assert told["mark"] == "from the guest\n"
    assert not mark.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_scenario_that_fails_says_why(mark: Path, tmp_path: Path) -> None:
    """Its status and the end of its output are in the error."""
    with pytest.raises(run.GuestError, match=r"small\.py: status 1\ntold to fail"):
        run.scenario(SMALL, {"mark": str(mark), "fail": True}, timeout_s=PATIENCE_S)
    assert list(tmp_path.iterdir()) == []


def test_a_guest_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """It counts as died, and neither its process nor its job directory is left."""
    done = run.run(["sleep", "600"], timeout_s=3)
    assert done.status == run.DIED
    assert done.console.endswith("ended after 3 s")
    assert list(tmp_path.iterdir()) == []
    assert emulators(tmp_path) == []


def test_a_guest_ends_with_who_started_it(tmp_path: Path) -> None:
    """Even SIGKILL leaves no emulator behind."""
    command = [sys.executable, str(run.HERE / "run.py"), "sleep", "600"]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, cwd=run.ROOT) as starter:
        until(lambda: bool(emulators(tmp_path)))
        starter.send_signal(signal.SIGKILL)
    until(lambda: not emulators(tmp_path))


def emulators(below: Path) -> list[int]:
    """Processes that run a guest whose job directory lies below."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if words.startswith(b"qemu-system") and f"path={below}/".encode() in words:
            found.append(int(process.name))
    return found


def until(holds: Callable[[], bool]) -> None:
    """Another's process has no event for us: look, with a deadline."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)
