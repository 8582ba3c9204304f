"""A plugin for pyftpdlib's own tests: its clients connect to VIRTUAL_PORT, its servers listen on REAL_PORT.

Between the two stands a director, or nothing: without VIRTUAL_PORT the suite is what its authors wrote.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Once the suite is imported, and before its first test makes a server."""
    if not items or "VIRTUAL_PORT" not in os.environ:
        return
    suite = sys.modules["tests"]
    wrapper: Any = suite.FtpdThreadWrapper
    begin = wrapper.__init__
    real, virtual = int(os.environ["REAL_PORT"]), int(os.environ["VIRTUAL_PORT"])

    def begin_behind(self: Any, addr: tuple[str, int] | None = None) -> None:
        begin(self, addr=((addr or (suite.HOST, 0))[0], real))
        self.port = virtual

    wrapper.__init__ = begin_behind
