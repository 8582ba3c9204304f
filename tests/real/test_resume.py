"""A transfer that goes on where an earlier one stopped (REST, RFC 3659 section 5), with real servers behind it."""

from __future__ import annotations

import ftplib
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import realservers

from tests.directors import cluster_file, director
from tests.loopback.running_proxy import quiet_port

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(realservers.missing()), reason=realservers.missing()),
]

WHOLE = hashlib.sha256(b"resume").digest() * 10_000
CUT = 123_457


@dataclass(frozen=True)
class Behind:
    """A real server and the director before it."""

    real: realservers.RealServer
    port: int

    def login(self, port: int) -> ftplib.FTP:
        client = ftplib.FTP(timeout=30)
        client.connect("127.0.0.1", port)
        client.login(self.real.user, self.real.password)
        return client


@pytest.fixture(params=["vsftpd", "proftpd", "pure-ftpd", "pyftpdlib"])
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Behind]:
    with realservers.real_server(request.param, "alpha", tmp_path) as real:
        (real.root / "whole.bin").write_bytes(WHOLE)
        port = quiet_port()
        file = cluster_file(tmp_path / "cluster.toml", [("alpha", real.host, real.port)], port=port)
        with director(file):
            yield Behind(real, port)


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_a_download_goes_on_where_it_stopped(behind: Behind, passive: bool) -> None:
    with behind.login(behind.port) as client:
        client.set_pasv(passive)
        got: list[bytes] = []
        client.retrbinary("RETR whole.bin", got.append, rest=CUT)
        assert b"".join(got) == WHOLE[CUT:]


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_an_upload_goes_on_where_it_stopped_or_is_refused_as_directly(behind: Behind, passive: bool) -> None:
    """What the server allows, it allows behind the director, byte for byte; what it refuses, it refuses there too."""
    outcomes = [resumed(behind, port, passive) for port in (behind.real.port, behind.port)]
    assert outcomes[0] == outcomes[1]


def resumed(behind: Behind, port: int, passive: bool) -> str:
    with behind.login(port) as client:
        client.set_pasv(passive)
        client.storbinary("STOR incoming/part.bin", io.BytesIO(WHOLE[:CUT]))
        try:
            client.storbinary("STOR incoming/part.bin", io.BytesIO(WHOLE[CUT:]), rest=CUT)
        except ftplib.Error as refused:
            return str(refused)[:3]
        stored = behind.real.root / "incoming" / "part.bin"
        return hashlib.sha256(stored.read_bytes()).hexdigest()
