"""The reference page shows the very table that the example compiles to, and explains all of it."""

from __future__ import annotations

import re
from pathlib import Path

from ftpdirector.config.decode import load
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.nft.objects import format_table
from ftpdirector.wanted import want

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/reference/nftables-table.md"
EXAMPLES = sorted((ROOT / "examples").glob("nftables-*.toml"))


def test_the_page_shows_the_table_of_the_example() -> None:
    cluster = load(ROOT / "examples/nftables-nat-slices.toml").cluster
    [block] = re.findall(r"```nft\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block == format_table(compile_table(want(cluster, {}, {})))


def test_the_page_has_a_sentence_on_each_chain_map_and_counter() -> None:
    explained = set(re.findall(r"^\| `([a-z_]+?)(?:_NAME|_STATE)?(?:_v4)?` \|", PAGE.read_text(), re.MULTILINE))
    for path in EXAMPLES:
        table = compile_table(want(load(path).cluster, {}, {}))
        names = {re.sub(r"(_ftp)?(_v[46]|_[0-9a-f]{8}_[0-9a-f]{16})?$", "", one.name) for one in table.objects}
        assert names <= explained
