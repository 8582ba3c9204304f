"""`ftpdirector render`: every file that a director needs. This module knows no engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftpdirector.cli.host import As, read_cluster, setup_of
from ftpdirector.cli.options import ClusterFile
from ftpdirector.host.files import replace_text

EXAMPLES = (
    "Examples: ftpdirector render cluster.toml --for director; ftpdirector render cluster.toml --for director"
    " --out /tmp/files."
)


def command(
    file: ClusterFile,
    whom: Annotated[str, typer.Option("--for", metavar="director", help="Whose files.")] = "director",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write them below this directory.", show_default=False)
    ] = None,
    name: As = None,
) -> int:
    """Print every file and setting that a host needs, complete; nothing is changed."""
    if whom != "director":
        raise typer.BadParameter(f"{whom!r}: write director")
    cluster, _ = read_cluster(file)
    setup = setup_of(cluster, name)
    for one in setup.files:
        if out is not None:
            replace_text(out / one.path.lstrip("/"), one.text, mode=one.mode)
            print(out / one.path.lstrip("/"))
        else:
            print(f"==> {one.path} <==\n{one.text}")
    for line in setup.lines:
        print(f"==> {line.path}: one line more <==\n{line.line}\n")
    return 0
