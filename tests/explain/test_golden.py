"""What is told of each example, word for word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.explain.command import explain

ROOT = Path(__file__).parent.parent.parent
GOLDEN = Path(__file__).parent / "golden"
DASHES = "-" * 10
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.toml"))
CASES = {
    **{name: f"examples/{name}.toml" for name in EXAMPLES},
    **{f"{name}.tls": f"examples/{name}.toml --tls" for name in EXAMPLES},
    "one-mode": "examples/ipvs-nat-persistence.toml --mode pasv --client 203.0.113.80",
    "ipv6-client": "examples/proxy.toml --client 2001:db8:1::80 --mode eprt --mode pasv",
    "json": "examples/ipvs-nat-slices.toml --mode epsv --json",
}


@pytest.mark.parametrize("name", CASES)
def test_the_example_is_explained_in_these_words(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input, dashes, expected. `GOLDEN=write pytest ...` writes them anew; read the difference before you commit it."""
    monkeypatch.chdir(ROOT)
    assert explain(*CASES[name].split()) == 0
    text = f"ftpdirector explain {CASES[name]}\n{DASHES}\n{capsys.readouterr().out}"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)
