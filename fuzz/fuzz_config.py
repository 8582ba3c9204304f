"""Fuzz targets (atheris): the cluster file, as text and as values.

    python fuzz/fuzz_config.py TARGET [CORPUS_DIRECTORY] [-max_total_time=60] ...

The invariant of each: anything is a Cluster or problems, each with a place in the text; never an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["ftpdirector"]):
    from ftpdirector.config.decode import examine
    from ftpdirector.config.document import TABLES
    from ftpdirector.errors import Problem

KEYS = [*sorted({key for table in TABLES for key in table.keys}), "nonsense"]
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
HEADERS = (*(table.header for table in TABLES if table.header), "[virtual_server]", "[[status]]", "[[real_server]]")


def config_text(data: bytes) -> None:
    """Any text."""
    _judge(data.decode("utf-8", "replace"))


def config_values(data: bytes) -> None:
    """Known keys with known values in any table: two bytes a line."""
    lines: list[str] = []
    for kind, what in zip(data[::2], data[1::2], strict=False):
        if kind % 5 == 0:
            lines.append(HEADERS[what % len(HEADERS)])
        else:
            lines.append(f"{KEYS[kind % len(KEYS)]} = {VALUES[what % len(VALUES)]}")
    _judge("\n".join(lines))


def _judge(text: str) -> None:
    examined = examine(text, source="cluster.toml")
    assert (examined.cluster is None) is bool(examined.problems)
    for problem in (*examined.problems, *examined.warnings):
        _insist(problem, text.removeprefix("\ufeff").split("\n"))
    if examined.cluster:
        assert examined.cluster.virtual_servers
        assert repr(examined.cluster)  # every field of it is there


def _insist(problem: Problem, lines: list[str]) -> None:
    assert problem.what
    assert problem.rule
    assert str(problem).isprintable() or "\t" in str(problem)
    assert 1 <= problem.line <= len(lines)
    assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


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
