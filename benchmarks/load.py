"""The load: an FTP client of plain sockets that does as little as possible itself."""

from __future__ import annotations

import socket
import time
from pathlib import Path

BUFFER = 1 << 20


class Client:
    """One control connection, logged in."""

    def __init__(self, host: str, port: int, user: str = "user", password: str = "secret") -> None:
        self.host = host
        self.sock = socket.create_connection((host, port), 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.held = b""
        self.expect("220")
        self.ask(f"USER {user}", "331")
        self.ask(f"PASS {password}", "230")

    def expect(self, code: str) -> str:
        """The next reply's last line; RuntimeError when it is another one."""
        while True:
            while b"\n" not in self.held:
                data = self.sock.recv(65536)
                if not data:
                    raise RuntimeError("the control connection ended")
                self.held += data
            line, self.held = self.held.split(b"\n", 1)
            text = line.decode(errors="replace").strip()
            if text[3:4] != "-" and text[:3].isdigit():
                if text[: len(code)] != code:
                    raise RuntimeError(f"expected {code}, got {text}")
                return text

    def ask(self, line: str, code: str) -> str:
        """One command, one reply."""
        self.sock.sendall(line.encode() + b"\r\n")
        return self.expect(code)

    def data(self) -> socket.socket:
        """A passive data connection to the announced port; relays do not change the address, so it is not followed."""
        numbers = self.ask("PASV", "227").partition("(")[2].partition(")")[0].split(",")
        port = int(numbers[4]) * 256 + int(numbers[5])
        return socket.create_connection((self.host, port), 30)

    def retrieve(self, path: str) -> int:
        """How many bytes came; they are dropped in the kernel."""
        with self.data() as data:
            self.sock.sendall(f"RETR {path}\r\n".encode())
            self.expect("1")
            got = 0
            while n := data.recv_into(_SINK, BUFFER, socket.MSG_TRUNC):
                got += n
        self.expect("226")
        return got

    def read(self, path: str) -> bytes:
        """A small file."""
        with self.data() as data:
            self.sock.sendall(f"RETR {path}\r\n".encode())
            self.expect("1")
            found = b""
            while part := data.recv(65536):
                found += part
        self.expect("226")
        return found

    def store(self, path: str, source: Path, size: int) -> None:
        """Send a file with sendfile(2)."""
        with self.data() as data, source.open("rb") as file:
            self.sock.sendall(f"STOR {path}\r\n".encode())
            self.expect("1")
            data.sendfile(file, 0, size)
        self.expect("226")

    def quit(self) -> None:
        """QUIT and close."""
        self.ask("QUIT", "221")
        self.sock.close()


_SINK = bytearray(BUFFER)


def sessions(host: str, port: int, times: int) -> float:
    """Connect, log in, PASV, RETR 1 KiB, QUIT; seconds for all."""
    begin = time.perf_counter()
    for _ in range(times):
        client = Client(host, port)
        if client.retrieve("small.bin") != 1024:
            raise RuntimeError("a file came cut short")
        client.quit()
    return time.perf_counter() - begin


def setup_times(host: str, port: int, times: int, pause_s: float) -> list[float]:
    """Seconds from PASV to a data connection that stands, each with a transfer behind it."""
    client = Client(host, port)
    found: list[float] = []
    for _ in range(times):
        begin = time.perf_counter()
        data = client.data()
        found.append(time.perf_counter() - begin)
        with data:
            client.sock.sendall(b"RETR small.bin\r\n")
            client.expect("1")
            while data.recv(65536):
                pass
        client.expect("226")
        time.sleep(pause_s)
    client.quit()
    return found
