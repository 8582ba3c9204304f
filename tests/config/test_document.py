"""A key is declared once: what decodes the file, the schema and the reference page say the same of it."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from ftpdirector.config.decode import decode
from ftpdirector.config.document import DOCUMENT, TABLES, Key, Kind, Table
from ftpdirector.config.schema import json_schema
from ftpdirector.config.values import spelled
from ftpdirector.model import Cluster, Engine

ROOT = Path(__file__).parent.parent.parent
KEYS = [(table, key) for table in TABLES for key in table.keys.values()]
IDS = [f"{table.header}{key.name}" for table, key in KEYS]
REQUIRED = {
    "[status]": 'listen = "127.0.0.1:8021"',
    "[[virtual_server]]": 'name = "ftp"\naddress = "192.0.2.10"',
    "[[virtual_server.real_server]]": 'name = "alpha"\naddress = "198.51.100.11"',
    "[[director]]": 'name = "one"\naddress = "203.0.113.2"',
}
ENGINE = 'engine = "ipvs"'


def text_with(table: Table, line: str) -> str:
    """A file in which one more line stands in one of its tables."""
    parts = {header: f"{header}\n{needed}" for header, needed in REQUIRED.items()}
    parts = {DOCUMENT.header: "", **{one.header: one.header for one in TABLES if one.header} | parts}
    order = sorted(parts, key=lambda header: ("virtual_server" in header, "." in header))
    return "\n".join(parts[header] + (f"\n{line}" if header == table.header else "") for header in order)


def test_every_field_of_the_model_is_a_key_of_the_file() -> None:
    without = {
        (table.makes.__name__, field.name)
        for table in TABLES
        for field in dataclasses.fields(table.makes)
        if field.name not in {key.field for key in table.keys.values()}
    }
    assert without == {("VirtualServer", "persistence_granularity_v4")}


@pytest.mark.parametrize(("table", "key"), KEYS, ids=IDS)
def test_a_key_says_what_it_is_for_and_who_obeys_it(table: Table, key: Key) -> None:
    assert key.setting.help.endswith((".", "?", "...")) or key.table
    assert key.engines
    assert set(key.engines) <= set(Engine)


@pytest.mark.parametrize(("table", "key"), KEYS, ids=IDS)
def test_a_default_written_out_is_the_default(table: Table, key: Key) -> None:
    if key.table or key.required or key.default in (None, ()) or key.setting.default_depends:
        return
    bare = key.kind in (Kind.NUMBER, Kind.SWITCH)
    written = f"{key.name} = {spelled(key.default) if bare else f'{chr(34)}{spelled(key.default)}{chr(34)}'}"
    assert decode(text_with(table, written), source="c") == decode(text_with(table, ""), source="c")


BOUNDED = [(table, key) for table, key in KEYS if key.kind is Kind.NUMBER]


@pytest.mark.parametrize(("table", "key"), BOUNDED, ids=[key.name for _, key in BOUNDED])
def test_the_schema_has_the_bounds_that_decoding_keeps(table: Table, key: Key) -> None:
    said = _schema_of(table)["properties"][key.name]
    for bound, beyond in (("minimum", -1), ("maximum", 1)):
        if bound in said:
            with pytest.raises(Exception, match=r"write at (least|most)"):
                decode(text_with(table, f"{key.name} = {said[bound] + beyond}"), source="c")


def _schema_of(table: Table) -> dict[str, Any]:
    schema = json_schema()
    named = [one for one in schema["$defs"].values() if one.get("properties", {}).keys() == table.keys.keys()]
    return schema if table is DOCUMENT else named[0]


def test_the_schema_says_who_obeys_a_key() -> None:
    virtual = json_schema()["$defs"]["VirtualServerTable"]["properties"]
    assert virtual["firewall_mark"]["description"].startswith("ipvs: ")
    assert virtual["slices"]["description"].startswith("nftables, ipvs: ")
    assert json_schema()["$defs"]["TimeoutsTable"]["properties"]["login"]["description"].startswith("proxy: ")
    assert virtual["idle_timeout"]["default"] == "15m"


def test_no_module_beside_the_model_names_a_default() -> None:
    """The two that depend on other keys stand in the reader, and say so."""
    assert Cluster().workers == DOCUMENT.keys["workers"].default == 1
    cluster = decode(
        text_with(TABLES[2], "persistence_granularity = 48").replace("192.0.2.10", "2001:db8::1"), source="c"
    )
    (virtual,) = cluster.virtual_servers
    assert virtual.addresses == (IPv6Address("2001:db8::1"),)
    assert (virtual.persistence_granularity_v4, virtual.persistence_granularity_v6) == (32, 48)
