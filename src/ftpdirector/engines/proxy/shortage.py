"""When the director itself is short of something: which errors tell so, a descriptor in reserve.

A shortage of the director is no failure of a real server. This module knows no session and no listener.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import Final

from ftpdirector.engines.proxy.ports import NO_DESCRIPTOR_LEFT

OWN_ERRORS: Final = (*NO_DESCRIPTOR_LEFT, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM)
"""What socket(2) and connect(2) say when the reason lies on this host: besides descriptors and memory, no ephemeral
port or no own address is left, or a packet filter or security module of this host forbids it."""
OWN_ERROR_TEXTS: Final = frozenset(os.strerror(number) for number in OWN_ERRORS)
"""The same as people are told."""
_SAID_AGAIN_S: Final = 60.0
"""So long after it was said that no descriptor is left it is said again."""


class Reserve:
    """One descriptor that is held only to be given up, so that a client can be accepted and told 421."""

    def __init__(self) -> None:
        """Held from now on, where that is possible."""
        self._descriptor = -1
        self.fill()

    def spend(self) -> None:
        """Free the descriptor, for the very next call."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fill(self) -> None:
        """Hold one again, if there is one."""
        if self._descriptor < 0:
            with contextlib.suppress(OSError):
                self._descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


class DescriptorShortage:
    """Says that no descriptor is left: once in a while, however often it happens."""

    def __init__(self, warn: Callable[..., object], monotonic_s: Callable[[], float]) -> None:
        """`warn` writes a line of the log."""
        self._warn = warn
        self._monotonic_s = monotonic_s
        self._said = False
        self._said_s = 0.0

    def noticed(self) -> None:
        """It happened."""
        if not self._said:
            self._said = True
            self._said_s = self._monotonic_s()
            self._warn("no_descriptor_left", remedy="raise LimitNOFILE of the service")

    def expire(self, now_s: float) -> None:
        """Called about once a second."""
        self._said = self._said and now_s - self._said_s < _SAID_AGAIN_S
