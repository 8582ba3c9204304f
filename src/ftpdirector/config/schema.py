"""The JSON schema of the cluster file, made from the models that decode it. This module knows no rule across fields."""

from __future__ import annotations

from typing import Any

from ftpdirector.config.document import Document


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the file as TOML tables."""
    schema = Document.model_json_schema(mode="validation")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ftpdirector cluster file"}
    return head | {key: value for key, value in schema.items() if key not in head}
