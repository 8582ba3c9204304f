"""pyftpdlib's own functional test-suite, its clients before the director and its servers behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from lab import realservers

from tests.directors import cluster_file, director
from tests.loopback.house import quiet_port

REPOSITORY = Path(__file__).parents[2]
SUITE = REPOSITORY / "build" / "lab" / "pyftpdlib"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SUITE.is_dir(), reason="pyftpdlib's tests are not here (sh lab/suite.sh)"),
]

CLASSES = (
    "TestFtpAuthentication",
    "TestFtpDummyCmds",
    "TestFtpCmdsSemantic",
    "TestFtpFsOperations",
    "TestFtpStoreData",
    "TestFtpStoreDataNoSendfile",
    "TestFtpStoreDataWithCustomIO",
    "TestFtpRetrieveData",
    "TestFtpRetrieveDataNoSendfile",
    "TestFtpRetrieveDataCustomIO",
    "TestFtpListingCmds",
    "TestFtpAbort",
    "TestThrottleBandwidth",
    "TestTimeouts",
    "TestConfigurableOptions",
    "TestCallbacks",
    "TestIPv4Environment",
    "TestIPv6Environment",
    "TestIPv6MixedEnvironment",
    "TestCornerCases",
    "ThreadedFTPTests",
)

CANNOT_APPLY: dict[str, str] = {}
"""Test -> why it asks for what is not to hold behind a director."""


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The virtual servers' port and the real servers' port: 127.0.0.1 and ::1 each have both."""
    real, virtual = realservers.free_port("127.0.0.1"), quiet_port()
    first = 20_000 + 500 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 6)
    file = tmp_path / "cluster.toml"
    quiet = f'passive_ports = "{first}-{first + 249}"\n[virtual_server.health_check]\nprobe = "connect"\n'
    quiet += 'interval = "1h"\nfall = 100\n'
    four = cluster_file(file, [("four", "127.0.0.1", real)], port=virtual, virtual=quiet, name="four").read_text()
    six = cluster_file(
        file,
        [("six", "::1", real)],
        port=virtual,
        address='"::1"',
        virtual=quiet.replace(f"{first}-{first + 249}", f"{first + 250}-{first + 499}"),
        name="six",
    ).read_text()
    file.write_text(four + six)
    # The first look at a server decides, and before a test there is none: these two are there to be looked at.
    looked_at = [
        socket.create_server(("127.0.0.1", real)),
        socket.create_server(("::1", real), family=socket.AF_INET6),
    ]
    with director(file) as it:
        it.until(
            lambda: all(
                it.real_server(name, place)["verdict"]["health"] == "up" for place, name in enumerate(("four", "six"))
            ),
            "both real servers are up",
        )
        for sock in looked_at:
            sock.close()
        yield virtual, real


def run(suite_class: str, work: Path, **environment: str) -> dict[str, str]:
    """Every test of a class -> why it failed; empty for one that passed, `skipped: ...` for one that did not run."""
    work.mkdir()
    report, settings = work / "report.xml", work / "pytest.ini"
    settings.write_text("[pytest]\n")
    subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-c", str(settings), f"--rootdir={SUITE}", "-p", "through_director",
            "-p", "no:cacheprovider", "--timeout=60", f"--junitxml={report}", "-k", f"{suite_class} and not _ssl",
            str(SUITE / "tests" / "test_functional.py"),
        ],
        cwd=work,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
            "PYTHONPATH": str(REPOSITORY / "lab"),
            **environment,
        },
        capture_output=True,
        check=False,
        timeout=300,
    )  # fmt: skip
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.get("classname", "").endswith(f".{suite_class}"):
            bad = next((one for one in case if one.tag in ("failure", "error", "skipped")), None)
            what = "" if bad is None else f"{bad.get('message')}\n{(bad.text or '')[-1500:]}"
            found[str(case.get("name"))] = f"skipped: {what}" if bad is not None and bad.tag == "skipped" else what
    return found


@pytest.mark.timeout(400)
@pytest.mark.parametrize("suite_class", CLASSES)
def test_the_suite_passes_through_the_director(suite_class: str, ports: tuple[int, int], tmp_path: Path) -> None:
    virtual, real = ports
    through = run(suite_class, tmp_path / "through", VIRTUAL_PORT=str(virtual), REAL_PORT=str(real))
    assert through
    red = {f"{suite_class}.{name}": why for name, why in through.items() if why and not why.startswith("skipped")}
    surprising = {name: why for name, why in red.items() if name not in CANNOT_APPLY}
    assert not surprising, "\n\n".join(f"{name}: {why}" for name, why in surprising.items())
