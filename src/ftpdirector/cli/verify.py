"""`ftpdirector verify`: a strict client that transfers in every mode. This module knows no FTP."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from ftpdirector.cli.options import (
    Json,
    Socket,
    console_for_tables,
    parse_seconds,
    parse_target,
    read_secret,
    show_json,
)
from ftpdirector.config.decode import load
from ftpdirector.daemon.control import ControlClient, default_socket_path
from ftpdirector.errors import ControlError
from ftpdirector.model import Endpoint
from ftpdirector.status.server import format_size
from ftpdirector.text import shown
from ftpdirector.verify.data import Mode
from ftpdirector.verify.modes import disagreements, verify
from ftpdirector.verify.session import Result, Task

EXAMPLES = (
    "Examples: ftpdirector verify cluster.toml; ftpdirector verify 192.0.2.10 --user check --password-file secret"
    " --path /probe.txt; ftpdirector verify 192.0.2.10:2121 --mode pasv --mode epsv --upload /incoming."
    " Exit: 0 all good, 1 some failed."
)
_UPLOAD_BYTES: Final = 1 << 20
_ASK_EVERY_S: Final = 0.2
_ASK_TIMES: Final = 15


def command(
    target: Annotated[str, typer.Argument(metavar="ADDRESS[:PORT]|FILE", help="A virtual server, or a cluster file.")],
    user: Annotated[str | None, typer.Option(help="Who logs in; anonymous, or the file's health check's user.")] = None,
    password_file: Annotated[Path | None, typer.Option(metavar="PATH", help="Its first line is the password.")] = None,
    mode: Annotated[list[Mode] | None, typer.Option(help="Only this mode; may be repeated.")] = None,
    path: Annotated[str | None, typer.Option(help="The file to read; by default the first that is not empty.")] = None,
    upload: Annotated[str | None, typer.Option(metavar="DIR", help="Also write, and delete, a file there.")] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Without any progress.")] = "10s",
    socket: Socket = None,
    as_json: Json = False,
) -> int:
    """Transfer in every mode as a strict client, byte for byte; says which real server answered."""
    tasks = [
        dataclasses.replace(
            task,
            path=path,
            upload=upload,
            uploaded=secrets.token_bytes(_UPLOAD_BYTES) if upload is not None else b"",
            upload_name=f"ftpdirector-verify-{secrets.token_hex(4)}",
            timeout_s=parse_seconds(timeout),
        )
        for task in _tasks(target, user, password_file)
    ]
    results = asyncio.run(verify_all(tasks, mode or list(Mode), socket))
    remarks = disagreements(results)
    if as_json:
        show_json({"results": [dataclasses.asdict(one) for one in results], "remarks": remarks})
    else:
        show_results(results, remarks)
    return 0 if results and all(one.good for one in results) else 1


async def verify_all(tasks: Sequence[Task], modes: Sequence[Mode], socket: Path | None = None) -> list[Result]:
    """Every task in turn; a director that answers on this host says which real server it was."""
    results: list[Result] = []
    for task in tasks:
        results += await verify(task, modes, lambda local: _whose(local, socket))
    return results


def show_results(results: Sequence[Result], remarks: Sequence[str]) -> None:
    """The table for people."""
    console = console_for_tables()
    table = Table(box=None, pad_edge=False)
    for title in ("address", "mode", "operation", "", "size", "time", "sha256", "real server", "remark"):
        table.add_column(title, justify="right" if title in ("size", "time") else "left")
    for one in results:
        table.add_row(
            one.target,
            one.mode.upper(),
            one.operation,
            Text("good", style="green") if one.good else Text("FAILED", style="bold red"),
            format_size(one.size_bytes),
            f"{one.duration_s * 1000:.0f} ms",
            one.sha256[:12],
            # Text: a cell that is a string would be read as rich's markup.
            Text(one.real_server or one.greeting[4:44]),
            Text(one.reason),
        )
    console.print(table)
    for remark in remarks:
        print(f"note: {shown(remark)}", file=sys.stderr)
    failed = sum(not one.good for one in results)
    if not results:
        print("nothing was tried: none of these modes can name this address", file=sys.stderr)
    elif failed:
        print(f"{failed} of {len(results)} failed", file=sys.stderr)
    else:
        print(f"all {len(results)} good")


def _tasks(target: str, user: str | None, password_file: Path | None) -> list[Task]:
    if not Path(target).is_file():
        try:
            endpoint = parse_target(target)
        except typer.BadParameter as error:
            raise typer.BadParameter(f"{error.message}, or the name of a cluster file that is there") from None
        password = read_secret(password_file).reveal()
        return [Task(target=endpoint, user=user or "anonymous", password=password)]
    tasks: list[Task] = []
    for virtual in load(Path(target)).cluster.virtual_servers:
        check = virtual.health_check
        file = password_file or (Path(check.password_file) if user is None and check.password_file else None)
        password = read_secret(file).reveal()
        tasks += [
            Task(target=Endpoint(address, virtual.port), user=user or check.user, password=password)
            for address in virtual.addresses
        ]
    return tasks


async def _whose(local: Endpoint, socket: Path | None) -> str:
    for _ in range(_ASK_TIMES):
        try:
            # In a thread: the demo's director answers in this very process.
            sessions = await asyncio.to_thread(_sessions, socket or default_socket_path())
        except ControlError:
            return ""  # no director on this host: the greeting has to say it
        for one in sessions:
            if _is(one["client"], local):
                return str(one["real_server"])
        await asyncio.sleep(_ASK_EVERY_S)  # workers report once a second
    return ""


def _sessions(socket: Path) -> list[dict[str, Any]]:
    with ControlClient(socket) as director:
        sessions: list[dict[str, Any]] = director.ask("sessions")["sessions"]
        return sessions


def _is(client: str, local: Endpoint) -> bool:
    host, _, port = client.rpartition(":")
    return port == str(local.port) and ip_address(host.strip("[]")) == local.address
