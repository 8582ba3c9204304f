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
from tests.loopback.running_proxy import quiet_port

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

OWN_WORDS = "the director answers this command itself: another text, the same class of reply"
OPENS_LATER = "a data connection is opened for a transfer (RFC 959 section 3.2), not at PORT or EPRT as by pyftpdlib"
HELD_BACK = (
    "a command in a transfer, ABOR and STAT apart, waits for its end; the test reads no data until it is answered"
)
LATE_PORT = "a transfer before any PASV or PORT is 425 at once; pyftpdlib looks at the file first, then waits for PORT"
OWN_PORTS = "the address and the port of a PASV are the director's, whatever the server announces"
EITHER_FIRST = "an aborted upload is reset; pyftpdlib takes a reset that it sees before the ABOR for the end of it"
TOO_MANY = "a 421 in place of a greeting means: try the next server, and offer this one no more until a look finds room"

CANNOT_APPLY = {
    "TestFtpAuthentication.test_max_auth": "the client is told 421 before it is hung up on; the test wants no reply",
    "TestFtpAuthentication.test_rein_during_transfer": HELD_BACK,
    "TestFtpAuthentication.test_user_during_transfer": HELD_BACK,
    "TestFtpDummyCmds.test_mode": OWN_WORDS,
    "TestFtpDummyCmds.test_stru": OWN_WORDS,
    "TestFtpCmdsSemantic.test_arg_cmds": OWN_WORDS,
    "TestFtpCmdsSemantic.test_auth_cmds": "EPRT without a valid argument is 501, also before login",
    "TestFtpCmdsSemantic.test_no_arg_cmds": "the argument of PASV is passed over",
    "TestFtpStoreData.test_appe_rest": LATE_PORT,
    "TestFtpStoreData.test_rest_on_stor": LATE_PORT,
    "TestFtpStoreData.test_quit_during_transfer": HELD_BACK,
    "TestFtpStoreData.test_stou": LATE_PORT,
    "TestFtpStoreDataNoSendfile.test_appe_rest": LATE_PORT,
    "TestFtpStoreDataNoSendfile.test_rest_on_stor": LATE_PORT,
    "TestFtpStoreDataNoSendfile.test_quit_during_transfer": HELD_BACK,
    "TestFtpStoreDataNoSendfile.test_stou": LATE_PORT,
    "TestFtpStoreDataWithCustomIO.test_appe_rest": LATE_PORT,
    "TestFtpStoreDataWithCustomIO.test_rest_on_stor": LATE_PORT,
    "TestFtpStoreDataWithCustomIO.test_quit_during_transfer": HELD_BACK,
    "TestFtpStoreDataWithCustomIO.test_stou": LATE_PORT,
    "TestFtpRetrieveData.test_restore_on_retr": LATE_PORT,
    "TestFtpRetrieveDataNoSendfile.test_restore_on_retr": LATE_PORT,
    "TestFtpRetrieveDataCustomIO.test_restore_on_retr": LATE_PORT,
    "TestFtpAbort.test_abor_during_transfer": "the director may hold the whole file by then: its 426, the server's 225",
    "TestTimeouts.test_pasv_timeout": "the server's passive port is connected to at once, so that it never times out",
    "TestConfigurableOptions.test_masquerade_address": OWN_PORTS,
    "TestConfigurableOptions.test_masquerade_address_map": OWN_PORTS,
    "TestConfigurableOptions.test_max_connections": TOO_MANY,
    "TestConfigurableOptions.test_max_connections_per_ip": TOO_MANY,
    "TestConfigurableOptions.test_max_login_attempts": "the client is told 421 before it is hung up on",
    "TestConfigurableOptions.test_passive_ports": OWN_PORTS,
    "TestCallbacks.test_on_incomplete_file_received": EITHER_FIRST,
    "TestIPv4Environment.test_eprt": OPENS_LATER,
    "TestIPv4Environment.test_eprt_v4": OWN_WORDS,
    "TestIPv4Environment.test_port_v4": OWN_WORDS,
    "TestIPv6Environment.test_eprt": OPENS_LATER,
    "TestIPv6Environment.test_eprt_v6": OWN_WORDS,
    "TestIPv6MixedEnvironment.test_eprt_v4": OPENS_LATER,
    "TestCornerCases.test_active_conn_error": OPENS_LATER,
    "TestCornerCases.test_port_race_condition": OPENS_LATER,
    "ThreadedFTPTests.test_permit_foreign_address_false": "it changes the address that the server believes in only",
    "ThreadedFTPTests.test_permit_privileged_ports": OWN_WORDS,
    "ThreadedFTPTests.test_stou_max_tries": LATE_PORT,
}
"""Test -> why it asks for what does not hold behind a director. These are left out; every other one must pass."""


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


def run(suite_class: str, work: Path, environment: dict[str, str]) -> dict[str, str]:
    """Every test of a class -> why it failed; empty for one that passed, `skipped: ...` for one that did not run."""
    work.mkdir()
    left_out = [f"--deselect=tests/test_functional.py::{name.replace('.', '::')}" for name in CANNOT_APPLY]
    report, settings = work / "report.xml", work / "pytest.ini"
    settings.write_text("[pytest]\n")
    subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-c", str(settings), f"--rootdir={SUITE}", "-p", "through_director",
            "-p", "no:cacheprovider", *left_out, "--timeout=60", f"--junitxml={report}", "-k", suite_class,
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
    through = run(suite_class, tmp_path / "through", {"VIRTUAL_PORT": str(virtual), "REAL_PORT": str(real)})
    assert "" in through.values(), f"nothing passed: {through}"
    red = {name: why for name, why in through.items() if why and not why.startswith("skipped")}
    if red:
        directly = run(suite_class, tmp_path / "directly", {})
        told = (f"{name}: {why}\ndirectly: {directly.get(name) or 'good'}" for name, why in red.items())
        pytest.fail("\n\n".join(told))


def test_the_table_names_tests_of_the_suite() -> None:
    """Else a test that was renamed would be thought to be left out for its reason."""
    text = (SUITE / "tests" / "test_functional.py").read_text()
    for name in CANNOT_APPLY:
        suite_class, method = name.split(".")
        assert f"class {suite_class}(" in text
        assert f"def {method}(" in text
    assert all(f"class {one}(" in text for one in CLASSES)
