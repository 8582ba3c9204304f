"""The same random conversation with a real server and through the director: what a client gets must be the same.

    python fuzz/fuzz_real.py real [-max_total_time=60] [-seed=7] [-runs=100]

Compared are the codes of all replies, every transferred byte, the words of PWD, SIZE and MDTM, and the files that lie
there afterwards. Not compared is what the director answers itself and says so (docs/reference/compatibility.md):
its wording, refused verbs (5xx) and a transfer that nobody announced (425), both asked of the director alone, which 5xx
a malformed announcement gets, and an empty line (silence). The servers are those of the distribution where
lab/install.sh has unpacked them, else pyftpdlib alone. The seed is printed; with it, the run is the same again. It
exits 1 when there is a difference that comes again when the conversation is repeated.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from lab import realservers
from lab.realservers import RealServer
from tests.directors import cluster_file, director

DIRECTOR, REAL, CLIENT = "127.0.0.1", "127.0.0.5", "127.0.0.1"
PATIENCE_S = 10.0
BATCH = 20
"""Conversations with one server before it is the next one's turn."""
MOST_FOUND = 5
STAMP = 1_700_000_000

COMMANDS = (
    "NOOP", "PWD", "CWD d", "CWD ..", "CWD /", "CWD nope", "CDUP", "TYPE I", "TYPE A", "TYPE Q", "SIZE f", "SIZE nope",
    "MDTM f", "MDTM nope", "STAT", "SYST", "MKD incoming/q", "RMD incoming/q", "MKD d", "DELE nope", "DELE incoming/u",
    "RNFR incoming/u", "RNTO incoming/g", "RNFR nope", "REST 5", "REST 0", "REST x", "ALLO 5", "SITE CHMOD 600 f",
    "MLST f", "OPTS UTF8 ON", "ABOR", "STRU F", "MODE S", "NOPE", "ACCT x", "XPWD", "XCWD d", "LANG", "cwd d", "noop",
    "TYPE L 8", "FEAT", "HELP",
)  # fmt: skip
VERBATIM = ("PWD", "XPWD", "SIZE f", "MDTM f")
"""Whose whole answer must be the same."""
REFUSED = (
    "AUTH TLS", "PBSZ 0", "PROT P", "LPRT 4,4,127,0,0,1,2,9,9", "LPSV", "SPSV", "P@SW", "CPSV", "SSCN ON", "MODE B",
    "MODE Z", "STRU R", "STRU P", "PORT\t127,0,0,1,9,9", "PASV\0", "\tPASV", "NOOP\r\0PASV",
)  # fmt: skip
MALFORMED = ("PORT 1,2,3", "PORT 127,0,0,1,0,0", "EPRT |1|x|", "EPRT |1|127.0.0.1|99999|", "EPSV 9", "PORT")
BARE = ("LIST", "RETR f", "NLST", "RETR nope")
TRANSFERS = (
    "LIST", "LIST d", "NLST", "NLST incoming", "RETR f", "RETR big", "RETR empty", "RETR nope", "RETR d", "MLSD",
    "STOR incoming/u", "STOR incoming/v", "STOR nope/u", "APPE incoming/u", "STOR f",
)  # fmt: skip
ANNOUNCED = ("PASV", "EPSV", "PORT", "EPRT")
SILENT = ("", " ", "  NOOP")
"""Some servers say nothing: what is said up to the answer to SYST is compared."""


@dataclass(frozen=True)
class Step:
    """`kind` names a method of `Side`."""

    kind: str
    said: tuple[str, ...]
    body: bytes = b""


@dataclass
class Side:
    """One client: what it was told, step by step."""

    address: tuple[str, int]
    through_director: bool
    heard: list[object] = field(default_factory=list)
    _held: bytes = b""

    def talk(self, user: str, password: str, steps: list[Step]) -> list[object]:
        """Everything, up to the end or to a closed connection."""
        try:
            with socket.create_connection(self.address, PATIENCE_S, (CLIENT, 0)) as self._sock:
                self._sock.settimeout(PATIENCE_S)
                self.heard.append(self._code())
                self.heard.append(self._login(user, password))
                for step in steps:
                    self.heard.append(getattr(self, step.kind)(step))
                self._say("PWD")
                self.heard.append(self._reply())
        except TimeoutError:
            self.heard.append("silent")
        except (EOFError, ConnectionError) as error:
            self.heard.append(f"over: {type(error).__name__}")
        return self.heard

    def _login(self, user: str, password: str) -> list[str]:
        self._say(f"USER {user}")
        codes = [self._code()]
        if codes == ["331"]:
            self._say(f"PASS {password}")
            codes.append(self._code())
        return codes

    def command(self, step: Step) -> object:
        """One after the other."""
        self._say(step.said[0])
        reply = self._reply()
        return reply if step.said[0] in VERBATIM else reply[:3]

    def pipelined(self, step: Step) -> object:
        """Several in one segment."""
        self._say("\r\n".join(step.said))
        return [self._code() for _ in step.said]

    def silent(self, step: Step) -> object:
        """Perhaps without an answer."""
        self._say(f"{step.said[0]}\r\nSYST")
        codes = [self._code()]
        while codes[-1] != "215":
            codes.append(self._code())
        # ProFTPD and pyftpdlib say 500 to an empty line; the director passes over it, as the others do.
        return codes if step.said[0] else codes[-1]

    def refused(self, step: Step) -> object:
        """Asked of the director alone."""
        if not self.through_director:
            return "refused"
        self._say(step.said[0])
        code = self._code()
        return "refused" if code[0] == "5" else code

    def malformed(self, step: Step) -> object:
        """Which 5xx is a matter of taste; ProFTPD even takes a port of 99999."""
        self._say(step.said[0])
        code = self._code()
        return code if self.through_director and code[0] not in "45" else "malformed"

    def bare(self, step: Step) -> object:
        """Asked of the director alone: servers wait for minutes, connect to port 20, or keep an old PORT."""
        codes = ["425"]
        if self.through_director:
            self._say(step.said[0])
            codes = [self._code()]
            while codes[-1][0] == "1":
                codes.append(self._code())
        self._say("REST 0")
        self._code()
        return codes[-1]

    def transfer(self, step: Step) -> object:
        """Announced, and carried out; the codes, and the bytes that came."""
        announced, verb = step.said
        with contextlib.ExitStack() as stack:
            connect = self._announce(announced, stack)
            if connect is None:
                return "not announced"
            self._say(verb)
            codes = [self._code()]
            came: object = b""
            if codes[0][0] == "1":
                codes[0] = "1xx"  # 125 or 150
                with connect() as data:
                    came = self._carry(data, verb, step.body)
                codes.append(self._code())
            return codes, came

    def _announce(self, verb: str, stack: contextlib.ExitStack) -> Callable[[], socket.socket] | None:
        if verb in ("PASV", "EPSV"):
            self._say(verb)
            reply = self._reply()
            if reply[:3] not in ("227", "229"):
                return None
            numbers = [int(number) for number in re.findall(r"\d+", reply[3:])]
            port = numbers[-1] if verb == "EPSV" else numbers[-2] << 8 | numbers[-1]
            data = stack.enter_context(socket.create_connection((self.address[0], port), PATIENCE_S, (CLIENT, 0)))
            return lambda: data
        listening = stack.enter_context(socket.create_server((CLIENT, 0)))
        listening.settimeout(PATIENCE_S)
        port = listening.getsockname()[1]
        self._say(
            f"PORT {CLIENT.replace('.', ',')},{port >> 8},{port & 255}"
            if verb == "PORT"
            else f"EPRT |1|{CLIENT}|{port}|"
        )
        if self._code() != "200":
            return None
        return lambda: listening.accept()[0]

    @staticmethod
    def _carry(data: socket.socket, verb: str, body: bytes) -> object:
        data.settimeout(PATIENCE_S)
        if verb[:4] in ("STOR", "APPE"):
            data.sendall(body)
            return len(body)
        parts: list[bytes] = []
        try:
            while part := data.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            parts.append(b"(reset)")
        whole = b"".join(parts)
        if verb.startswith("RETR"):
            return whole
        return sorted(line.split()[-1:] for line in whole.splitlines() if not line.startswith(b"total"))

    def _say(self, text: str) -> None:
        self._sock.sendall(text.encode("latin-1") + b"\r\n")

    def _code(self) -> str:
        return self._reply()[:3]

    def _reply(self) -> str:
        lines: list[bytes] = []
        while not lines or lines[-1][:3] != lines[0][:3] or lines[-1][3:4] not in (b" ", b""):
            while b"\n" not in self._held:
                data = self._sock.recv(65536)
                if not data:
                    raise EOFError
                self._held += data
            line, self._held = self._held.split(b"\n", 1)
            lines.append(line.rstrip(b"\r"))
        return b"\n".join(lines).decode("latin-1")


def conversation(chance: random.Random) -> list[Step]:
    """Three to fourteen steps."""
    return [_step(chance) for _ in range(chance.randrange(3, 15))]


def _step(chance: random.Random) -> Step:
    kind = chance.choices(
        ("command", "transfer", "pipelined", "bare", "malformed", "refused", "silent"), (40, 30, 10, 5, 5, 7, 3)
    )[0]
    match kind:
        case "transfer":
            body = chance.randbytes(chance.choice((0, 1, 3000, 200_000)))
            return Step(kind, (chance.choice(ANNOUNCED), chance.choice(TRANSFERS)), body)
        case "pipelined":
            return Step(kind, tuple(chance.choice(COMMANDS) for _ in range(chance.randrange(2, 6))))
        case _:
            table = {"command": COMMANDS, "bare": BARE, "malformed": MALFORMED, "refused": REFUSED, "silent": SILENT}
            return Step(kind, (chance.choice(table[kind]),))


def lay_out(root: Path) -> None:
    """The same files each time."""
    for one in root.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    for name in ("d", "incoming"):
        (root / name).mkdir()
    (root / "incoming").chmod(0o777)
    for name, content in (("f", b"0123456789" * 100), ("big", bytes(range(256)) * 4000), ("empty", b"")):
        (root / name).write_bytes(content)
        (root / name).chmod(0o644)
        os.utime(root / name, (STAMP, STAMP))


def lies_there(root: Path) -> dict[str, bytes]:
    """What is to be the same in the end."""
    return {str(one.relative_to(root)): one.read_bytes() if one.is_file() else b"(dir)" for one in root.rglob("*")}


@dataclass
class Place:
    """One real server and a director in front of it."""

    real: RealServer
    port: int

    def differs(self, steps: list[Step]) -> str:
        """Where the two ways differ first; empty when they do not."""
        found: list[tuple[list[object], dict[str, bytes]]] = []
        for address in ((self.real.host, self.real.port), (DIRECTOR, self.port)):
            lay_out(self.real.root)
            side = Side(address, through_director=address[0] == DIRECTOR)
            heard = side.talk(self.real.user, self.real.password, steps)
            found.append((heard, lies_there(self.real.root)))
        (direct, files), (through, files_too) = found
        names = ["greeting", "login", *(f"{step.kind} {step.said!r}" for step in steps), "PWD", "end"]
        for number, name in enumerate(names):
            a, b = direct[number : number + 1], through[number : number + 1]
            if a != b:
                return f"{name}: direct {str(a)[:200]}, through the director {str(b)[:200]}"
        if files != files_too:
            one = next(name for name in {**files, **files_too} if files.get(name) != files_too.get(name))
            sizes = [len(some[one]) if one in some else "absent" for some in (files, files_too)]
            return f"file {one}: direct {sizes[0]}, through the director {sizes[1]}"
        return ""


@contextlib.contextmanager
def place_of(kind: str, work: Path) -> Iterator[Place]:
    """Start both."""
    work.mkdir()
    with realservers.real_server(kind, "alpha", work, REAL) as real:
        port = realservers.free_port(DIRECTOR)
        file = cluster_file(
            work / "cluster.toml",
            [("alpha", real.host, real.port)],
            port=port,
            virtual='passive_ports = "20000-20999"\nmax_sessions_per_client = 0\n'
            '[virtual_server.health_check]\nprobe = "connect"\nfall = 100',
        )
        with director(file):
            yield Place(real, port)


def real(seed: int, seconds: float, runs: int) -> int:
    """The exit code."""
    chance = random.Random(seed)
    kinds = ("pyftpdlib",) if realservers.missing() else realservers.KINDS
    end = time.monotonic() + seconds
    done = again = 0
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ftpdirector-real-") as made, contextlib.ExitStack() as stack:
        Path(made).chmod(0o755)
        places = [stack.enter_context(place_of(kind, Path(made) / kind)) for kind in kinds]
        while time.monotonic() < end and done < runs and len(found) < MOST_FOUND:
            place = places[done // BATCH % len(places)]
            steps = conversation(chance)
            done += 1
            if place.differs(steps):
                again += 1
                if told := place.differs(steps):
                    found.append(told)
                    print(f"{place.real.kind}, seed {seed}, conversation {done}: {told}", flush=True)
                    print(*(f"    {step.kind} {step.said!r}, {len(step.body)} bytes" for step in steps), sep="\n")
    print(f"Done {done} conversations with {', '.join(kinds)}, seed {seed}: {len(found)} differ", file=sys.stderr)
    print(f"{again} of them were looked at twice", file=sys.stderr)
    return int(bool(found))


TARGETS: dict[str, Callable[[int, float, int], int]] = {
    "real": real,
}


def main() -> int:
    """As libFuzzer's targets are called: the options that it knows and this has no use for are left alone."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz_real.py {'|'.join(TARGETS)} [-max_total_time=60] [-seed=7] [-runs=100]")
    options = dict(one[1:].split("=", 1) for one in sys.argv[2:] if one.startswith("-") and "=" in one)
    seed = int(options.get("seed", random.randrange(1 << 31)))
    print(f"seed {seed}", flush=True)
    return TARGETS[sys.argv[1]](seed, float(options.get("max_total_time", 60)), int(options.get("runs", 1 << 31)))


if __name__ == "__main__":
    sys.exit(main())
