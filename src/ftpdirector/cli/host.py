"""What the commands share that change a host: which director it is, what it is to have, where it is remembered.

This module knows no command.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ftpdirector.change.journal import DIRECTORY, StateStore
from ftpdirector.change.plan import format_change
from ftpdirector.change.resources import Place
from ftpdirector.change.setup import CHAIN_PREFIX, TABLE, HostSetup
from ftpdirector.change.transaction import Host, Plan, undo
from ftpdirector.cli.ours import copies_of_our_table
from ftpdirector.config.decode import decode, load
from ftpdirector.engines.ipvs.compile import compile_host as compile_for_ipvs
from ftpdirector.engines.nftables.host import compile_host as compile_for_nftables
from ftpdirector.errors import EngineError
from ftpdirector.firewalls.obstacles import Ours, obstacles
from ftpdirector.host.addresses import is_local
from ftpdirector.host.packetfilter import list_ruleset, list_table
from ftpdirector.model import Cluster, Director, Engine
from ftpdirector.slices import moved

As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="NAME", help="Which director this host is; told by its addresses otherwise.", show_default=False
    ),
]
Root = Annotated[
    Path,
    typer.Option("--root", metavar="DIR", help="Write the files below this directory, and touch nothing else."),
]


def host_below(root: Path) -> Host:
    """The host whose files stand below `root`, and what is remembered of it."""
    place = Place(root)
    return Host(place=place, store=StateStore(place.path(DIRECTORY)))


def director_of(cluster: Cluster, name: str | None) -> Director | None:
    """The director that this host is; None in a file that names none. An `EngineError` when it cannot be told."""
    if not cluster.directors:
        return None
    known = ", ".join(f"{director.name} ({director.address})" for director in cluster.directors)
    if name is not None:
        for director in cluster.directors:
            if director.name == name:
                return director
        raise EngineError(f'no director is called "{name}"; known: {known}')
    here = [director for director in cluster.directors if is_local(director.address)]
    if len(here) != 1:
        raise EngineError(f"this host is none of the directors, or more than one: {known}; say which with --as NAME")
    return here[0]


def setup_of(cluster: Cluster, name: str | None, host: Host | None = None, *, probe: str = "") -> HostSetup:
    """Everything that this host is to have; with a live `host`, the verdicts that stand there are kept.

    `probe` is the path of this program where keepalived is to do without `ftpdirector run`. An `EngineError` for an
    engine that changes no host.
    """
    match cluster.engine:
        case Engine.PROXY:
            raise EngineError('engine "proxy" needs nothing of the host: start it with ftpdirector run')
        case Engine.IPVS:
            return compile_for_ipvs(cluster, director_of(cluster, name), probe=probe)
        case Engine.NFTABLES:
            listing = list_table(TABLE) if host is not None and host.is_live else None
            return compile_for_nftables(cluster, director_of(cluster, name), listing=listing)


def read_cluster(file: Path) -> tuple[Cluster, str]:
    """The cluster and the text that it was read from."""
    return load(file).cluster, file.read_text(encoding="utf-8")


def put_back(host: Host, *, now_s: float) -> None:
    """Undo the changes of a command that was killed, or that were not confirmed in time. Raises `EngineError`."""
    journal = host.store.journal()
    if journal is None:
        return
    if journal.confirm_by_s > now_s:
        left_s = journal.confirm_by_s - now_s
        raise EngineError(f"an apply waits {left_s:.0f} s more to be confirmed: ftpdirector confirm")
    undo(host)
    print("an earlier apply had not ended: it was put back first")


def moved_slices(host: Host, cluster: Cluster) -> list[str]:
    """The real servers whose slice the new file moves, against what was applied last; one line each."""
    text = host.store.manifest().cluster
    if not text:
        return []
    return [
        f'virtual_server "{virtual.name}": real_server "{had.server.name}": slice {had.slot} ({had.ports})'
        f" -> {will.slot} ({will.ports})"
        for virtual, had, will in moved(decode(text, source="applied before"), cluster)
    ]


def ours_of(setup: HostSetup) -> Ours:
    """What packet filters of others must leave to this setup, or let pass."""
    return Ours(table=TABLE, chain_prefix=CHAIN_PREFIX, marks=setup.marks, ports=setup.ports, flows=setup.flows)


def show_obstacles(host: Host, cluster: Cluster, setup: HostSetup) -> None:
    """Say, before anything changes, what of others gets in the way, and which address is nowhere."""
    if not host.is_live:
        return
    found = [*obstacles(list_ruleset(), ours_of(setup)), *copies_of_our_table(host.place.root)]
    for sentence in dict.fromkeys(found):
        print(f"note: {sentence}", file=sys.stderr)
    if not cluster.directors:
        for address in dict.fromkeys(address for virtual in cluster.virtual_servers for address in virtual.addresses):
            if not is_local(address):
                print(f"note: no interface of this host has {address}: add it, or write [[director]]", file=sys.stderr)


def show_plan(planned: Plan) -> None:
    """For a person: every change with its reason, then who is told."""
    for change in planned.changes:
        print("\n".join(format_change(change)))
    for service in planned.notifies:
        print(f"reload {service.unit}  # {service.reason}")
