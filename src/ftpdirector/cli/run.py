"""`ftpdirector run`: the director, in the foreground. This module knows no signal and no engine."""

from __future__ import annotations

from typing import Annotated

import typer

from ftpdirector.cli.options import ClusterFile, Socket, parse_seconds
from ftpdirector.daemon.control import default_socket_path
from ftpdirector.daemon.logs import set_up_log
from ftpdirector.daemon.supervisor import Settings, run

EXAMPLES = (
    "Examples: ftpdirector run cluster.toml; ftpdirector run cluster.toml --take-over (upgrade: no connection is"
    " refused, no transfer broken). Signals: HUP reads the file again and opens the transfer log anew; TERM finishes"
    " transfers and ends, a second one resets them."
)


def command(
    file: ClusterFile,
    socket: Socket = None,
    stop_timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="How long transfers may go on after TERM.")
    ] = "60s",
    take_over: Annotated[
        bool, typer.Option(help="Take the listening sockets of the director that runs; it finishes its sessions.")
    ] = False,
    json_log: Annotated[bool, typer.Option(help="Log JSON instead of key=value lines.")] = False,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who the workers are when root starts them: they give up root. By default ftpdirector if there is"
            " that account, else nobody.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Run the director in the foreground; the log goes to standard error."""
    set_up_log(json=json_log)
    settings = Settings(
        socket_path=socket or default_socket_path(),
        stop_timeout_s=parse_seconds(stop_timeout),
        take_over=take_over,
        json_log=json_log,
        user=user,
    )
    run(file, settings)
    return 0
