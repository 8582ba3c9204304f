"""FTP through IPVS as it is configured by hand: what must work works, and what must fail fails for the stated reason.

One guest, a director of its own for each recipe, vsftpd behind it, a strict client that obeys the address in a 227 and
cannot route to the real servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from lab.guest.topology import SERVERS

from tests.guest.manual_recipes import WRONG_SERVER, outcome
from tests.guest.recipe_table import ROWS, STEPS, TRAPS
from tests.guest.shared import NEEDS_GUEST

pytestmark = NEEDS_GUEST

Seen = Mapping[str, Mapping[str, Any]]
WORDS = {recipe.name: dict(zip(recipe.modes, words, strict=True)) for recipe, words in (*ROWS, *TRAPS)}


def what(seen: Seen, name: str) -> Mapping[str, Any]:
    """The results of one recipe, which was carried out."""
    it = seen[name]
    assert "error" not in it, it["error"]
    return it


@pytest.mark.parametrize("name", WORDS)
def test_a_recipe_does_what_is_said_of_it(seen: Seen, name: str) -> None:
    """Each of its modes works, or fails in the way that the table names."""
    assert {mode: outcome(one) for mode, one in what(seen, name).items()} == WORDS[name]


def test_slices_use_both_real_servers(seen: Seen) -> None:
    """Without persistence sessions take turns, and each data connection reaches the server of its own session."""
    assert {one["server"] for one in what(seen, "slices").values()} == set(SERVERS)


def test_persistence_keeps_a_client_on_one_real_server(seen: Seen) -> None:
    """All sessions of one client address go to one server."""
    assert len({one["server"] for one in what(seen, "and pasv_address and SNAT").values()}) == 1


@pytest.mark.parametrize("name", ["slices", "and pasv_address and SNAT", "ip_vs_ftp and ct state"])
def test_an_active_data_connection_comes_from_port_20_of_the_virtual_address(seen: Seen, name: str) -> None:
    """RFC 959, 5.2: a server's default data port is the one below its control port. The client checks the address."""
    assert {what(seen, name)[mode]["said"] for mode in ("PORT", "EPRT")} == {"from port 20"}


def test_nothing_is_named_twice() -> None:
    """Results are kept by name."""
    assert len(WORDS) + len({one.name for one in STEPS}) == len(ROWS) + len(TRAPS) + len(STEPS)


def test_a_drain_with_slices_breaks_nothing(seen: Seen) -> None:
    """Weight 0 in the control service: no new session at once, and a held one goes on to transfer."""
    it = what(seen, "drain, slices")
    assert it["drained"] not in it["new"]
    assert it["held"]["works"]
    assert it["held"]["server"] == it["drained"]


def test_a_drain_with_persistence_sends_new_sessions_to_the_drained_server(seen: Seen) -> None:
    """expire_quiescent_template=0: the template outweighs the weight, for who had a session in the last minutes."""
    it = what(seen, "drain, one persistent mark, expire_quiescent_template 0")
    assert set(it["new"]) == {it["drained"]}
    assert it["held"]["works"]


def test_a_drain_with_persistence_refuses_held_sessions_their_data(seen: Seen) -> None:
    """expire_quiescent_template=1: the held session's data connection is sent to another server."""
    it = what(seen, "drain, one persistent mark, expire_quiescent_template 1")
    assert it["drained"] not in it["new"]
    assert outcome(it["held"]) == WRONG_SERVER


@pytest.mark.parametrize(("value", "after"), [(0, "time-out"), (1, "reset")])
def test_a_server_that_is_removed_takes_its_sessions_with_it(seen: Seen, value: int, after: str) -> None:
    """They hang, or are reset: to be made quiescent is not to be removed."""
    assert what(seen, f"remove, slices, expire_nodest_conn {value}") == {"before": "200", "after": after}


def test_a_track_file_makes_a_real_server_quiescent(seen: Seen) -> None:
    """keepalived's FILE_CHECK with inhibit_on_failure: weight 0 within 2 s, no process a look, held sessions go on."""
    it = what(seen, "track file")
    assert it["took_s"] < 2
    assert it["drained"] not in it["new"]
    assert it["held"]["works"]
