"""A strict FTP client: it connects to the very address and port that a 227 names, and compares every byte.

python strict_client.py ADDRESS PORT SIZE MODE...   one JSON object a mode on standard output

A session a mode: log in, RETR id.txt, which is what `content` says of the server that greeted. An object says either

    {"works": true, "server": "alpha", "sha256": "...", "said": "227 Entering ..." or "from port 20"}
    {"works": false, "at": "data", "cause": "unreachable", "why": "...", "greeting": ..., "announced": ..., "port": ...}

`at` is what the client was about: control, command (USER, PASV, PORT), data (opening it), transfer. `cause` is one of
time-out, refused, unreachable, reset, reply (a 4xx or 5xx, or the end of the connection), other. `greeting` is there
once the server gave it; `announced` and `port` are where the client went for its data (PASV, EPSV).
This file uses the standard library alone and knows no balancer.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from errno import ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH

PATIENCE_S = 4.0
CAUSES = {
    ECONNREFUSED: "refused", ECONNRESET: "reset", EHOSTUNREACH: "unreachable", ENETUNREACH: "unreachable",
}  # fmt: skip


class RefusedError(Exception):
    """The server said no."""


class FailedError(Exception):
    """The transfer cannot go on: where, of what cause, in whose words."""

    def __init__(self, at: str, cause: str, why: str) -> None:
        super().__init__(f"{at}: {why}")
        self.at, self.cause, self.why = at, cause, why


def content(name: str, size: int) -> bytes:
    """The id.txt of a real server: its name, then bytes that no other server has and that come in one order only."""
    return f"{name}\n".encode() + hashlib.shake_256(name.encode()).digest(size - len(name) - 1)


@contextmanager
def during(step: str) -> Generator[None]:
    """What goes wrong in here went wrong at this step; the innermost step counts."""
    try:
        yield
    except TimeoutError as error:
        raise FailedError(step, "time-out", "time-out") from error
    except OSError as error:
        raise FailedError(step, CAUSES.get(error.errno or 0, "other"), str(error)) from error
    except RefusedError as error:
        raise FailedError(step, "reply", str(error)) from error
    except (ValueError, IndexError) as error:
        raise FailedError(step, "other", repr(error)) from error


class Session:
    """A control connection, logged in. `patience_s` bounds each wait."""

    def __init__(self, address: str, port: int, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self.announced: dict[str, object] = {}
        with during("control"):
            self.control = socket.create_connection((address, port), patience_s)
        try:
            self.own = self.control.getsockname()[0]
            self.file = self.control.makefile("rb")
            with during("control"):
                self.banner = self.reply("2")
            with during("command"):
                if self.ask("USER anonymous", "23").startswith("3"):
                    self.ask("PASS test@localhost", "2")
                self.ask("TYPE I", "2")
        except FailedError:
            self.control.close()
            raise

    def close(self) -> None:
        self.file.close()
        self.control.close()

    def failed(self, error: FailedError) -> dict[str, object]:
        """A transfer that failed, as an object."""
        return {
            "works": False, "at": error.at, "cause": error.cause, "why": f"{error} {self.announced or ''}".strip(),
            "greeting": self.banner, **self.announced,
        }  # fmt: skip

    def reply(self, wanted: str) -> str:
        lines = [self.file.readline().decode()]
        while lines[-1] and (lines[-1][3:4] == "-" or lines[-1][:3] != lines[0][:3]):
            lines.append(self.file.readline().decode())
        if not lines[-1] or lines[-1][0] not in wanted:
            raise RefusedError(lines[-1].strip() or "hung up")
        return "".join(lines).strip()

    def ask(self, command: str, wanted: str) -> str:
        self.control.sendall(command.encode() + b"\r\n")
        return self.reply(wanted)

    def passive(self, mode: str) -> tuple[socket.socket, str]:
        with during("command"):
            said = self.ask(mode, "2")
            if mode == "PASV":
                numbers = [int(one) for one in re.findall(r"\d+", said[4:])][-6:]
                host, port = ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]
            else:
                host, port = self.control.getpeername()[0], int(re.findall(r"\|(\d+)\|", said)[0])
            self.announced = {"announced": host, "port": port}
        with during("data"):
            return socket.create_connection((host, port), self.patience_s), said

    def active(self, mode: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.own else socket.AF_INET
        listener = socket.create_server((self.own, 0), family=family)
        listener.settimeout(self.patience_s)
        port = listener.getsockname()[1]
        with during("command"):
            if mode == "PORT":
                self.ask(f"PORT {self.own.replace('.', ',')},{port // 256},{port % 256}", "2")
            else:
                self.ask(f"EPRT |{2 if ':' in self.own else 1}|{self.own}|{port}|", "2")
        return listener

    def retrieve(self, mode: str, size: int) -> dict[str, object]:
        """One RETR in PASV, EPSV, PORT or EPRT."""
        if mode in ("PASV", "EPSV"):
            stream, said = self.passive(mode)
            with during("transfer"):
                self.ask("RETR id.txt", "1")
        else:
            with self.active(mode) as listener, during("data"):
                self.ask("RETR id.txt", "1")  # vsftpd answers when its connection stands; others before
                stream, peer = listener.accept()
                if peer[0] != self.control.getpeername()[0]:
                    stream.close()
                    raise FailedError("data", "other", f"data from {peer[0]}:{peer[1]}")
                said = f"from port {peer[1]}"
        with during("transfer"):
            with stream:  # closed before the reply is read: ProFTPD lingers until its peer has closed
                whole = self.read(stream)
            self.reply("2")
            return {**self.compare(whole, size), "said": said}

    def read(self, stream: socket.socket) -> bytes:
        stream.settimeout(self.patience_s)
        parts: list[bytes] = []
        while part := stream.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def compare(self, whole: bytes, size: int) -> dict[str, object]:
        name = whole.split(b"\n", 1)[0][:40].decode(errors="replace")
        if name not in self.banner or whole != content(name, size):
            raise RefusedError(f"{len(whole)} bytes of {name!r} in a session with {self.banner!r}")
        return {"works": True, "server": name, "sha256": hashlib.sha256(whole).hexdigest()}


def attempt(address: str, port: int, mode: str, size: int, patience_s: float = PATIENCE_S) -> dict[str, object]:
    """One session, one transfer; never raises for what a server or a network does."""
    try:
        session = Session(address, port, patience_s)
    except FailedError as error:
        return {"works": False, "at": error.at, "cause": error.cause, "why": str(error)}
    try:
        return session.retrieve(mode, size)
    except FailedError as error:
        return session.failed(error)
    finally:
        session.close()


def main() -> None:
    address, port, size, *modes = sys.argv[1:]
    for mode in modes:
        print(json.dumps({"mode": mode, **attempt(address, int(port), mode, int(size))}), flush=True)


if __name__ == "__main__":
    main()
