"""`ftpdirector plan`: what `apply` would change, as a diff. This module changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ftpdirector.change.transaction import plan
from ftpdirector.cli.host import As, Root, host_below, moved_slices, read_cluster, setup_of, show_obstacles, show_plan
from ftpdirector.cli.options import ClusterFile, Json, show_json
from ftpdirector.cli.ours import named_setup

EXAMPLES = (
    "Examples: ftpdirector plan cluster.toml; ftpdirector plan cluster.toml --json."
    " Exit: 0 nothing to change, 2 changes, 1 error."
)
CHANGES = 2


def command(file: ClusterFile, root: Root = Path("/"), name: As = None, as_json: Json = False) -> int:
    """Show what apply would change on this host."""
    cluster, text = read_cluster(file)
    host = host_below(root)
    setup = setup_of(cluster, name, host)
    show_obstacles(host, cluster, setup)
    planned = plan(host, setup, cluster=text, named=named_setup())
    moves = moved_slices(host, cluster)
    if as_json:
        show_json(
            {
                "changes": [dataclasses.asdict(change) for change in planned.changes],
                "services": [service.unit for service in planned.notifies],
                "moved_slices": moves,
            }
        )
    else:
        show_plan(planned)
        for move in moves:
            print(f"moved slice: {move}")
        if not planned:
            print("nothing to change")
    return CHANGES if planned else 0
