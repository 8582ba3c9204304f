"""`ftpdirector apply`: make the host agree with the cluster file, or leave it as it was. It knows no engine."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from ftpdirector.change.transaction import Host, apply, plan, undo
from ftpdirector.cli.host import (
    As,
    Root,
    host_below,
    moved_slices,
    put_back,
    read_cluster,
    setup_of,
    show_obstacles,
    show_plan,
)
from ftpdirector.cli.options import ClusterFile, parse_seconds
from ftpdirector.cli.ours import named_setup
from ftpdirector.errors import EngineError
from ftpdirector.host.clock import HostClock

EXAMPLES = (
    "Examples: ftpdirector apply cluster.toml; ftpdirector apply cluster.toml --confirm 60s (then, if all is well:"
    " ftpdirector confirm). Exit: 0 done, 1 nothing has changed."
)
_LOOK_EVERY_S: Final = 0.2


def command(
    file: ClusterFile,
    confirm: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Undo it unless `ftpdirector confirm` follows in time.", show_default=False
        ),
    ] = None,
    move_slices: Annotated[
        bool, typer.Option("--move-slices", help="Allow real servers to get other slices than they have.")
    ] = False,
    root: Root = Path("/"),
    name: As = None,
) -> int:
    """Make this host what the cluster file says, as one transaction: all of it, or nothing."""
    within_s = parse_seconds(confirm) if confirm else 0.0
    cluster, text = read_cluster(file)
    host = host_below(root)
    with host.store.locked():
        put_back(host, now_s=HostClock().now_s())
        moves = moved_slices(host, cluster)
        if moves and not move_slices:
            raise EngineError(
                "slices would move, and sessions of their servers lose their data connections:\n"
                + "\n".join(moves)
                + "\npin them (slice = N), or say --move-slices and set the servers' passive ports anew"
            )
        setup = setup_of(cluster, name, host)
        show_obstacles(host, cluster, setup)
        planned = plan(host, setup, cluster=text, named=named_setup())
        if not planned:
            host.store.remember(planned.manifest)
            print("nothing to change")
            return 0
        show_plan(planned)
        by_s = HostClock().now_s() + within_s if within_s else 0.0
        apply(host, planned, confirm_by_s=by_s)
    if not within_s:
        print("applied")
        return 0
    return _wait_for_confirm(host, within_s)


def _wait_for_confirm(host: Host, within_s: float) -> int:
    print(f"applied; undone in {within_s:.0f} s unless you say: ftpdirector confirm", flush=True)
    # A shell that is cut off by the very change must not keep it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    clock = HostClock()
    until_s = clock.monotonic_s() + within_s
    try:
        while clock.monotonic_s() < until_s:
            if host.store.journal() is None:
                print("confirmed")
                return 0
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        pass
    with host.store.locked():
        if not undo(host):
            print("confirmed")
            return 0
    print("not confirmed: everything was put back")
    return 1
