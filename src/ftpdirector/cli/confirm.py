"""`ftpdirector confirm`: keep what `apply --confirm` did. This module changes nothing but that."""

from __future__ import annotations

from pathlib import Path

from ftpdirector.change.transaction import confirm
from ftpdirector.cli.host import host_below
from ftpdirector.errors import EngineError

EXAMPLES = "Example: ftpdirector apply cluster.toml --confirm 60s; then, from a new shell: ftpdirector confirm."


def command() -> int:
    """Keep what `apply --confirm` did."""
    if not confirm(host_below(Path("/"))):
        raise EngineError("nothing waits to be confirmed")
    print("confirmed")
    return 0
