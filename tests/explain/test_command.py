"""`ftpdirector explain` as its user meets it."""

from __future__ import annotations

import json

import pytest
import typer

from tests.explain.command import explain
from tests.explain.examples import EXAMPLES

EXAMPLE = {path.stem: str(path) for path in EXAMPLES}


def test_json_holds_every_way_with_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(EXAMPLE["nftables-fullnat-slices"], "--json") == 0
    [front] = json.loads(capsys.readouterr().out)["fronts"]
    found = {(way["mode"], way["tls"]): (way["verdict"]["works"], way["verdict"]["reason"]) for way in front["ways"]}
    good, refused = (True, ""), (False, "port-refused-by-the-real-server")
    assert found == {
        (mode, tls): good if mode in ("pasv", "epsv") else refused
        for mode in ("pasv", "epsv", "port", "eprt")
        for tls in (False, True)
    }


def test_a_client_is_told_by_its_own_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(EXAMPLE["proxy"], "--client", "2001:db8:1::80") == 0
    told = capsys.readouterr().out
    assert "[2001:db8:1::80]:40001 -> [2001:db8:2::10]:21" in told
    assert "192.0.2.10" not in told
    assert "PASV: " not in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--client", "2001:db8:1::80"], "no virtual server"),
        (["--client", "nobody"], "nobody"),
        (["--mode", "psav"], "psav"),
    ],
)
def test_wrong_usage_says_what(words: list[str], said: str) -> None:
    with pytest.raises(typer.TyperException) as raised:
        explain(EXAMPLE["ipvs-nat-slices"], *words)
    assert said in raised.value.format_message()
