"""A strict FTP client: it connects to the very address and port that a 227 names, and compares every byte.

python strict_client.py ADDRESS PORT SIZE MODE...   one JSON object a mode on standard output

A session a mode: log in, RETR id.txt, which begins with the real server's name and is SIZE bytes long.
"""

from __future__ import annotations

import json
import re
import socket
import sys

PATIENCE_S = 4.0


class RefusedError(Exception):
    """The server said no."""


class Session:
    def __init__(self, address: str, port: int) -> None:
        self.control = socket.create_connection((address, port), PATIENCE_S)
        self.own = self.control.getsockname()[0]
        self.file = self.control.makefile("rb")
        self.banner = self.reply("2")
        if self.ask("USER anonymous", "23").startswith("3"):
            self.ask("PASS test@localhost", "2")
        self.ask("TYPE I", "2")

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
        if mode == "PASV":
            said = self.ask("PASV", "2")
            numbers = [int(one) for one in re.findall(r"\d+", said[4:])][-6:]
            host, port = ".".join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]
        else:
            said = self.ask("EPSV", "2")
            host, port = self.control.getpeername()[0], int(re.findall(r"\|(\d+)\|", said)[0])
        try:
            return socket.create_connection((host, port), PATIENCE_S), said
        except OSError as error:
            raise RefusedError(f"{host}:{port}: {error}; {said}") from error

    def active(self, mode: str) -> tuple[socket.socket, str]:
        family = socket.AF_INET6 if ":" in self.own else socket.AF_INET
        listener = socket.create_server((self.own, 0), family=family)
        listener.settimeout(PATIENCE_S)
        port = listener.getsockname()[1]
        if mode == "PORT":
            said = self.ask(f"PORT {self.own.replace('.', ',')},{port // 256},{port % 256}", "2")
        else:
            said = self.ask(f"EPRT |{2 if ':' in self.own else 1}|{self.own}|{port}|", "2")
        return listener, said

    def retrieve(self, mode: str, size: int) -> dict[str, object]:
        passive = mode in ("PASV", "EPSV")
        data, said = self.passive(mode) if passive else self.active(mode)
        with data:
            self.ask("RETR id.txt", "1")
            if passive:
                stream = data
            else:
                stream, peer = data.accept()
                if peer[0] != self.control.getpeername()[0]:
                    raise RefusedError(f"data from {peer[0]}:{peer[1]}")
                said = f"from port {peer[1]}"
            with stream:
                stream.settimeout(PATIENCE_S)
                parts = []
                while part := stream.recv(1 << 16):
                    parts.append(part)
        whole = b"".join(parts)
        self.reply("2")
        name = whole.rstrip(b"\0").decode()
        if len(whole) != size or name not in self.banner:
            raise RefusedError(f"{len(whole)} bytes of {name!r} in a session with {self.banner!r}")
        return {"works": True, "server": name, "said": said}


def attempt(address: str, port: int, mode: str, size: int) -> dict[str, object]:
    try:
        session = Session(address, port)
        try:
            return session.retrieve(mode, size)
        finally:
            session.control.close()
    except TimeoutError:
        return {"works": False, "why": "time-out"}
    except (OSError, RefusedError, ValueError, IndexError) as error:
        return {"works": False, "why": str(error)}


def main() -> None:
    address, port, size, *modes = sys.argv[1:]
    for mode in modes:
        print(json.dumps({"mode": mode, **attempt(address, int(port), mode, int(size))}), flush=True)


if __name__ == "__main__":
    main()
