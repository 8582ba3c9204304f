"""A pair of directors, applied from one cluster file: the active one goes in mid-transfer, and the transfer goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.guest import run

from tests.guest import pair
from tests.guest.shared import NEEDS_GUEST, once

pytestmark = [*NEEDS_GUEST, pytest.mark.timeout(600)]


def told(factory: pytest.TempPathFactory, engine: str) -> dict[str, Any]:
    scenario = Path(pair.__file__)
    found: dict[str, Any] = once(factory, f"pair-{engine}", lambda: run.scenario(scenario, engine, timeout_s=500))
    return found


@pytest.mark.parametrize("engine", pair.STEPS)
def test_both_are_applied_and_the_one_with_the_higher_priority_serves(
    engine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = told(tmp_path_factory, engine)
    for name in pair.PAIR:
        status, said = seen[f"apply {name}"]
        assert status == 0, said
    by_ipvs = engine == "ipvs"
    assert seen["said"] == [
        {
            "director": name,
            "is_active": name == "director-a",
            "replication": ({"IPVS sync daemon": word} if by_ipvs else {}) | {"conntrackd": "runs"},
        }
        for name, word in (("director-a", "sends"), ("director-b", "receives"))
    ]


@pytest.mark.parametrize(
    ("engine", "step"), [(engine, step[0]) for engine in pair.STEPS for step in pair.STEPS[engine]]
)
def test_a_transfer_of_100_mebibytes_and_its_session_outlive_the_active_director(
    engine: str, step: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seen = told(tmp_path_factory, engine)[step]
    assert "error" not in seen, seen["error"]
    assert (seen["blocks"], seen["rest"]) == (pair.BLOCKS, 0)
    assert seen["reply"].startswith("226")
    assert len(seen["by"]) == 1
    assert seen["after"] == [True, True]
    assert seen["new"] == [True, True]


@pytest.mark.parametrize("engine", pair.STEPS)
def test_both_are_left_as_they_were(engine: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    seen = told(tmp_path_factory, engine)
    assert [status for status, _ in seen["remove"]] == [0, 0], seen["remove"]
