"""In CI a skipped test is a failure, unless the short list below allows it."""

from __future__ import annotations

import os

import pytest

MAY_SKIP_IN_CI: dict[str, str] = {"tests/test_packaging.py": "a container may come without systemd"}
"""Beginning of a test's id -> why it may be skipped there."""

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and not report.nodeid.startswith(tuple(MAY_SKIP_IN_CI)):
        _skipped.append(f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else ''}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") and _skipped and not hasattr(session.config, "workerinput"):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("CI") and _skipped:
        terminalreporter.section("skipped, which is a failure in CI", red=True)
        for line in _skipped:
            terminalreporter.write_line(line)
