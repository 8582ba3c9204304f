"""The pages are true: links lead somewhere, cluster files can be used, commands exist, what is generated is new."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ftpdirector.cli import COMMANDS
from ftpdirector.config.decode import decode

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
