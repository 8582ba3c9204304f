"""`ftpdirector remove`: the host as it was found. This module knows no engine."""

from __future__ import annotations

import sys
from pathlib import Path

from ftpdirector.change.setup import HostSetup
from ftpdirector.change.transaction import apply, plan
from ftpdirector.cli.host import Root, host_below, put_back, show_plan
from ftpdirector.cli.ours import copies_of_our_table, named_setup
from ftpdirector.host.clock import HostClock

EXAMPLES = "Example: ftpdirector remove."


def command(root: Root = Path("/")) -> int:
    """Leave the host as it was found: take back everything that apply made."""
    host = host_below(root)
    with host.store.locked():
        put_back(host, now_s=HostClock().now_s())
        planned = plan(host, HostSetup(), cluster="", named=named_setup())
        for sentence in copies_of_our_table(root):
            print(f"note: {sentence}", file=sys.stderr)
        if not planned.changes:
            print("nothing of ours is here")
            return 0
        if not host.store.manifest().originals:
            print(
                "note: what this host was before is not known any more: what carries our name is removed; kernel "
                "modules and settings stay as they are",
                file=sys.stderr,
            )
        show_plan(planned)
        apply(host, planned)
    print("removed")
    return 0
