"""Verdicts and drains as track files, connections from the kernel's table."""

from __future__ import annotations

import shutil
from ipaddress import ip_address
from pathlib import Path

import pytest

from ftpdirector.engines.ipvs.engine import IpvsEngine, drain_notes
from ftpdirector.errors import EngineError
from ftpdirector.model import Cluster, Director, Engine, Placement, RealServer, VirtualServer
from ftpdirector.state import Health, Override, Verdict
from ftpdirector.wanted import want

FTP = VirtualServer(
    name="ftp",
    addresses=(ip_address("192.0.2.10"),),
    real_servers=(
        RealServer(name="alpha", address=ip_address("198.51.100.11")),
        RealServer(name="bravo", address=ip_address("198.51.100.12")),
    ),
)
CLUSTER = Cluster(engine=Engine.IPVS, virtual_servers=(FTP,))
ALPHA = ("ftp", "alpha")
UP, DOWN, FULL = (Verdict(health=health) for health in (Health.UP, Health.DOWN, Health.FULL))


@pytest.fixture
def engine(tmp_path: Path) -> IpvsEngine:
    return IpvsEngine(tmp_path, tmp_path / "ip_vs")


def said(tmp_path: Path, engine: IpvsEngine, verdict: Verdict | None, override: Override = Override.NONE) -> str:
    verdicts = {} if verdict is None else {ALPHA: verdict}
    engine.apply(want(CLUSTER, verdicts, {ALPHA: override}))
    return (tmp_path / "ftp_alpha").read_text()


@pytest.mark.parametrize(
    ("verdict", "override", "word"),
    [
        (UP, Override.NONE, "0\n"),
        (DOWN, Override.NONE, "1\n"),
        (FULL, Override.NONE, "1\n"),
        (UP, Override.DRAIN, "2\n"),
        (DOWN, Override.DRAIN, "2\n"),
        (None, Override.NONE, "0\n"),
    ],
)
def test_a_verdict_is_one_word(
    tmp_path: Path, engine: IpvsEngine, verdict: Verdict | None, override: Override, word: str
) -> None:
    assert said(tmp_path, engine, verdict, override) == word


def test_a_new_director_leaves_the_verdict_until_it_has_looked(tmp_path: Path, engine: IpvsEngine) -> None:
    """A restart must not offer a server that is down."""
    said(tmp_path, engine, DOWN)
    restarted = IpvsEngine(tmp_path, tmp_path / "ip_vs")
    assert said(tmp_path, restarted, None) == "1\n"
    assert said(tmp_path, restarted, UP) == "0\n"


def test_a_new_director_takes_drains_over(tmp_path: Path, engine: IpvsEngine) -> None:
    said(tmp_path, engine, UP, Override.DRAIN)
    restarted = IpvsEngine(tmp_path, tmp_path / "ip_vs")
    assert restarted.drained(CLUSTER) == (ALPHA,)
    assert said(tmp_path, restarted, None, Override.NONE) == "0\n"


def test_what_remove_took_away_is_not_made_again(tmp_path: Path) -> None:
    engine = IpvsEngine(tmp_path / "tracks", tmp_path / "ip_vs")
    engine.apply(want(CLUSTER, {}, {}))
    shutil.rmtree(tmp_path / "tracks")
    with pytest.raises(EngineError, match="ftpdirector apply FILE"):
        engine.apply(want(CLUSTER, {ALPHA: DOWN}, {}))
    assert not (tmp_path / "tracks").exists()


def test_connections_of_control_and_slice_count_for_their_server(tmp_path: Path, engine: IpvsEngine) -> None:
    (tmp_path / "ip_vs").write_text(
        "FWM  00000015 wlc\n"
        "  -> C633640B:0015 Masq 1 3 4\n  -> C633640C:0015 Masq 1 1 0\n"
        "FWM  00000016 rr\n  -> C633640B:0000 Masq 1 2 7\n"
    )
    engine.apply(want(CLUSTER, {}, {}))
    found = engine.snapshot_counters().virtual_servers["ftp"]
    assert found.sessions == 4
    assert (found.real_servers["alpha"].sessions, found.real_servers["alpha"].transfers) == (5, 2)
    assert found.real_servers["bravo"].sessions == 1


def test_who_drains_is_told_what_it_costs() -> None:
    assert drain_notes(CLUSTER, [ALPHA]) == ()
    classic = Cluster(
        virtual_servers=(VirtualServer(name="ftp", addresses=FTP.addresses, placement=Placement.PERSISTENCE),),
        directors=tuple(Director(name=name, address=ip_address("203.0.113.2")) for name in ("a", "b")),
    )
    first, second = drain_notes(classic, [ALPHA])
    assert "lose their next data connection" in first
    assert "each of: a, b" in second
