"""`ftpdirector status`: what the running director sees, as a table. This module knows no engine."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final, cast

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ftpdirector.cli.options import Json, RunningFile, Socket, ask_director, console_for_tables, show_json
from ftpdirector.state import Replication
from ftpdirector.status.server import format_size
from ftpdirector.text import shown_within

EXAMPLES = "Examples: ftpdirector status; ftpdirector status --watch; ftpdirector status --json | jq ."
_LOOK_EVERY_S: Final = 1.0
_COLOURS: Final = {"up": "green", "down": "red", "full": "yellow", "unknown": "dim"}


def command(
    file: RunningFile = None,
    socket: Socket = None,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
) -> int:
    """Show virtual servers, real servers, their verdicts with the reason, and sessions."""
    console = console_for_tables()
    with ask_director(socket, file) as director:
        if as_json:
            show_json(director.ask("status")["status"])
        elif watch:
            with Live(_render(director.ask("status")["status"]), console=console, auto_refresh=False) as live:
                while True:
                    time.sleep(_LOOK_EVERY_S)
                    live.update(_render(director.ask("status")["status"]), refresh=True)
        else:
            console.print(_render(director.ask("status")["status"]))
    return 0


def _render(answer: dict[str, Any]) -> RenderableType:
    # What others said is shown as text: it neither acts on the terminal nor is taken for rich's markup.
    status = cast("dict[str, Any]", shown_within(answer))
    since = datetime.fromtimestamp(status["started_s"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    parts: list[RenderableType] = [
        Text(f"ftpdirector {status['version']}, engine {status['engine']}, {status['config_file']}, since {since}")
    ]
    if status["is_active"] is not None:
        serves = "active: it holds the virtual addresses" if status["is_active"] else "standing by"
        parts.append(Text(f"{status['director'] or 'this host'}: {serves}"))
    for program, state in status["replication"].items():
        parts.append(Text(f"{program} {state}", style="red" if state == Replication.SILENT else ""))
    if status["config_error"]:
        parts.append(Text(f"the newest file was refused: {status['config_error']}", style="red"))
    parts += [Text(note, style="yellow") for note in status["notes"]]
    for log, count in status["log_lines_dropped_total"].items():
        if count:
            parts.append(Text(f"{log}: {count} lines could not be written", style="red"))
    for virtual in status["virtual_servers"]:
        refused = ", ".join(f"{cause} {count}" for cause, count in sorted(virtual["refused_total"].items()))
        parts.append(
            Text(
                f"\n{virtual['name']}  {' '.join(virtual['endpoints'])}  scheduler {virtual['scheduler']}"
                f"  sessions {virtual['sessions']} of {virtual['sessions_total']} so far"
                + (f"  refused: {refused}" if refused else ""),
                style="bold",
            )
        )
        parts.append(_table(virtual["real_servers"]))
    return Group(*parts)


def _reason(verdict: dict[str, Any]) -> str:
    undecided = verdict.get("undecided", "")
    return f"{verdict['reason']}" + (f" (not known now: {undecided})" if undecided else "")


def _table(servers: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("real server", "address", "weight", "verdict", "sessions", "transfers", "down", "up", "reason"):
        table.add_column(
            title, justify="right" if title in ("weight", "sessions", "transfers", "down", "up") else "left"
        )
    for one in servers:
        health = one["verdict"]["health"]
        verdict = health + (", drained" if one["override"] == "drain" else "")
        weight, effective = one["weight"], one["effective_weight"]
        table.add_row(
            Text(one["name"]),
            one["endpoint"],
            "sorry" if one["sorry"] else str(weight) if weight == effective else f"{effective} of {weight}",
            Text(verdict, style=_COLOURS.get(health, "")),
            str(one["sessions"]),
            str(one["transfers"]),
            format_size(one["download_bytes_total"]),
            format_size(one["upload_bytes_total"]),
            Text(_reason(one["verdict"])),
        )
    return table
