"""The rows of packet flows on the fake, each in one family; and no rule is there for nothing.

Both families, and the same rows packet by packet, are tests/netns/test_flow.py on the real kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from ftpdirector.nft.objects import Chain, Rule, Table
from tests.engines.nftables.flows import ROWS, FlowWorld, Row, due, through
from tests.nft.flow import Trace


def last(world: FlowWorld) -> Trace:
    trace = [world.take(one) for one in due(world.row, world.names)][-1]
    assert trace is not None
    return trace


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_last_packet_goes_where_it_should(row: Row) -> None:
    world = FlowWorld(row, row.versions[0])
    trace = last(world)
    assert (world.names.seen(trace), through(trace.passed)) == (row.sees, row.through)


@pytest.mark.slow
def test_whatever_rule_is_left_out_a_row_tells() -> None:
    left = dict.fromkeys(kind for row in ROWS for kind, _ in kinds(row.table()))
    for row in ROWS:
        for kind in [each for each, _ in kinds(row.table()) if each in left]:
            for version in row.versions:
                world = FlowWorld(row, version, spoil=partial(without, kind=kind))
                if world.names.seen(last(world)) != row.sees:
                    left.pop(kind, None)
    assert not left


Kind = tuple[str, str, int]
"""Chain and text without what differs between virtual servers and widths of networks, and which one of such."""


def kinds(table: Table) -> Iterator[tuple[Kind, Rule]]:
    for chain in table.chains:
        seen: list[str] = []
        for rule in chain.rules:
            text = _kind(re.sub(r" & [0-9a-f]+[.:][0-9a-f.:]+", "", rule.text))
            yield (_kind(chain.name), text, seen.count(text)), rule
            seen.append(text)


def _kind(text: str) -> str:
    return re.sub(r"_(ftp|second)\b|_(ftp|second)(?=_v)|\b\d+s?\b|0x[0-9a-f]+", "", text)


def without(table: Table, *, kind: Kind) -> Table:
    gone = {id(rule) for each, rule in kinds(table) if each == kind}

    def left(chain: Chain) -> Chain:
        return replace(chain, rules=tuple(rule for rule in chain.rules if id(rule) not in gone))

    return replace(table, chains=tuple(map(left, table.chains)))
