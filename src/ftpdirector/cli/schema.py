"""`ftpdirector schema`: the JSON schema of the cluster file, for editors. This module knows no key."""

from __future__ import annotations

from ftpdirector.cli.options import show_json
from ftpdirector.config.schema import json_schema

EXAMPLES = "Example: ftpdirector schema > cluster.schema.json"


def command() -> int:
    """Print the JSON schema of the cluster file."""
    show_json(json_schema())
    return 0
