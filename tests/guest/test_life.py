"""A cluster that was applied lives through failures, drains, reboots, and applies that fail; see `life`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.guest import run

from tests.guest import life
from tests.guest.shared import NEEDS_GUEST, once

pytestmark = [*NEEDS_GUEST, pytest.mark.timeout(600)]

BRAVO_ALONE = ["bravo"] * 4


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scenario = Path(life.__file__)
    found: dict[str, Any] = once(tmp_path_factory, "life", lambda: run.scenario(scenario, timeout_s=500))
    return found


def step(told: dict[str, Any], name: str) -> dict[str, Any]:
    seen: dict[str, Any] = told[name]
    assert "error" not in seen, seen["error"]
    return seen


def test_a_killed_real_server_is_quiescent_in_time_and_harms_nobody_else(told: dict[str, Any]) -> None:
    seen = step(told, "killed")
    assert seen["took_s"] < 10  # three looks of a second each, and keepalived's own
    assert seen["held"] == ["bravo", "bravo"]
    assert seen["new"] == BRAVO_ALONE
    assert seen["bravo"] == 1


def test_a_drained_real_server_breaks_no_transfer_and_gets_no_session(told: dict[str, Any]) -> None:
    seen = step(told, "drained")
    assert (seen["status"], seen["said"]) == (0, "ftp/alpha: drained, 1 session left\n")
    assert seen["held"] == ["alpha", "alpha"]
    assert seen["new"] == BRAVO_ALONE
    assert seen["too_early"] == 1
    assert seen["wait"] == 0


def test_keepalived_and_a_drain_go_on_without_the_daemon(told: dict[str, Any]) -> None:
    seen = step(told, "restarted")
    assert seen["without"] == BRAVO_ALONE
    assert seen["weight"] == 0


def test_a_full_real_server_keeps_its_sessions(told: dict[str, Any]) -> None:
    seen = step(told, "full")
    assert seen["verdict"]
    assert seen["held"] == ["alpha", "alpha"]
    assert seen["new"] == BRAVO_ALONE


def test_a_weight_is_changed_by_a_reload_that_drops_nothing(told: dict[str, Any]) -> None:
    seen = step(told, "reweighted")
    assert seen["status"] == 0, seen["said"]
    assert "+        weight 3" in seen["said"]
    assert seen["held"] == ["alpha", "alpha"]
    assert seen["alpha"] == 1


def test_a_sorry_server_stands_in_and_keeps_its_sessions(told: dict[str, Any]) -> None:
    seen = step(told, "stood_in_for")
    assert seen["status"] == 0, seen["said"]
    assert seen["before"] == seen["after"] == ["alpha"] * 4
    assert seen["meanwhile"] == BRAVO_ALONE
    assert seen["held"] == ["alpha", "alpha"]
    assert seen["kept"] == ["bravo", "bravo"]
    assert seen["back"][0] == 0, seen["back"]


def test_an_apply_that_cannot_end_well_leaves_the_host_as_it_was(told: dict[str, Any]) -> None:
    seen = step(told, "failing")
    for name, why in (
        ("moved", "slices would move"),
        ("bad_keepalived", "that is so before any change: mend /etc/keepalived/keepalived.conf first"),
        ("refused_rule", "everything was put back"),
        ("full_disk", "everything was put back"),
    ):
        status, said = seen[name]
        assert status == 1, (name, said)
        assert why in said, (name, said)
    assert seen["as_before"]
    assert seen["still_as_before"]
    assert seen["not_full_any_more"]
    assert seen["held"] == ["alpha", "alpha"]


def test_an_apply_that_is_killed_is_made_whole_by_the_next_one(told: dict[str, Any]) -> None:
    assert step(told, "cut_short")["outcomes"] == [True] * 5


def test_an_apply_is_undone_unless_it_is_confirmed(told: dict[str, Any]) -> None:
    seen = step(told, "confirmed")
    assert seen == {"undone": 1, "as_before": True, "kept": 0, "different": True}


def test_everything_works_after_a_boot_from_the_saved_files_alone(told: dict[str, Any]) -> None:
    seen = step(told, "booted")
    assert seen["gone"] == ["control: [Errno 111] Connection refused"]
    assert set(seen["new"]) == {"alpha", "bravo"}
    assert seen["plan"] == [0, "nothing to change\n"]


def test_remove_leaves_nothing(told: dict[str, Any]) -> None:
    status, said = told["remove"]
    assert status == 0, said
    assert told["left"] == {"services": 0, "nft": "", "iptables": "", "files": ""}
