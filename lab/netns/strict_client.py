"""A strict FTP client in a namespace: it goes where a 227 sends it, lets nobody but the virtual address in, and counts
every byte. One `Session` is one control connection, from an address of its own."""

from __future__ import annotations

import re
import socket

from lab.netns.hosts import Host
from lab.netns.servers import SIZE

PATIENCE_S = 5.0


class RefusedError(Exception):
    """The server said no, or nothing, or something else was there."""


class Session:
    """Logged in, binary. `server` is the name that the real server greeted with, which begins with real-."""

    def __init__(self, host: Host, own: str, address: str, port: int = 21) -> None:
        self.host, self.own, self.address = host, own, address
        self.source_port = 0  # where the last active data connection came from
        self.control = self.connect(address, port)
        self.file = self.control.makefile("rb")
        self.server = re.findall(r"real-[a-z-]*[a-z]", self.reply("2"))[0]
        if self.ask("USER anonymous", "23").startswith("3"):
            self.ask("PASS secret", "2")
        self.ask("TYPE I", "2")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.control.close()

    def connect(self, address: str, port: int, own: str = "") -> socket.socket:
        with self.host.inside():
            return socket.create_connection((address, port), PATIENCE_S, source_address=(own or self.own, 0))

    def reply(self, wanted: str) -> str:
        lines = [self.file.readline().decode()]
        while lines[-1] and (lines[-1][3:4] == "-" or lines[-1][:3] != lines[0][:3]):
            lines.append(self.file.readline().decode())
        if not lines[-1] or lines[-1][0] not in wanted:
            raise RefusedError(lines[-1].strip() or "hung up")
        return " ".join(line.strip() for line in lines)

    def ask(self, command: str, wanted: str) -> str:
        self.control.sendall(command.encode() + b"\r\n")
        return self.reply(wanted)

    def passive(self, mode: str) -> tuple[str, int]:
        """Where the next data connection is to be made to."""
        if mode == "PASV":
            numbers = [int(one) for one in re.findall(r"\d+", self.ask("PASV", "2"))][-6:]
            return ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]
        return self.control.getpeername()[0], int(re.findall(r"\|(\d+)\|", self.ask("EPSV", "2"))[0])

    def retrieve(self, mode: str) -> None:
        """One download of id.txt, from the server of this session and from nobody else."""
        match mode:
            case "PASV" | "EPSV":
                with self.connect(*self.passive(mode)) as data:
                    self.ask("RETR id.txt", "1")
                    whole = read(data)
            case _:
                whole = self._active(mode)
        self.reply("2")
        if whole != self.server.encode().ljust(SIZE, b"\0"):
            raise RefusedError(f"{len(whole)} bytes of {whole[:20]!r} in a session with {self.server}")

    def _active(self, mode: str) -> bytes:
        six = ":" in self.own
        with self.host.inside():
            listener = socket.create_server((self.own, 0), family=socket.AF_INET6 if six else socket.AF_INET)
        with listener:
            listener.settimeout(PATIENCE_S)
            port = listener.getsockname()[1]
            if mode == "PORT":
                self.ask(f"PORT {self.own.replace('.', ',')},{port // 256},{port % 256}", "2")
            else:
                self.ask(f"EPRT |{2 if six else 1}|{self.own}|{port}|", "2")
            self.ask("RETR id.txt", "1")
            data, peer = listener.accept()
            with data:
                if peer[0] != self.address:
                    raise RefusedError(f"data from {peer[0]} port {peer[1]}")
                self.source_port = peer[1]
                return read(data)


def read(data: socket.socket) -> bytes:
    data.settimeout(PATIENCE_S)
    parts = []
    while part := data.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)
