"""Run a command as root in a disposable guest with a kernel of its own, over this host's file system.

python lab/guest/run.py [--timeout SECONDS] COMMAND...   the command's output and exit status; 125 when the guest died

What the guest writes to files goes to its memory and ends with it, but for its job directory (`/run/job` there).
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GUEST = ROOT / "build/lab/guest"
DIED = 125


@dataclass(frozen=True)
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
    if not (GUEST / "initrd.gz").exists():
        return "the guest's kernel is not unpacked: sh lab/guest/install.sh"
    return ""


def run(command: Sequence[str], *, timeout_s: float = 300, files: Mapping[str, str] | None = None) -> Done:
    """Run it, with `files` (name to text) in the job directory, where it starts. Killed after the time-out."""
    release = (GUEST / "release").read_text().strip()
    with tempfile.TemporaryDirectory(prefix="ftpdirector-guest-") as folder:
        job = Path(folder)
        shutil.copy(HERE / "init", job / "init")
        (job / "command").write_text(f"exec {shlex.join(command)}\n")
        for name, text in (files or {}).items():
            (job / name).write_text(text)
        before = {path.name for path in job.iterdir()}
        try:
            emulated = subprocess.run(
                _emulator(release, job), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
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


def _emulator(release: str, job: Path) -> list[str]:
    kernel = GUEST / "kernel"
    words = (
        f"console=ttyS0 quiet loglevel=1 panic=-1 reboot=t mitigations=off guest_modules={kernel}/lib/modules/{release}"
    )
    return [
        "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=512", "-smp", "2", "-cpu", "max",
        "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
        "-kernel", f"{kernel}/boot/vmlinuz-{release}", "-initrd", str(GUEST / "initrd.gz"), "-append", words,
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
        "-fsdev", f"local,id=job,path={job},security_model=none",
        "-device", "virtio-9p-pci,fsdev=job,mount_tag=job",
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
