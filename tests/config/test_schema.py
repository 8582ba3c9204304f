"""The schema is what the file is decoded by."""

from __future__ import annotations

from ftpdirector.config.schema import json_schema


def test_the_schema_names_every_table_and_describes_every_key() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"engine", "virtual_server", "status", "director", "vrrp", "host"} <= set(schema["properties"])
    virtual = schema["$defs"]["VirtualServerTable"]
    assert virtual["additionalProperties"] is False
    assert virtual["required"] == ["name", "address", "real_server"]
    bare = [key for key, value in virtual["properties"].items() if "description" not in value and "$ref" not in value]
    assert bare == []
