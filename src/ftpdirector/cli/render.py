"""`ftpdirector render`: every file that a director or a real server needs. This module knows no engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from ftpdirector.cli.host import As, read_cluster, setup_of
from ftpdirector.cli.options import ClusterFile, Json, nearest, show_json
from ftpdirector.errors import EngineError
from ftpdirector.ftpd import host, needs, settings
from ftpdirector.ftpd.settings import Part
from ftpdirector.host.files import replace_text
from ftpdirector.model import Cluster

EXAMPLES = (
    "Examples: ftpdirector render cluster.toml; ftpdirector render cluster.toml --for alpha; ftpdirector render"
    " cluster.toml --for alpha --out /tmp/files."
)
_DIRECTOR: Final = "director"


def command(
    file: ClusterFile,
    whom: Annotated[
        str, typer.Option("--for", metavar="director|REAL_SERVER", help="Whose files; ftp/alpha: behind ftp alone.")
    ] = _DIRECTOR,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write them below this directory.", show_default=False)
    ] = None,
    as_json: Json = False,
    alone: Annotated[
        bool,
        typer.Option("--keepalived-alone", help="ipvs: keepalived looks by `ftpdirector probe`; `run` is not needed."),
    ] = False,
    name: As = None,
) -> int:
    """Print every file and setting that a host needs, complete; nothing is changed."""
    cluster, _ = read_cluster(file)
    parts = tuple(_of_director(cluster, name, alone=alone) if whom == _DIRECTOR else _of_real_server(cluster, whom))
    if out is not None:
        for part in parts:
            # Lines for a file that says more must not pass for the file.
            path = out / (part.path.lstrip("/") + ("" if part.is_whole else ".lines"))
            replace_text(path, part.text, mode=part.mode)
            print(path)
    elif as_json:
        show_json([{"path": part.path, "text": part.text, "is_whole": part.is_whole} for part in parts])
    else:
        for part in parts:
            print(f"==> {part.path}{'' if part.is_whole else ': lines for it'} <==\n{part.text}")
    return 0


def _of_director(cluster: Cluster, name: str | None, *, alone: bool) -> Iterator[Part]:
    setup = setup_of(cluster, name, probe=str(Path(sys.argv[0]).resolve()) if alone else "")
    for file in setup.files:
        yield Part(path=file.path, text=file.text, mode=file.mode)
    for line in setup.lines:
        yield Part(path=line.path, text=f"{line.line}\n", is_whole=False)


def _of_real_server(cluster: Cluster, name: str) -> Iterator[Part]:
    wanted = tuple(needs.found(cluster, name))
    if not wanted:
        known = (_DIRECTOR, *needs.names(cluster))
        raise EngineError(f'no real server is called "{name}"{nearest(name, known)}; known: {", ".join(known)}')
    if needs.is_needless(cluster):
        yield settings.nothing_needed()
        return
    for need in wanted:
        yield from settings.settings_of(need, suffix=f"-{need.virtual.name}" if len(wanted) > 1 else "")
    yield from host.host_of(wanted)
