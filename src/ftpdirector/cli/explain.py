"""`ftpdirector explain`: the path of each connection for this very cluster file. This module knows no path."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from ftpdirector.cli.options import ClusterFile, Json, show_json
from ftpdirector.config.decode import load
from ftpdirector.config.values import parse_address
from ftpdirector.explain.explanation import explain
from ftpdirector.explain.path import Mode
from ftpdirector.explain.text import WIDTH, LineKind, TextLine, lines_of
from ftpdirector.model import IPAddress

EXAMPLES = (
    "Examples: ftpdirector explain cluster.toml; ftpdirector explain cluster.toml --mode pasv --client 203.0.113.80;"
    " ftpdirector explain cluster.toml --tls."
)
_STYLES: Final = {
    LineKind.HEADING: "bold",
    LineKind.WORKS: "bold green",
    LineKind.FAILS: "bold red",
    LineKind.PACKET: "cyan",
    LineKind.PLAIN: "",
}


def command(
    file: ClusterFile,
    mode: Annotated[list[Mode] | None, typer.Option(help="Only this mode; may be repeated.")] = None,
    client: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A client's address; by default one for documentation.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="The paths over TLS, step by step.")] = False,
    as_json: Json = False,
) -> int:
    """Explain the path of each connection, step by step, and what the usual mistakes would break."""
    cluster = load(file).cluster
    explanation = explain(cluster, modes=mode or (), client=_address(client), tls_only=tls)
    if not explanation.fronts:
        raise typer.BadParameter(f"{client}: no virtual server of {file} has an address and real servers of its family")
    if as_json:
        show_json(dataclasses.asdict(explanation))
        return 0
    console = Console()
    if console.is_terminal:
        width = min(console.width, WIDTH)
        console.print(Text("\n").join(_coloured(line) for line in lines_of(explanation, width=width)))
    else:
        for line in lines_of(explanation):
            print(line.text)
    return 0


def _coloured(line: TextLine) -> Text:
    return Text(line.text, style=_STYLES[line.kind])


def _address(text: str | None) -> IPAddress | None:
    if text is None:
        return None
    try:
        return parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None
