"""Whatever valid cluster there is under IPVS: keepalived, nft and iptables take what is made of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from lab.guest.run import GUEST
from lab.netns.hosts import Host, missing

from ftpdirector.change.saved import block_of, restoring
from ftpdirector.engines.ipvs.compile import KEEPALIVED_FILE, compile_host
from ftpdirector.engines.ipvs.keepalived import format_keepalived
from ftpdirector.model import Cluster
from tests.engines.ipvs.clusters import clusters

KEEPALIVED = GUEST / "programs/usr/sbin/keepalived"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(not KEEPALIVED.exists(), reason="keepalived is not unpacked: sh lab/guest/install.sh"),
]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """With the interfaces that the files name, and an address that is none of theirs."""
    made = Host(f"fd{os.getpid()}-ipvs")
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        for number, name in enumerate(("outside", "inside")):
            made.run("ip", "link", "add", name, "type", "bridge")
            made.run("ip", "link", "set", name, "up")
            made.run("ip", "addr", "add", f"10.{number}.0.1/24", "dev", name)
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", made.name], check=True)


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(clusters())
def test_any_valid_cluster_is_accepted(host: Host, tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> None:
    setup = compile_host(cluster, cluster.directors[0] if cluster.directors else None)
    folder = tmp_path_factory.getbasetemp()
    accepted_by_keepalived(host, folder, next(file.text for file in setup.files if file.path == KEEPALIVED_FILE))
    taken_without_a_word(host, folder, format_keepalived(cluster, None, probe="/usr/bin/true"))
    if setup.rules.nft:
        host.run("nft", "--check", "--file", "-", given=setup.rules.nft)
    for program, chains in (("iptables-restore", setup.rules.iptables), ("ip6tables-restore", setup.rules.ip6tables)):
        if chains:
            host.run(program, "--test", "--noflush", given=restoring(block_of(chains), present=""))


def accepted_by_keepalived(host: Host, folder: Path, text: str) -> None:
    """Without a word of complaint: keepalived says 5 for a file that it would take with a warning."""
    assert taken_without_a_word(host, folder, text) == 0


def taken_without_a_word(host: Host, folder: Path, text: str) -> int:
    """keepalived 2.2.7 ends its own config test by SIGTERM where there is a MISC_CHECK: what it says is what counts."""
    file = folder / "keepalived.conf"
    file.write_text(text)
    done = host.run(str(KEEPALIVED), "--config-test", f"--use-file={file}", check=False)
    assert (done.stdout, done.stderr) == ("", ""), text
    return done.returncode
