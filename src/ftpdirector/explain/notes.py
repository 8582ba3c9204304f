"""What else an administrator must know of a configuration that works. This module knows no step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ftpdirector.explain.example import Example, candidates
from ftpdirector.model import Engine, Placement

_PROXY_NOTES: Final = (
    "Real servers need no setting, no route and no address of the director: any FTP server, IPv4 or IPv6, will do.",
    "Bytes pass this process's kernel, not its memory; a kernel engine is the faster way where TLS or the servers' "
    "settings allow it.",
)


def notes_of(example: Example) -> Iterator[str]:
    """One sentence or two each."""
    for server in candidates(example.virtual, example.address, example.cluster.engine):
        if server.sorry:
            yield (
                f"{server.name} is the sorry server: it gets new sessions only while every other real server is down, "
                "full or drained; those that it has by then go on when the others are back."
            )
    if example.cluster.engine is Engine.PROXY:
        yield from _PROXY_NOTES
        return
    match example.virtual.placement:
        case Placement.SLICES:
            yield (
                "The port alone names the real server. So TLS passes (and its sessions may be resumed: control and "
                "data reach the same server), as do many clients behind one address; and after a failover, or while a "
                "real server is drained, the sessions that it holds still open data connections."
            )
        case Placement.PERSISTENCE:
            yield "All clients behind one address share one real server."
            if example.cluster.engine is Engine.IPVS:
                yield (
                    "A real server cannot be drained in peace: either its old clients' new sessions go on coming, or "
                    "their next data connection is refused (expire_quiescent_template)."
                )
        case Placement.HELPER:
            yield (
                "The helper reads packets, not lines. A PORT or 227 that is split over two packets, or a 227 that is "
                "not first in its packet, is missed: that data connection fails, or begins seconds later."
            )
    if example.cluster.engine is Engine.IPVS:
        yield (
            "A control connection is silent while its transfer lasts. IPVS would forget it after 900 s; the time-out "
            "is set to a day."
        )
    if (
        len(example.cluster.directors) > 1
        and example.cluster.engine is Engine.IPVS
        and example.data_path.translates_source
    ):
        yield (
            "IPVS does not know active data connections that a rule translates, and its sync daemon does not carry "
            "them to the other director: conntrackd does, between two directors. A connection younger than some two "
            "seconds may not have been told yet."
        )
