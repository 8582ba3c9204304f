"""When the director itself is short of something: which errors tell so, and a descriptor kept in reserve.

A shortage of the director is no failure of a real server. This module knows no session and no listener.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from ftpdirector.engines.proxy.ports import NO_DESCRIPTOR_LEFT

OWN_ERRORS: Final = (*NO_DESCRIPTOR_LEFT, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM)
"""What socket(2) and connect(2) say when the reason lies on this host: besides descriptors and memory, no ephemeral
port or no own address is left, or a packet filter or security module of this host forbids it."""
OWN_ERROR_TEXTS: Final = frozenset(os.strerror(number) for number in OWN_ERRORS)
"""The same as people are told."""


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
