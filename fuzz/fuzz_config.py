"""Fuzz targets (atheris): the cluster file, as text and as values.

    python fuzz/fuzz_config.py TARGET [CORPUS_DIRECTORY] [-max_total_time=60] ...

The invariant of each: anything is a Cluster or a ConfigError with problems; never another error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["ftpdirector"]):
    from ftpdirector.config.decode import decode
    from ftpdirector.config.rules import warnings_of
    from ftpdirector.errors import ConfigError

KEYS = [
    "engine",
    "workers",
    "name",
    "address",
    "port",
    "passive_ports",
    "slices",
    "placement",
    "forwarding",
    "scheduler",
    "persistence_timeout",
    "persistence_granularity",
    "firewall_mark",
    "gateway_address",
    "idle_timeout",
    "max_sessions",
    "proxy_protocol",
    "data_to_server",
    "weight",
    "slice",
    "server",
    "probe",
    "user",
    "path",
    "interval",
    "timeout",
    "rise",
    "fall",
    "listen",
    "priority",
    "packet_filter",
    "nonsense",
]
VALUES = [
    '"proxy"',
    '"ipvs"',
    '"nftables"',
    '"192.0.2.10"',
    '"2001:db8:2::10"',
    '"198.51.100.11"',
    '["192.0.2.10","::1"]',
    "21",
    "2121",
    "0",
    "-1",
    "65535",
    '"10000-20000"',
    '"1024-65535"',
    '"x"',
    '"slices"',
    '"persistence"',
    '"helper"',
    '"nat"',
    '"dr"',
    '"tun"',
    '"fullnat"',
    '"wlc"',
    '"mh"',
    '"sed"',
    '"15m"',
    '"0s"',
    '"1h"',
    "32",
    "128",
    "true",
    "1.5",
    "[]",
    "{}",
    '"vsftpd"',
    '"active"',
    '"v2"',
    '"transfer"',
    '"/f"',
    '"127.0.0.1:8021"',
    "2026-11-23",
]
TABLES = (
    "[[virtual_server]]",
    "[[virtual_server.real_server]]",
    "[virtual_server.health_check]",
    "[status]",
    "[[director]]",
    "[vrrp]",
    "[host]",
)


def config_text(data: bytes) -> None:
    """Any text."""
    _judge(data.decode("utf-8", "replace"))


def config_values(data: bytes) -> None:
    """Known keys with known values in any table: two bytes a line."""
    lines: list[str] = []
    for kind, what in zip(data[::2], data[1::2], strict=False):
        if kind % 5 == 0:
            lines.append(TABLES[what % len(TABLES)])
        else:
            lines.append(f"{KEYS[kind % len(KEYS)]} = {VALUES[what % len(VALUES)]}")
    _judge("\n".join(lines))


def _judge(text: str) -> None:
    try:
        cluster = decode(text, source="cluster.toml")
    except ConfigError as error:
        _insist(error)
    else:
        assert cluster.virtual_servers
        warnings_of(cluster, source="cluster.toml")


def _insist(error: ConfigError) -> None:
    assert error.problems
    assert str(error)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "config_text": config_text,
    "config_values": config_values,
}


def main() -> None:
    """Run the target named first; the rest is libFuzzer's."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz_config.py {'|'.join(TARGETS)} [CORPUS] [-max_total_time=60]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
