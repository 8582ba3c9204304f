"""The pages are true: links lead somewhere, cluster files can be used, commands exist, what is generated is new."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftpdirector.cli import COMMANDS
from ftpdirector.cli.host import ours_of
from ftpdirector.config.decode import decode
from ftpdirector.engines.nftables.host import compile_host
from ftpdirector.firewalls.obstacles import obstacles

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_cluster_file_in_a_page_can_be_used(page: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        decode(block, source=page.name)


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_command_in_a_page_exists(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"^ +(?:\S*/)?ftpdirector ([a-z]+)", text, re.MULTILINE):
        assert name in COMMANDS, name
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in re.findall(r"^ +make ([a-z-]+)", text, re.MULTILINE):
        assert name in targets, name


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("table", "more"),
    [
        ("inet firewalld", "ct status dnat accept"),
        ("ip filter", "jump ufw-before-forward"),
        ("ip filter", "jump DOCKER-USER"),
    ],
)
def test_what_to_tell_a_firewall_is_what_plan_says(table: str, more: str) -> None:
    """Word for word, for the example that the page begins with."""
    cluster = decode((ROOT / "examples/nftables-nat-slices.toml").read_text(), source="example")
    setup = compile_host(cluster, None)
    established = "" if "DOCKER" in more else "ct state established,related accept\n"
    ruleset = f"table {table} {{\nchain FORWARD {{\ntype filter hook forward priority filter; policy drop;\n"
    ruleset += f"{established}{more}\n}}\nchain {more.split()[-1]} {{\n}}\n}}\n"
    [said] = obstacles(ruleset, ours_of(setup))
    page = (ROOT / "docs/how-to/nftables-engine.md").read_text()
    assert "\n\n" + "\n".join(said.splitlines()[1:]) + "\n\n" in page
