"""What tests in a guest share: the marks that they carry, and one boot for all parallel test processes.

This module knows no recipe and no cluster.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab import realservers
from lab.guest import run

_MISSING = run.missing() or realservers.missing()

NEEDS_GUEST = [
    pytest.mark.real,
    pytest.mark.skipif(bool(_MISSING), reason=_MISSING),
    pytest.mark.timeout(400),  # whoever comes first boots the guest for all
]


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[], object]) -> Any:
    """The JSON of `make()`, which one process calls; its failure is everybody's, and is not tried again.

    A fixture that boots a guest calls this: pytest-xdist 3.8 cannot group tests under pytest 9.2 (it writes to
    `_nodeid`, which is gone), so that `--dist loadgroup` alone would boot one guest a worker.
    """
    base = factory.getbasetemp()
    shared: Path = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = shared / f"{name}.json"
        if not file.exists():
            file.write_text(json.dumps(_outcome(make)))
    outcome = json.loads(file.read_text())
    if "failed" in outcome:
        pytest.fail(outcome["failed"], pytrace=False)
    return outcome["made"]


def _outcome(make: Callable[[], object]) -> dict[str, object]:
    try:
        return {"made": make()}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}
