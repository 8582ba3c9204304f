"""TLS through slices: nobody on the way reads a command; vsftpd wants its TLS session again on the data connection."""

from __future__ import annotations

import contextlib
import ftplib
import io
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.netns import servers
from lab.netns.hosts import VIRTUAL, Network, address_of, network
from lab.netns.servers import SIZE, Wanted, serving

from ftpdirector.slices import slices_of
from tests.netns.table import boot, cluster_of, table_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(servers.missing()), reason=servers.missing()),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]

NUMBERS = (1, 2)


class Client(ftplib.FTP_TLS):
    """One that takes its TLS session to the data connection; `implicit`: TLS comes before the greeting."""

    def __init__(self, *, implicit: bool) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # a session is whole when the handshake is
        super().__init__(context=context, timeout=20)
        self.implicit = implicit

    def connect(self, host: str = "", port: int = 0, timeout: float = -999, source_address: Any = None) -> str:
        if not self.implicit:
            return super().connect(host, port, timeout, source_address)
        self.host = host
        plain = socket.create_connection((host, port), 20)
        self.af = plain.family
        self.sock = self.context.wrap_socket(plain)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def ntransfercmd(self, cmd: str, rest: Any = None) -> tuple[socket.socket, int | None]:
        plain, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.context.wrap_socket(plain, session=self.sock.session), size


@pytest.fixture(scope="module", params=["explicit", "implicit"])
def placed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bool, Network]]:
    implicit = request.param == "implicit"
    key = tmp_path_factory.mktemp("tls") / "key.pem"
    certificate(key)
    cluster = cluster_of(NUMBERS, placement="slices")
    [virtual] = cluster.virtual_servers
    ports = {str(one.server.address): (one.ports.first, one.ports.last) for one in slices_of(cluster, virtual)}
    with network(len(NUMBERS)) as hosts, contextlib.ExitStack() as running:
        wanted = [
            Wanted(
                kind="vsftpd",
                name=f"real-{number}",
                host=hosts.servers[number - 1],
                address=address_of(number, version),
                passive=ports[address_of(number, version)],
                announced=VIRTUAL[4] if version == 4 else "",
                more=(
                    "ssl_enable=YES", "allow_anon_ssl=YES", "force_anon_logins_ssl=YES", "force_anon_data_ssl=YES",
                    "require_ssl_reuse=YES", "ssl_ciphers=HIGH", f"rsa_cert_file={key}", f"rsa_private_key_file={key}",
                    *(("implicit_ssl=YES",) if implicit else ()),
                ),
            )
            for version in (4, 6)
            for number in NUMBERS
        ]  # fmt: skip
        running.enter_context(serving(wanted, greet=not implicit))
        boot(hosts.director, table_of(cluster))
        yield implicit, hosts


def certificate(file: Path) -> None:
    """A key and a certificate of its own making, in one file."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ftp.example",
            "-keyout", str(file), "-out", str(file.with_suffix(".crt")),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_transfers_over_tls_reach_the_server_of_their_session(
    placed: tuple[bool, Network], version: int, passive: bool
) -> None:
    implicit, hosts = placed
    seen: set[str] = set()
    for _ in range(4):
        with hosts.client.inside():
            client = Client(implicit=implicit)
            client.connect(VIRTUAL[version], 21)
            client.login()
            client.prot_p()
            client.set_pasv(passive)
            whole = io.BytesIO()
            client.retrbinary("RETR id.txt", whole.write)
            client.quit()
        name = whole.getvalue().rstrip(b"\0").decode()
        assert len(whole.getvalue()) == SIZE
        assert name in (client.welcome or "")
        seen.add(name)
    assert seen == {"real-1", "real-2"}
