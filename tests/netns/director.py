"""`ftpdirector` on the director's host of lab.netns: apply and remove over a private /etc, run without root."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab import readable
from lab.netns.hosts import Network

from tests.directors import COMMAND, Director

NOBODY = pwd.getpwnam("nobody")
_PRIVATE = (
    'mount --bind "$1/etc" /etc && mount --bind "$1/var" /var/lib && mount --bind "$1/run" /run && shift && exec "$@"'
)
_ONE_RIGHT = (
    "setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups", "--no-new-privs",
    "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin",
)  # fmt: skip


def missing() -> str:
    """Why no director can run here without root; empty when it can."""
    return "" if shutil.which("setpriv") else "not installed: setpriv (util-linux)"


class DirectorHost:
    """A director's host: its files, which are nobody else's, and its daemon."""

    def __init__(self, hosts: Network, work: Path) -> None:
        self.hosts = hosts
        self.work = work
        self.file = work / "cluster.toml"
        self.socket = work / "run-nobody" / "control.sock"
        for name in ("etc", "var", "run", "run-nobody"):
            (work / name).mkdir()
        os.chown(work / "run-nobody", NOBODY.pw_uid, NOBODY.pw_gid)

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o644)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command as root, over the private directories."""
        private = ["unshare", "--mount", "sh", "-c", _PRIVATE, "sh", str(self.work), COMMAND]
        return self.hosts.director.run(*private, *words, check=False)

    def apply(self) -> None:
        done = self.command("apply", str(self.file))
        assert done.returncode == 0, done.stdout + done.stderr

    @contextlib.contextmanager
    def running(self) -> Iterator[Director]:
        """The daemon, as nobody with CAP_NET_ADMIN; killed when the block ends."""
        with self.hosts.director.inside():
            reachable = readable.for_everyone([readable.CHECKOUT, *readable.interpreter(), self.work])
            director = Director(self.file, self.socket, before=(*reachable, *_ONE_RIGHT))
        try:
            director.wait_for("ready")
            yield director
        finally:
            director.process.kill()
            director.wait()
            if director.process.stderr:
                director.process.stderr.close()
        assert "Traceback" not in director.text, director.text

    def found(self) -> list[str]:
        """Every file below the private /etc."""
        return sorted(str(path.relative_to(self.work)) for path in (self.work / "etc").rglob("*") if not path.is_dir())


@contextlib.contextmanager
def director_host(hosts: Network) -> Iterator[DirectorHost]:
    """Not below pytest's own directory, which is closed to others."""
    with tempfile.TemporaryDirectory(prefix="ftpdirector-site-") as base:
        Path(base).chmod(0o755)
        yield DirectorHost(hosts, Path(base))
