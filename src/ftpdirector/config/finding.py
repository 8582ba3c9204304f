"""The words in which rules speak: a finding, where it is, and the rule itself. This module knows no rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ftpdirector.model import Cluster, Engine, RealServer, VirtualServer

Finding = tuple[str, str, str]
"""Place in the file, what is wrong, what would be right."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, whether breaking it is a problem (or a warning), a sentence, and how it is found broken."""

    name: str
    is_problem: bool
    sentence: str
    look: Callable[[Cluster], Iterator[Finding]]


def place_of(virtual: VirtualServer, server: RealServer | None = None) -> str:
    """Where in the file: `virtual_server "ftp": real_server "alpha"`."""
    place = f'virtual_server "{virtual.name}"'
    return f'{place}: real_server "{server.name}"' if server else place


def is_kernel(cluster: Cluster) -> bool:
    """Whether the kernel moves the bytes."""
    return cluster.engine is not Engine.PROXY


def problem(name: str, sentence: str, look: Callable[[Cluster], Iterator[Finding]]) -> Rule:
    """A rule that keeps a file from being used."""
    return Rule(name, is_problem=True, sentence=sentence, look=look)


def warning(name: str, sentence: str, look: Callable[[Cluster], Iterator[Finding]]) -> Rule:
    """A rule about what is valid but risky."""
    return Rule(name, is_problem=False, sentence=sentence, look=look)
