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

from ftpdirector.cli import COMMANDS, application
from ftpdirector.config.document import TABLES, Key, Kind
from ftpdirector.config.host_rules import HOST_RULES
from ftpdirector.config.reader import FORM_RULES, FORM_WARNINGS
from ftpdirector.config.rules import RULES
from ftpdirector.config.values import spelled
from ftpdirector.model import ALL_ENGINES
from ftpdirector.state import Histogram, RealServerState, Snapshot, Verdict, VirtualServerState
from ftpdirector.status.metrics import SnapshotCollector

REFERENCE = Path(__file__).parent / "reference"
HEAD = "<!-- Written by docs/generate.py from the code; change it there. -->\n\n"
TEXTS = {
    "": "",
    "[status]": "The status page; without this table there is none.",
    "[[virtual_server]]": "One table for each virtual server.",
    "[virtual_server.timeouts]": "How long the proxy engine waits for whom.",
    "[virtual_server.health_check]": "How its real servers are looked at.",
    "[[virtual_server.real_server]]": "One table for each real server, in the order of preference.",
    "[[director]]": "Two or more make a cluster of directors (kernel engines, keepalived).",
    "[vrrp]": "keepalived's numbers for them.",
    "[host]": "What the kernel engines must know of the host.",
}


def cluster_file() -> Iterator[str]:
    """Every key of every table."""
    yield "# The cluster file\n\n"
    yield "TOML, one file for all engines. A file with only names and addresses works; unknown keys are errors.\n"
    yield 'Durations are `"500us"`, `"200ms"`, `"90s"`, `"15m"`, `"1h"`, `"1d"`;'
    yield " 0 means no limit for every `max_...`.\n"
    yield "`ftpdirector schema` prints the JSON schema.\n"
    yield "The engines beside a key obey it; `check` warns where a key is written that the chosen engine ignores.\n"
    for table in TABLES:
        title, text = (f"`{table.header}`" if table.header else "Top of the file"), TEXTS[table.header]
        yield f"\n## {title}\n\n{text}\n\n" if text else f"\n## {title}\n\n"
        yield "| key | default | engines | |\n|---|---|---|---|\n"
        for key in table.keys.values():
            if key.kind is not Kind.TABLE:
                engines = "all" if key.engines == ALL_ENGINES else ", ".join(key.engines)
                yield f"| `{key.name}` | {_default(key)} | {engines} | {key.setting.help} |\n"


def _default(key: Key) -> str:
    if key.required:
        return "*required*"
    if key.default in (None, ()) or key.setting.default_depends:
        return ""
    return f"`{spelled(key.default)}`"


def rules() -> Iterator[str]:
    """Every rule of `check`."""
    yield "# Rules of `ftpdirector check`\n\n"
    yield "Each problem carries its place (file, line, column) and the name of its rule, also in `check --json`.\n"
    yield "All of a file come in one pass. A problem keeps the file from being used; what a warning is about is valid\n"
    yield "but risky. The last three ask the host that `check` or `run` runs on (`check --no-host`\n"
    yield "leaves them out).\n\n"
    yield "| rule | | holds when |\n|---|---|---|\n"
    for name, sentence in FORM_RULES.items():
        yield f"| `{name}` | problem | {sentence} |\n"
    for name, sentence in FORM_WARNINGS.items():
        yield f"| `{name}` | warning | {sentence} |\n"
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
