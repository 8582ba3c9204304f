"""Files through the director, byte for byte, in every way that a client may ask for them."""

from __future__ import annotations

import asyncio
import ftplib
import io
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from ftpdirector.model import DataToServer
from tests.loopback.running_proxy import FtpClient, Real, RunningProxy, director, read_all, real_server, virtual_server

SIZES = (0, 1, 1024, 65535, 65536, 65537, 1_000_000, 5_000_001)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture(scope="module")
def reals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Real]]:
    base = tmp_path_factory.mktemp("reals")
    with real_server("alpha", base / "alpha") as alpha, real_server("bravo", base / "bravo") as bravo:
        for real in (alpha, bravo):
            for size in SIZES:
                (real.root / f"{size}.bin").write_bytes(content(size))
            (real.root / "who.txt").write_text(real.name)
        yield [alpha, bravo]


@pytest.fixture(params=["uvloop", "asyncio"], scope="module")
def proxy(request: pytest.FixtureRequest, reals: list[Real]) -> Iterator[RunningProxy]:
    new_loop = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}[request.param]
    server = virtual_server([(real.name, real.endpoint) for real in reals], max_sessions_per_client=0)
    with director(server, new_loop=new_loop) as proxy:
        yield proxy


def client(proxy: RunningProxy, *, passive: bool = True) -> ftplib.FTP:
    ftp = ftplib.FTP()
    ftp.connect(*proxy.address, timeout=10)
    ftp.login("user", "secret")
    ftp.set_pasv(passive)
    return ftp


def get(ftp: ftplib.FTP, name: str, rest: int | None = None) -> bytes:
    parts: list[bytes] = []
    assert ftp.retrbinary(f"RETR {name}", parts.append, rest=rest).startswith("226")
    return b"".join(parts)


def test_sessions_go_to_both_servers_in_turn(proxy: RunningProxy) -> None:
    who = []
    for _ in range(4):
        with client(proxy) as ftp:
            who.append(get(ftp, "who.txt"))
    assert sorted(who) == [b"alpha", b"alpha", b"bravo", b"bravo"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_download(proxy: RunningProxy, size: int, passive: bool) -> None:
    with client(proxy, passive=passive) as ftp:
        assert get(ftp, f"{size}.bin") == content(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_upload_and_append(proxy: RunningProxy, reals: list[Real], size: int, passive: bool) -> None:
    for real in reals:
        (real.root / "up.bin").unlink(missing_ok=True)
    with client(proxy, passive=passive) as ftp:
        assert ftp.storbinary("STOR up.bin", io.BytesIO(content(size))).startswith("226")
        assert ftp.storbinary("APPE up.bin", io.BytesIO(b"tail")).startswith("226")
    stored = [(real.root / "up.bin").read_bytes() for real in reals if (real.root / "up.bin").exists()]
    assert stored == [content(size) + b"tail"]


def test_restart(proxy: RunningProxy) -> None:
    with client(proxy) as ftp:
        assert get(ftp, "1000000.bin", rest=999_000) == content(1_000_000)[999_000:]


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_lists(proxy: RunningProxy, passive: bool) -> None:
    with client(proxy, passive=passive) as ftp:
        assert "1024.bin" in ftp.nlst()
        lines: list[str] = []
        ftp.retrlines("LIST", lines.append)
        assert any("1024.bin" in line for line in lines)
        assert "1024.bin" in dict(ftp.mlsd())


def test_several_transfers_in_one_session(proxy: RunningProxy) -> None:
    with client(proxy) as ftp:
        for _ in range(3):
            for size in (0, 1024, 1_000_000):
                assert get(ftp, f"{size}.bin") == content(size)


def test_pasv_and_port_by_hand(proxy: RunningProxy) -> None:
    with FtpClient(proxy.address).login() as line:
        numbers = line.ask("PASV").split("(")[1].split(")")[0].split(",")
        assert ".".join(numbers[:4]) == "127.0.0.1"
        data = socket.create_connection(("127.0.0.1", int(numbers[4]) * 256 + int(numbers[5])))
        with data:
            assert line.ask("RETR 1024.bin").startswith(("125", "150"))
            assert read_all(data) == content(1024)
        assert line.reply().startswith("226")
        with socket.create_server(("127.0.0.1", 0)) as own:
            port = own.getsockname()[1]
            assert line.ask(f"PORT 127,0,0,1,{port // 256},{port % 256}").startswith("200")
            line.say("RETR 1024.bin")
            data, peer = own.accept()
            assert peer[1] == proxy.address[1] - 1, "RFC 959 section 5.2: from the port next to the control port"
            with data:
                assert read_all(data) == content(1024)
        assert line.reply().startswith(("125", "150"))
        assert line.reply().startswith("226")


@pytest.mark.parametrize("way", [DataToServer.ACTIVE, DataToServer.CLIENT])
@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_active_toward_the_real_server(reals: list[Real], way: DataToServer, passive: bool) -> None:
    server = virtual_server([(real.name, real.endpoint) for real in reals], data_to_server=way)
    with director(server) as proxy, client(proxy, passive=passive) as ftp:
        for size in (0, 1024, 1_000_000):
            assert get(ftp, f"{size}.bin") == content(size)
        assert ftp.storbinary("STOR active.bin", io.BytesIO(content(65537))).startswith("226")


@pytest.mark.parametrize(("front", "behind"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("::1", "::1")])
@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_address_families_meet(tmp_path: Path, front: str, behind: str, passive: bool) -> None:
    """A client of one family and a real server of the other need not know of each other."""
    with real_server("alpha", tmp_path / "alpha", behind) as alpha:
        (alpha.root / "file.bin").write_bytes(content(100_000))
        with (
            director(virtual_server([("alpha", alpha.endpoint)], front)) as proxy,
            client(proxy, passive=passive) as ftp,
        ):
            assert get(ftp, "file.bin") == content(100_000)
            assert ftp.storbinary("STOR up.bin", io.BytesIO(content(65537))).startswith("226")
        assert (alpha.root / "up.bin").read_bytes() == content(65537)
