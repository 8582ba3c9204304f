"""The rows of packet flows on the fake."""

from __future__ import annotations

import pytest

from tests.engines.nftables.flows import ROWS, Row, World, due, through

CASES = [pytest.param(row, version, id=f"{row.name} v{version}") for row in ROWS for version in row.versions]


@pytest.mark.parametrize(("row", "version"), CASES)
def test_the_last_packet_goes_where_it_should(row: Row, version: int) -> None:
    world = World(row, version)
    trace = [world.take(one) for one in due(row, world.names)][-1]
    assert trace is not None
    assert (world.names.seen(trace), through(trace.passed)) == (row.sees, row.through)
