"""keepalived as a service of the host that reads a file of ours beside its own. It knows no line of that file."""

from __future__ import annotations

from typing import Final

from ftpdirector.change.setup import HostService, Line

_MAIN_FILE: Final = "/etc/keepalived/keepalived.conf"
KEEPALIVED_FILE: Final = "/etc/keepalived/ftpdirector.conf"

KEEPALIVED_LINE: Final = Line(
    path=_MAIN_FILE, line=f"include {KEEPALIVED_FILE}", reason="keepalived reads our file beside its own"
)


def keepalived_service(reason: str) -> HostService:
    """The service, and what it is for."""
    return HostService(
        unit="keepalived.service",
        program=("keepalived", f"--use-file={_MAIN_FILE}"),
        main_file=_MAIN_FILE,
        needs="keepalived",
        reads=(KEEPALIVED_FILE,),
        test=("keepalived", "--config-test", f"--use-file={_MAIN_FILE}"),
        pid_file="/run/keepalived.pid",
        reason=reason,
    )
