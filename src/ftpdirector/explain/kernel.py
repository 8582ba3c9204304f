"""The path of a data connection under a kernel engine, whichever mode. This module knows no step."""

from __future__ import annotations

from ftpdirector.explain.active import trace_active
from ftpdirector.explain.example import Example
from ftpdirector.explain.passive import trace_passive
from ftpdirector.explain.path import PASSIVE, Mode, Trace


def trace_data(example: Example, mode: Mode, *, tls: bool) -> Trace:
    """From the announcement to the open data connection."""
    if mode in PASSIVE:
        return trace_passive(example, mode, tls=tls)
    return trace_active(example, mode, tls=tls)
