"""Write the reference pages that repeat what the code knows: cluster file, rules, commands, metrics.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 when one of them is out of date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ftpdirector.cli import COMMANDS, application
from ftpdirector.config.document import (
    DirectorTable,
    Document,
    HealthCheckTable,
    HostTable,
    RealServerTable,
    StatusTable,
    TimeoutsTable,
    VirtualServerTable,
    VrrpTable,
)
from ftpdirector.config.host_rules import HOST_RULES
from ftpdirector.config.rules import RULES
from ftpdirector.model import PortRange
from ftpdirector.state import Histogram, RealServerState, Snapshot, Verdict, VirtualServerState
from ftpdirector.status.metrics import SnapshotCollector

REFERENCE = Path(__file__).parent / "reference"
HEAD = "<!-- Written by docs/generate.py from the code; change it there. -->\n\n"
TABLES: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("Top of the file", Document, ""),
    ("`[status]`", StatusTable, "The status page; without this table there is none."),
    ("`[[virtual_server]]`", VirtualServerTable, "One table for each virtual server."),
    ("`[virtual_server.timeouts]`", TimeoutsTable, "How long the proxy engine waits for whom."),
    ("`[virtual_server.health_check]`", HealthCheckTable, "How its real servers are looked at."),
    (
        "`[[virtual_server.real_server]]`",
        RealServerTable,
        "One table for each real server, in the order of preference.",
    ),
    ("`[[director]]`", DirectorTable, "Two or more make a cluster of directors (kernel engines, keepalived)."),
    ("`[vrrp]`", VrrpTable, "keepalived's numbers for them."),
    ("`[host]`", HostTable, "What the kernel engines must know of the host."),
)


def cluster_file() -> Iterator[str]:
    """Every key of every table."""
    yield "# The cluster file\n\n"
    yield "TOML, one file for all engines. A file with only names and addresses works; unknown keys are errors.\n"
    yield 'Durations are `"500us"`, `"200ms"`, `"90s"`, `"15m"`, `"1h"`, `"1d"`;'
    yield " 0 means no limit for every `max_...`.\n"
    yield "`ftpdirector schema` prints the JSON schema.\n"
    for title, table, text in TABLES:
        yield f"\n## {title}\n\n{text}\n\n" if text else f"\n## {title}\n\n"
        yield "| key | default | |\n|---|---|---|\n"
        for key, field in table.model_fields.items():
            if field.description:
                yield f"| `{key}` | {_default(field.default, required=field.is_required())} | {field.description} |\n"


def _default(value: Any, *, required: bool) -> str:
    if required:
        return "*required*"
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, float):
        return f"`{_duration(value)}`"
    return f"`{value}`" if isinstance(value, PortRange | int) else f"`{value!s}`"


def _duration(value_s: float) -> str:
    if value_s >= 60 and value_s % 60 == 0:
        return f"{value_s / 60:g}m"
    return f"{value_s * 1e6:g}us" if 0 < value_s < 0.001 else f"{value_s:g}s"


def rules() -> Iterator[str]:
    """Every rule of `check`."""
    yield "# Rules of `ftpdirector check`\n\n"
    yield "Each problem carries the name of its rule (`check --json`). A problem keeps the file from being used;\n"
    yield "what a warning is about is valid but risky. The last three ask the host that `check` or `run` runs on\n"
    yield "(`check --no-host` leaves them out).\n\n| rule | | holds when |\n|---|---|---|\n"
    for rule in (*RULES, *HOST_RULES):
        yield f"| `{rule.name}` | {'problem' if rule.is_problem else 'warning'} | {rule.sentence} |\n"


def commands() -> Iterator[str]:
    """Every command with its options."""
    yield "# Commands\n\n"
    yield "Exit codes: 0 as wanted, 1 not so, 64 wrong usage (`probe`: 0 and 1 only).\n"
    yield "`--json` stands beside every table.\n"
    group: Any = typer.main.get_command(application())
    for name in COMMANDS:
        command: Any = group.commands[name]
        arguments = " ".join(
            (one.metavar or one.name.upper()) for one in command.params if one.param_type_name == "argument"
        )
        yield f"\n## `ftpdirector {name}{' ' + arguments if arguments else ''}`\n\n{command.help}\n"
        options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
        if options:
            yield "\n| option | |\n|---|---|\n"
        for one in options:
            spelled = ", ".join(f"`{word}`" for word in one.opts)
            default = (
                ""
                if one.default in (None, False, [], ())
                else f" Default: `{getattr(one.default, 'value', one.default)}`."
            )
            yield f"| {spelled} | {one.help or ''}{default} |\n"
        if command.epilog:
            yield f"\n{command.epilog}\n"


def metrics() -> Iterator[str]:
    """Every metric family, collected from a snapshot with one server in it."""
    yield "# Metrics\n\n`/metrics` on the status address, in Prometheus' text format.\n"
    yield "Labels: `virtual_server`, `real_server`, and `cause` or `health` where one is shown.\n\n"
    yield "| metric | type | |\n|---|---|---|\n"
    for family in SnapshotCollector(_snapshot).collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        yield f"| `{name}` | {family.type} | {family.documentation} |\n"
    yield "\nThe same values, with the reasons in words, are at `/api/v1/status` (JSON) and on the page itself.\n"
    yield "`/healthz` answers `ok` while the director lives.\n"


def _snapshot() -> Snapshot:
    server = RealServerState(
        name="alpha", endpoint="", weight=1, effective_weight=1, verdict=Verdict(), override="none",  # type: ignore[arg-type]
        failures_total={"connect": 1},
    )  # fmt: skip
    virtual = VirtualServerState(
        name="ftp", endpoints=(), scheduler="wlc", sessions=0, sessions_total=0, refused_total={"limit": 1},
        real_servers=(server,),
    )  # fmt: skip
    return Snapshot(
        taken_s=0, started_s=0, version="", engine="proxy", config_file="", config_error="", workers=1,
        virtual_servers=(virtual,), data_setup=Histogram(bounds_s=(), counts=(0,), sum_s=0.0),
    )  # fmt: skip


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "cluster-file.md": cluster_file,
    "rules.md": rules,
    "commands.md": commands,
    "metrics.md": metrics,
}


def page(name: str) -> str:
    """One page's text."""
    return HEAD + "".join(PAGES[name]())


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [name for name in PAGES if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != page(name)]
    for name in stale:
        if check:
            print(f"docs/reference/{name} is out of date: make docs", file=sys.stderr)
        else:
            (REFERENCE / name).write_text(page(name))
            print(f"wrote docs/reference/{name}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
