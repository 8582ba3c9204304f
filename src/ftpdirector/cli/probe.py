"""`ftpdirector probe`: one probe of one real server, safe as keepalived's MISC_CHECK. This module knows no FTP."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from ftpdirector.cli.options import Json, parse_seconds, parse_target, read_secret, show_json
from ftpdirector.health.probe import probe
from ftpdirector.health.verdict import ProbeOutcome, settled
from ftpdirector.model import Endpoint, HealthCheck, ProbeKind, ProxyProtocol

EXAMPLES = (
    "Examples: ftpdirector probe 198.51.100.11; ftpdirector probe 198.51.100.11:2121 --probe transfer --path /probe.txt"
    " --user check --password-file /etc/ftpdirector/probe.password. Exit: 0 up, 1 anything else."
)


def command(
    address: Annotated[Endpoint, typer.Argument(metavar="ADDRESS[:PORT]", parser=parse_target)],
    kind: Annotated[ProbeKind, typer.Option("--probe", help="How far to go.")] = ProbeKind.BANNER,
    user: Annotated[str, typer.Option(help="Who logs in.")] = "anonymous",
    password_file: Annotated[Path | None, typer.Option(metavar="PATH", help="Its first line is the password.")] = None,
    path: Annotated[str | None, typer.Option(help="The file to read (transfer), or the place to list.")] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="For the whole probe.")] = "3s",
    proxy_protocol: Annotated[ProxyProtocol, typer.Option(help="What the real server expects first.")] = (
        ProxyProtocol.OFF
    ),
    as_json: Json = False,
) -> int:
    """Probe one real server once."""
    if kind is ProbeKind.TRANSFER and not path:
        raise typer.BadParameter("--probe transfer needs --path, the file to read")
    check = HealthCheck(probe=kind, user=user, path=path, timeout_s=parse_seconds(timeout))
    result = settled(asyncio.run(probe(address, check, read_secret(password_file), proxy_protocol)), 0)
    if as_json:
        show_json({"address": str(address), **dataclasses.asdict(result), "outcome": result.outcome.name.lower()})
    else:
        print(f"{address}: {result.outcome.name.lower()}: {result.reason} ({result.duration_s * 1000:.1f} ms)")
    return 0 if result.outcome is ProbeOutcome.UP else 1
