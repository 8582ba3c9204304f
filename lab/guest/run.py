"""Run a command as root in a disposable guest with a kernel of its own, over this host's file system.

python lab/guest/run.py [--timeout SECONDS] COMMAND...   the command's output and exit status; 125 when the guest died

What the guest writes to files goes to its memory and ends with it, but for its job directory (`/run/job` there). A test
in Python uses `scenario`. This module knows neither FTP nor IPVS.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GUEST = ROOT / "build/lab/guest"
DIED = 125

ARGUMENTS, RESULTS = "arguments.json", "results.json"
"""What a scenario reads, and what it writes, in the directory where it starts."""


class GuestError(Exception):
    """A scenario failed in the guest, or the guest itself did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a job ended, what it printed, and the files that it left in its job directory."""

    status: int
    output: str
    console: str
    files: Mapping[str, str]


def missing() -> str:
    """Why no guest can be started here; empty when one can."""
    if os.geteuid():
        return "the guest needs root: it mounts the host's files"
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu-system-x86_64 is not installed: sh lab/guest/install.sh"
    if not (GUEST / "complete").exists():
        return "the guest's kernel and programs are not unpacked: sh lab/guest/install.sh"
    return ""


def scenario(file: Path, arguments: object = None, *, timeout_s: float = 300) -> Any:
    """Run a Python file as root in a guest of its own, and return what it wrote to `results.json`.

    The file runs with this very interpreter, in its job directory, with the repository and its `src` on the module
    path: it may import `lab.guest.topology`, `lab.guest.directors`, `lab.guest.strict_client`, or the package. What is
    given as `arguments` it reads from `arguments.json`; both files are JSON (`arguments()` and `report(results)` here
    read and write them). A scenario that does not end with status 0 within `timeout_s`, or leaves no results, raises
    GuestError with the end of its output. Fork and exec take 30 ms in the guest and an import 10 times what it takes
    here: a scenario does much in one process (sockets in another namespace: `lab.guest.directors.inside`).
    """
    path = os.pathsep.join(map(str, (ROOT, ROOT / "src")))
    command = ["env", f"PYTHONPATH={path}", "PYTHONDONTWRITEBYTECODE=1", sys.executable, str(file.resolve())]
    done = run(command, timeout_s=timeout_s, files={ARGUMENTS: json.dumps(arguments)})
    if done.status or RESULTS not in done.files:
        how = "the guest died" if done.status == DIED else f"status {done.status}"
        raise GuestError(f"{file.name}: {how}\n{done.output[-4000:]}\n{done.console[-2000:]}")
    return json.loads(done.files[RESULTS])


def arguments() -> Any:
    """In the guest: what `scenario` was given."""
    return json.loads(Path(ARGUMENTS).read_text())


def report(results: object) -> None:
    """In the guest: what `scenario` is to return."""
    Path(RESULTS).write_text(json.dumps(results, indent=1))


def run(command: Sequence[str], *, timeout_s: float = 300, files: Mapping[str, str] | None = None) -> Done:
    """Run it, with `files` (name to text) in the job directory, where it starts. Killed after the time-out."""
    with tempfile.TemporaryDirectory(prefix="ftpdirector-guest-") as folder:
        job = Path(folder)
        shutil.copy(HERE / "init", job / "init")
        (job / "command").write_text(f"exec {shlex.join(command)}\n")
        (job / "keep").write_text("".join(f"{path}\n" for path in _below_tmp(ROOT, Path(sys.prefix))))
        for name, text in (files or {}).items():
            (job / name).write_text(text)
        before = {path.name for path in job.iterdir()}
        try:
            emulated = subprocess.run(
                _emulator(job), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
            console = emulated.stdout.decode(errors="replace") + emulated.stderr.decode(errors="replace")
        except subprocess.TimeoutExpired as error:
            console = (error.stdout or b"").decode(errors="replace") + f"\nended after {timeout_s:.0f} s"
        status, output = job / "status", job / "output"
        return Done(
            status=int(status.read_text()) if status.exists() and status.read_text().strip() else DIED,
            output=output.read_text(errors="replace") if output.exists() else "",
            console=console,
            files={
                path.name: path.read_text(errors="replace")
                for path in job.iterdir()
                if path.is_file() and path.name not in before and path not in (status, output)
            },
        )


def _below_tmp(*paths: Path) -> list[Path]:
    """Those that the guest's own /tmp would hide; one inside another is left out."""
    hidden = [path.resolve() for path in paths if path.resolve().is_relative_to("/tmp")]
    return [path for path in hidden if not any(other in path.parents for other in hidden)]


def _emulator(job: Path) -> list[str]:
    kernel, release = GUEST / "kernel", (GUEST / "release").read_text().strip()
    words = (
        f"console=ttyS0 quiet loglevel=1 panic=-1 reboot=t mitigations=off guest_modules={kernel}/lib/modules/{release}"
    )
    # One processor: of two, beside other work on two cores, each spins for the other (to user space 21-28 s, not 7 s).
    return [
        "setpriv", "--pdeathsig", "KILL",  # who started the guest may be killed itself
        "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,tb-size=512", "-smp", "1", "-cpu", "max",
        "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", f"{kernel}/boot/vmlinuz-{release}", "-initrd", str(GUEST / "initrd.gz"), "-append", words,
        *_shared("root", Path("/"), ",readonly=on,multidevs=remap"),
        *_shared("programs", GUEST / "programs", ",readonly=on"),
        *_shared("job", job, ""),
    ]  # fmt: skip


def _shared(tag: str, path: Path, options: str) -> list[str]:
    """A directory of the host that the guest mounts by 9p under this name."""
    return [
        "-fsdev", f"local,id={tag},path={path},security_model=none{options}",
        "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    reason = missing()
    if reason:
        print(reason, file=sys.stderr)
        return DIED
    done = run(options.command, timeout_s=options.timeout)
    print(done.output, end="")
    if done.status == DIED:
        print(done.console, file=sys.stderr)
    return done.status


if __name__ == "__main__":
    sys.exit(main())
