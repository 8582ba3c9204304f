"""From a cluster file to everything that a director's host needs: golden files, and what must hold of any."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ftpdirector.change.saved import block_of
from ftpdirector.config.decode import load
from ftpdirector.engines.ipvs.compile import compile_host
from ftpdirector.engines.ipvs.iptables import chains_of
from ftpdirector.engines.ipvs.keepalived import format_keepalived
from ftpdirector.engines.ipvs.rules import rules_of
from ftpdirector.model import Cluster

EXAMPLES = Path(__file__).parents[3] / "examples"
GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in EXAMPLES.glob("ipvs-*.toml"))


def everything(cluster: Cluster) -> str:
    setup = compile_host(cluster, cluster.directors[0] if cluster.directors else None)
    parts = [f"==> {file.path} <==\n{file.text}" for file in setup.files]
    parts += [f"==> {line.path}: one line <==\n{line.line}\n" for line in setup.lines]
    parts += [f"==> iptables <==\n{block_of(setup.rules.iptables)}"] if setup.rules.iptables else []
    return "\n".join(parts)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_compiles_to_this(name: str) -> None:
    """`GOLDEN=write pytest ...` writes them anew; read the difference before you commit it."""
    text = everything(load(EXAMPLES / f"{name}.toml").cluster)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_mark_has_its_service_and_every_service_its_mark(name: str) -> None:
    cluster = load(EXAMPLES / f"{name}.toml").cluster
    marked = {mark.mark for mark in rules_of(cluster).marks}
    served = {
        int(line.split()[2])
        for line in format_keepalived(cluster, None).splitlines()
        if line.startswith("virtual_server")
    }
    assert marked == served


@pytest.mark.parametrize("name", NAMES)
def test_iptables_says_what_nft_says(name: str) -> None:
    """One rule a mark and one a translation, in the other tool's words."""
    rules = rules_of(load(EXAMPLES / f"{name}.toml").cluster)
    chains = {one.name: one for one in chains_of(rules, version=4)}
    assert len(chains["FTPDIRECTOR-MARK"].rules) == len([one for one in rules.marks if one.address.version == 4])
    actives = chains["FTPDIRECTOR-ACTIVE"].rules if "FTPDIRECTOR-ACTIVE" in chains else ()
    assert len(actives) == len([one for one in rules.translations if one.server.version == 4])
