"""The way of a data connection under a kernel engine, whichever mode. This module knows no step."""

from __future__ import annotations

from ftpdirector.explain.active import walk_active
from ftpdirector.explain.passive import walk_passive
from ftpdirector.explain.scene import Scene
from ftpdirector.explain.way import PASSIVE, Mode, Walk


def walk_data(scene: Scene, mode: Mode, *, tls: bool) -> Walk:
    """From the announcement to the open data connection."""
    if mode in PASSIVE:
        return walk_passive(scene, mode, tls=tls)
    return walk_active(scene, mode, tls=tls)
