"""The installed command as a process: started with a cluster file, asked over its socket, stopped by its process id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).parent / "ftpdirector")
PATIENCE_S = 30.0


def ftpdirector(*arguments: str | Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=timeout_s
    )


class Director:
    """`ftpdirector run`, and what it logs."""

    def __init__(self, file: Path, socket: Path, *options: str, before: Sequence[str] = ()) -> None:
        self.file = file
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.text = ""
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [*before, COMMAND, "run", str(file), "--socket", str(socket), "--json-log", *options],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.text += line.decode()
                with contextlib.suppress(ValueError):
                    self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, event: str, number: int = 1, **values: object) -> dict[str, Any]:
        """The `number`th event of this name with these values."""

        def found() -> list[dict[str, Any]]:
            return [
                one
                for one in self.events
                if one.get("event") == event and all(one.get(key) == value for key, value in values.items())
            ]

        with self._news:
            came = self._news.wait_for(
                lambda: len(found()) >= number or self.process.poll() is not None, timeout=PATIENCE_S
            )
            assert came, f"no {event} {values} in time:\n{self.text}"
            assert len(found()) >= number, f"no {event} {values} in:\n{self.text}"
            return found()[number - 1]

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ftpdirector(*arguments, "--socket", self.socket)

    def status(self) -> dict[str, Any]:
        done = self.ask("status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def real_server(self, name: str, virtual_server: int = 0) -> dict[str, Any]:
        servers = self.status()["virtual_servers"][virtual_server]["real_servers"]
        return next(one for one in servers if one["name"] == name)

    def until(self, holds: Any, what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end, what
            time.sleep(0.05)

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(one) for one in children]

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        return code


@contextlib.contextmanager
def director(file: Path, *options: str, socket: Path | None = None) -> Iterator[Director]:
    """A director that serves; killed at the end if it does not end by itself."""
    it = Director(file, socket or file.with_suffix(".sock"), *options)
    try:
        it.wait_for("ready")
        yield it
        assert "Traceback" not in it.text, it.text
    finally:
        if it.process.poll() is None:
            for pid in it.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            it.process.kill()
            it.wait()
        it._thread.join(PATIENCE_S)
        if it.process.stderr:
            it.process.stderr.close()


def cluster_file(
    path: Path,
    reals: Sequence[tuple[str, str, int]],
    *,
    port: int,
    top: str = "",
    virtual: str = "",
    address: str = '"127.0.0.1"',
    name: str = "ftp",
) -> Path:
    """Write a cluster file with one virtual server; probes are quick."""
    text = f'{top}\n[[virtual_server]]\nname = "{name}"\naddress = {address}\nport = {port}\n{virtual}\n'
    if "health_check" not in virtual:
        text += '[virtual_server.health_check]\ninterval = "1s"\ntimeout = "1s"\n'
    for real_name, real_address, real_port in reals:
        text += (
            f'[[virtual_server.real_server]]\nname = "{real_name}"\naddress = "{real_address}"\nport = {real_port}\n'
        )
    path.write_text(text)
    return path
