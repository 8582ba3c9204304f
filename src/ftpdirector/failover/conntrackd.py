"""Two directors -> conntrackd on each, so that translated connections outlive a failover; conntrackd.conf(5).

Every change is sent at once and put into the other kernel at once: a failover has nothing to carry out, and no script.
What was open before the other director came (back) is not sent. This module knows no engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ftpdirector.change.setup import HostFile, HostService, HostSetup, Symlink
from ftpdirector.model import Cluster, Director, IPAddress

PORT: Final = 3780
"""UDP. Whoever reaches it can put connections into the kernel: the packet filter lets directors in alone."""
FILE: Final = "/etc/ftpdirector/conntrackd.conf"
_UNIT: Final = "ftpdirector-conntrackd.service"
_PID_FILE: Final = "/run/ftpdirector-conntrackd.pid"

_UNIT_TEXT: Final = f"""\
[Unit]
Description=Connections of ftpdirector, told to the other director
Documentation=man:conntrackd(8)
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart=conntrackd -C {FILE}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


def peers(cluster: Cluster) -> tuple[IPAddress, ...]:
    """The directors that replicate connections to each other; empty where none do.

    conntrackd replicates to one other by UDP. Three directors would need multicast, which switches lose in silence.
    """
    addresses = tuple(director.address for director in cluster.directors)
    return addresses if len(addresses) == 2 and addresses[0].version == addresses[1].version else ()


def carried(cluster: Cluster, me: Director | None, *, but: Sequence[IPAddress]) -> HostSetup:
    """What the host of `me` is to have for it; connections to the addresses `but` are not told."""
    if me is None or not peers(cluster):
        return HostSetup()
    (other,) = (director for director in cluster.directors if director != me)
    return conntrackd_setup("\n".join(_file(cluster, me, other, but)) + "\n")


def conntrackd_setup(text: str) -> HostSetup:
    """Our conntrackd with this configuration: file, unit, service."""
    unit = f"/etc/systemd/system/{_UNIT}"
    return HostSetup(
        files=(
            HostFile(path=FILE, text=text),
            HostFile(path=unit, text=_UNIT_TEXT),
        ),
        links=(
            Symlink(
                path=f"/etc/systemd/system/multi-user.target.wants/{_UNIT}",
                to=unit,
                reason="the other director is told of connections from the start",
            ),
        ),
        services=(
            HostService(
                unit=_UNIT,
                program=(
                    "start-stop-daemon",
                    "--start",
                    "--background",
                    "--make-pidfile",
                    f"--pidfile={_PID_FILE}",
                    "--startas=/usr/sbin/conntrackd",
                    "--",
                    "-C",
                    FILE,
                ),
                main_file=FILE,
                needs="conntrackd",
                restarts=True,
                pid_file=_PID_FILE,
                reason="it tells the other director of translated connections",
            ),
        ),
    )


def _file(cluster: Cluster, me: Director, other: Director, but: Sequence[IPAddress]) -> Iterator[str]:
    version = me.address.version
    yield "Sync {"
    yield "    # Told at once, known at once: nothing is left to do at a failover."
    yield "    Mode NOTRACK {"
    yield "        DisableInternalCache yes"
    yield "        DisableExternalCache yes"
    yield "    }"
    yield "    UDP {"
    yield f"        IPv{version}_address {me.address}"
    yield f"        IPv{version}_Destination_Address {other.address}"
    yield f"        Port {PORT}"
    yield f"        Interface {cluster.host.external_interface or 'eth0'}"
    yield "        Checksum yes"
    yield "    }"
    yield "}"
    yield "General {"
    yield "    LockFile /run/ftpdirector-conntrackd.lock"
    yield "    Syslog yes"
    yield "    UNIX {"
    yield "        Path /run/ftpdirector-conntrackd.ctl"
    yield "    }"
    yield "    # Room for bursts of new connections."
    yield "    NetlinkBufferSize 2097152"
    yield "    NetlinkBufferSizeMaxGrowth 8388608"
    yield "    Filter From Kernelspace {"
    yield "        Protocol Accept {"
    yield "            TCP"
    yield "        }"
    yield "        # Connections of this host's own, and those that someone else carries."
    yield "        Address Ignore {"
    yield "            IPv4_address 127.0.0.1"
    yield "            IPv6_address ::1"
    for address in (*(director.address for director in cluster.directors), *dict.fromkeys(but)):
        yield f"            IPv{address.version}_address {address}"
    yield "        }"
    yield "        State Accept {"
    yield "            ESTABLISHED CLOSED TIME_WAIT CLOSE_WAIT for TCP"
    yield "        }"
    yield "    }"
    yield "}"
