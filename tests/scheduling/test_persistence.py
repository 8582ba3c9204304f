"""A client network keeps its real server for a while after it was seen last."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ftpdirector.scheduling import persistence
from ftpdirector.scheduling.persistence import Templates

A, NEAR, FAR = ip_address("203.0.113.5"), ip_address("203.0.113.77"), ip_address("203.0.114.5")
SIX, SIX_NEAR = ip_address("2001:db8:1::5"), ip_address("2001:db8:1::6")


def test_a_template_lasts_from_its_last_use() -> None:
    templates = Templates(10)
    templates.remember(A, "alpha", 0)
    assert templates.find(A, 9.9) == "alpha"
    templates.remember(A, "alpha", 9)
    assert templates.find(A, 18.9) == "alpha"
    assert templates.find(A, 19) is None


def test_a_network_shares_its_template() -> None:
    templates = Templates(10, 24, 64)
    templates.remember(A, "alpha", 0)
    templates.remember(SIX, "bravo", 0)
    assert [templates.find(one, 1) for one in (NEAR, FAR, SIX_NEAR)] == ["alpha", None, "bravo"]


def test_without_a_timeout_nothing_is_kept() -> None:
    templates = Templates(0)
    templates.remember(A, "alpha", 0)
    assert (templates.find(A, 0), len(templates)) == (None, 0)


def test_what_has_expired_goes_when_somebody_comes_by() -> None:
    templates = Templates(10)
    for number in range(100):
        templates.remember(ip_address(f"203.0.113.{number}"), "alpha", 0)
    templates.remember(FAR, "bravo", 20)
    assert len(templates) == 1


def test_templates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "TEMPLATES_AT_MOST", 10)
    templates = Templates(1000)
    for number in range(100):
        templates.remember(ip_address(f"203.0.113.{number}"), "alpha", number)
    assert len(templates) == 10
    assert templates.find(ip_address("203.0.113.99"), 100) == "alpha"
    assert templates.find(ip_address("203.0.113.0"), 100) is None
