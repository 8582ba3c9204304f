"""From one cluster file by `apply`, on real IPVS: every mode byte for byte, and the host left as it was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.guest import run as guest

from tests.guest import cases
from tests.guest.shared import NEEDS_GUEST, once

pytestmark = [*NEEDS_GUEST, pytest.mark.timeout(600)]

SCENARIO = Path(__file__).with_name("scenario.py")


def results_of(what: list[dict[str, Any]]) -> dict[str, Any]:
    """All cases of one guest, which boots once."""
    found: dict[str, Any] = guest.scenario(SCENARIO, what, timeout_s=550)
    return found


@pytest.fixture(scope="session")
def nat(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = once(tmp_path_factory, "nat", lambda: results_of([*cases.NAT, cases.BEHIND_HELPER]))
    return found


@pytest.fixture(scope="session")
def direct(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = once(tmp_path_factory, "direct", lambda: results_of(cases.DIRECT))
    return found


def check(case: dict[str, Any], result: dict[str, Any]) -> None:
    assert "error" not in result, result["error"]
    assert result["apply"]["status"] == 0, result["apply"]["said"]
    failed = [one for one in result["transfers"] if not one["works"]]
    assert not failed, f"{failed}\n{result['ipvs']}"
    assert len(result["transfers"]) == len(case["modes"]) * case["sessions"]
    if case.get("again"):
        assert result["again"] == {"status": 0, "said": "nothing to change\n"}
        assert result["plan"] == {"status": 0, "said": "nothing to change\n"}
    assert result["remove"]["status"] == 0, result["remove"]["said"]
    assert result["left"] == {"services": 0, "nft": "", "iptables": "", "files": ""}


@pytest.mark.parametrize("case", cases.NAT, ids=lambda case: case["name"])
def test_through_nat(case: dict[str, Any], nat: dict[str, Any]) -> None:
    check(case, nat[case["name"]])


@pytest.mark.parametrize("case", cases.DIRECT, ids=lambda case: case["name"])
def test_answers_bypass_the_director(case: dict[str, Any], direct: dict[str, Any]) -> None:
    check(case, direct[case["name"]])


def test_the_helper_is_told_of_another_control_port_when_it_is_loaded() -> None:
    """And only then: connections that it serves hold it, so that a change is refused and changes nothing."""
    other, in_use = results_of(cases.MODULE).values()
    check(cases.MODULE[0], other)
    assert in_use["apply"]["status"] == 1
    assert "module ip_vs_ftp is loaded with ports=2121, has to be loaded anew with ports=21" in in_use["apply"]["said"]
    assert "everything was put back" in in_use["apply"]["said"]
    assert in_use["left"] == {"services": 0, "nft": "", "iptables": "", "files": ""}


def test_slices_do_not_begin_while_the_helper_would_send_their_data_astray(nat: dict[str, Any]) -> None:
    refused = nat["slices-behind-helper"]
    assert refused["apply"]["status"] == 1
    assert "module ip_vs_ftp must go" in refused["apply"]["said"]
    assert "everything was put back" in refused["apply"]["said"]
    assert refused["left"] == {"services": 0, "nft": "", "iptables": "", "files": ""}


def test_both_servers_served(nat: dict[str, Any]) -> None:
    """Without persistence, round robin turns from one session to the next."""
    assert {one["server"] for one in nat["slices"]["transfers"]} == {"alpha", "bravo"}


def test_persistence_keeps_a_client_with_one_server(nat: dict[str, Any]) -> None:
    assert len({one["server"] for one in nat["persistence-iptables"]["transfers"]}) == 1


def test_a_keepalived_file_that_is_not_ours_is_kept(nat: dict[str, Any]) -> None:
    assert nat["slices"]["kept"].startswith("# theirs\n")
    assert "include /etc/keepalived/ftpdirector.conf" in nat["slices"]["after_apply"]
    assert "include" not in nat["slices"]["kept"]
