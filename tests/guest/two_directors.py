"""In the guest: two directors with files of their own and keepalived between them; the active one loses its wires."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.guest import directors, run
from lab.guest.directors import inside
from lab.guest.strict_client import attempt
from lab.guest.topology import SIZE, VIRTUAL, Servers

from tests.guest.manual_recipes import sliced

PAIR = {"director-a": 2, "director-b": 3}
PATIENCE_S = 20.0

KEEPALIVED = """
vrrp_sync_group both {{
    group {{
        outside
        inside
    }}
}}
vrrp_instance outside {{
    state BACKUP
    interface outside
    virtual_router_id 51
    priority {priority}
    virtual_ipaddress {{
        192.0.2.10/32 dev outside
        203.0.113.1/24 dev outside
    }}
}}
vrrp_instance inside {{
    state BACKUP
    interface inside
    virtual_router_id 52
    priority {priority}
    virtual_ipaddress {{
        198.51.100.1/24 dev inside
    }}
}}
"""


def start(name: str, number: int) -> subprocess.Popen[bytes]:
    """A director with the recipe "slices", and keepalived with its configuration in the usual place."""
    recipe = sliced("slices")
    directors.put(name, number, virtual=False)
    directors.apart(name)
    tell(name, "nft -f -", recipe.nft)
    tell(name, "ipvsadm -R", "".join(f"{line}\n" for line in recipe.services))
    tell(name, "tee /etc/keepalived/keepalived.conf", KEEPALIVED.format(priority=200 - number))
    return subprocess.Popen(directors.command(name, "keepalived", "-n", "-l"), stdout=subprocess.DEVNULL)


def tell(name: str, words: str, text: str) -> None:
    subprocess.run(
        directors.command(name, *words.split()), input=text, text=True, check=True, stdout=subprocess.DEVNULL
    )


def active() -> list[str]:
    """The directors that have the virtual address and the gateway."""
    found: list[str] = []
    for name in PAIR:
        listed = subprocess.run(
            ["ip", "-netns", name, "-4", "-o", "addr"], capture_output=True, text=True, check=True
        ).stdout
        if f" {VIRTUAL[4]}/32 " in listed and " 198.51.100.1/24 " in listed:
            found.append(name)
    return found


def until(holds: Callable[[], bool]) -> float:
    """Look until it does, with a deadline; the seconds that it took."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() > begun + PATIENCE_S:
            raise RuntimeError(f"not within {PATIENCE_S:.0f} s; active: {active()}")
        time.sleep(0.1)
    return time.monotonic() - begun


def transfers() -> list[dict[str, object]]:
    with inside("client"):
        return [attempt(VIRTUAL[4], 21, mode, SIZE, PATIENCE_S) for mode in ("PASV", "EPSV", "PORT", "EPRT")]


def main() -> None:
    work = Path("/tmp/servers")
    work.mkdir(mode=0o755)
    subprocess.run(["modprobe", "-a", "ip_vs", "ip_vs_rr"], check=True)
    directors.build()
    servers = Servers(work)
    daemons: list[subprocess.Popen[bytes]] = []
    told: dict[str, Any] = {}
    try:
        for name, settings in sliced("slices").settings.items():
            servers.start(name, "vsftpd", 4, settings)
        daemons += [start(name, number) for name, number in PAIR.items()]
        with inside("director-b"):
            servers.ready(4)
        until(lambda: active() == ["director-a"])
        told["before"] = transfers()
        directors.cut("director-a")
        told["took_s"] = until(lambda: "director-b" in active())
        told["after"] = transfers()
        told["files"] = {name: Path(f"/tmp/{name}.files/etc/keepalived/keepalived.conf").exists() for name in PAIR}
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait()
        servers.stop()
    run.report(told)


if __name__ == "__main__":
    main()
