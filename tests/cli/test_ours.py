"""What is ours by its name alone: all that any engine puts onto a host."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftpdirector.change.plan import ResourceKind, desired_resources
from ftpdirector.cli.host import setup_of
from ftpdirector.cli.ours import named_setup
from ftpdirector.config.decode import load
from ftpdirector.model import Engine

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))
SAVED = {4: "/etc/iptables/rules.v4", 6: "/etc/iptables/rules.v6"}
NAMELESS = (ResourceKind.MODULE, ResourceKind.SYSCTL)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_everything_that_an_example_needs_is_known_by_name(path: Path) -> None:
    cluster = load(path).cluster
    if cluster.engine is Engine.PROXY:
        return
    known = desired_resources(named_setup(), saved_paths=SAVED)
    for name in [director.name for director in cluster.directors] or [None]:
        keys = desired_resources(setup_of(cluster, name), saved_paths=SAVED)
        assert {key for key in keys if key.kind not in NAMELESS} <= set(known)
