"""A pair of directors, applied from one cluster file: the active one goes in mid-transfer, and the transfer goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.guest import run

from tests.guest import pair
from tests.guest.shared import NEEDS_GUEST, once

pytestmark = [*NEEDS_GUEST, pytest.mark.timeout(600)]


@pytest.fixture(scope="session", params=["ipvs", "nftables"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scenario, engine = Path(pair.__file__), request.param
    found: dict[str, Any] = once(
        tmp_path_factory, f"pair-{engine}", lambda: run.scenario(scenario, engine, timeout_s=500)
    )
    return found


def test_both_are_applied_and_the_one_with_the_higher_priority_serves(told: dict[str, Any]) -> None:
    for name in pair.PAIR:
        status, said = told[f"apply {name}"]
        assert status == 0, said


@pytest.mark.parametrize("step", [name for name, *_ in pair.STEPS])
def test_a_transfer_of_100_mebibytes_and_its_session_outlive_the_active_director(
    step: str, told: dict[str, Any]
) -> None:
    seen = told[step]
    assert "error" not in seen, seen["error"]
    assert (seen["blocks"], seen["rest"]) == (pair.BLOCKS, 0)
    assert seen["reply"].startswith("226")
    assert len(seen["by"]) == 1
    assert seen["after"] == [True, True]
    assert seen["new"] == [True, True]


def test_both_are_left_as_they_were(told: dict[str, Any]) -> None:
    assert [status for status, _ in told["remove"]] == [0, 0], told["remove"]
