"""Real clients through the director to real servers: every mode, every operation, byte for byte.

A cell that is red through the director must be red with that server directly too, and stand in RED with the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import clients, realservers
from lab.clients import Visit, VisitError
from lab.realservers import KINDS, RealServer

from tests.directors import Director, director

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
    pytest.mark.skipif(bool(clients.missing()), reason=clients.missing()),
]

CONTENT = hashlib.sha256(b"seed").digest() * 10_000  # 320,000 bytes
MORE = b"\x00\xff\r\n\xff\xf4" * 5_000
REAL_HOSTS = ("127.0.0.1", "::1")
POLICIES = ("passive", "active", "client")
Way = tuple[str, str, str]
"""Kind of real server, its address, data_to_server."""

RED: dict[tuple[str, str, str, str, str], str] = {}
"""(kind, client, host, mode, operation) -> why it is red with a direct connection too."""


def able(kind: str, cell: tuple[str, str, str, str]) -> bool:
    """vsftpd has no MLSD."""
    return not (kind == "vsftpd" and cell[3] == "MLSD")


def every_cell() -> list[tuple[Way, str, str, str, str]]:
    """The full product."""
    return [
        ((kind, real_host, policy), *cell)
        for kind, real_host, policy in itertools.product(KINDS, REAL_HOSTS, POLICIES)
        for cell in clients.cells()
        if able(kind, cell)
    ]


def one_way_a_cell() -> list[tuple[Way, str, str, str, str]]:
    """Every client, mode and operation with every kind of server; address and policy toward the server take turns."""
    turns = itertools.cycle(itertools.product(REAL_HOSTS, POLICIES))
    return [((kind, *next(turns)), *cell) for kind in KINDS for cell in clients.cells() if able(kind, cell)]


def _name(cell: object) -> str:
    return "-".join(cell) if isinstance(cell, tuple) else str(cell)


class Lab:
    """Eight real servers and one director before them, with a virtual server for each way."""

    def __init__(self, servers: dict[tuple[str, str], RealServer], ports: dict[Way, int], it: Director) -> None:
        self.servers, self.ports, self.director = servers, ports, it
        self.count = itertools.count()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    work = tmp_path_factory.mktemp("lab")
    with contextlib.ExitStack() as stack:
        servers: dict[tuple[str, str], RealServer] = {}
        for kind, host in itertools.product(KINDS, REAL_HOSTS):
            below = work / f"{kind}-{'6' if ':' in host else '4'}"
            below.mkdir()
            real = stack.enter_context(realservers.real_server(kind, kind, below, host))
            (real.root / "data.bin").write_bytes(CONTENT)
            (real.root / "empty.bin").touch()
            servers[kind, host] = real
        ports: dict[Way, int] = {}
        text = ""
        ways = list(itertools.product(KINDS, REAL_HOSTS, POLICIES))
        base = 9_990 - 24 * (number + 1)
        for place, way in enumerate(ways):
            first = 10_000 + (number * 24 + place) * 100
            ports[way] = base + place
            real = servers[way[0], way[1]]
            text += (
                f'[[virtual_server]]\nname = "v{place}"\naddress = ["127.0.0.1", "::1"]\nport = {ports[way]}\n'
                f'passive_ports = "{first}-{first + 99}"\ndata_to_server = "{way[2]}"\n'
                f'[[virtual_server.real_server]]\nname = "r"\naddress = "{real.host}"\nport = {real.port}\n'
            )
        file = work / "cluster.toml"
        file.write_text(text)
        yield Lab(servers, ports, stack.enter_context(director(file)))


@pytest.mark.parametrize(("way", "client", "host", "mode", "operation"), one_way_a_cell(), ids=_name)
def test_a_client_transfers_through_the_director(
    lab: Lab, tmp_path: Path, way: Way, client: str, host: str, mode: str, operation: str
) -> None:
    check(lab, tmp_path, way, client, host, mode, operation)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "client", "host", "mode", "operation"), every_cell(), ids=_name)
def test_the_full_product(
    lab: Lab, tmp_path: Path, way: Way, client: str, host: str, mode: str, operation: str
) -> None:
    check(lab, tmp_path, way, client, host, mode, operation)


def check(lab: Lab, work: Path, way: Way, client: str, host: str, mode: str, operation: str) -> None:
    real = lab.servers[way[0], way[1]]
    problem = visit(lab, work, real, client, host, lab.ports[way], mode, operation)
    red = RED.get((way[0], client, host, mode, operation))
    if not problem:
        assert not red, f"green by now: {red}"
        return
    direct = lab.servers[way[0], host]
    work = work / "direct"
    work.mkdir()
    directly = visit(lab, work, direct, client, host, direct.port, mode, operation)
    assert red, f"through the director: {problem}\ndirectly: {directly or 'good'}"
    assert directly, f"red through the director only: {problem}"


def visit(lab: Lab, work: Path, real: RealServer, client: str, host: str, port: int, mode: str, operation: str) -> str:
    """What is wrong; empty when all is good."""
    name = f"up-{next(lab.count)}.bin"
    upload = operation in ("STOR", "APPE")
    stored = real.root / "incoming" / name
    if operation == "APPE":
        stored.write_bytes(CONTENT)
        stored.chmod(0o666)
    remote = {"RETR": "data.bin", "LIST": "", "MLSD": ""}.get(operation, f"incoming/{name}")
    asked = Visit(host, port, real.user, real.password, mode, operation, remote, work, MORE if upload else b"")
    try:
        got = clients.CLIENTS[client][0](asked)
    except (VisitError, OSError, EOFError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # ftplib's and aioftp's own
        return repr(error)
    if upload:
        due = CONTENT + MORE if operation == "APPE" else MORE
        has = stored.read_bytes() if stored.exists() else b""
        return "" if has == due else f"the server has other bytes: {len(has)} of {len(due)}"
    if operation == "RETR":
        return "" if got == CONTENT else f"other bytes came: {len(got)}"
    return "" if b"data.bin" in got and b"empty.bin" in got else f"not a listing: {got[:500]!r}"
