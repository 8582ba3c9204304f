"""`ftpdirector remove`: the host as it was found. This module knows no engine."""

from __future__ import annotations

from pathlib import Path

from ftpdirector.change.setup import HostSetup
from ftpdirector.change.transaction import apply, plan
from ftpdirector.cli.host import Root, host_below, put_back, show_plan
from ftpdirector.host.clock import HostClock

EXAMPLES = "Example: ftpdirector remove."


def command(root: Root = Path("/")) -> int:
    """Leave the host as it was found: take back everything that apply made."""
    host = host_below(root)
    with host.store.locked():
        put_back(host, now_s=HostClock().now_s())
        planned = plan(host, HostSetup(), cluster="")
        if not planned.changes:
            print("nothing of ours is here")
            return 0
        show_plan(planned)
        apply(host, planned)
    print("removed")
    return 0
