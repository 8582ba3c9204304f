"""Both clocks of the host, given as arguments to the code that needs the time."""

from __future__ import annotations

import time


class HostClock:
    """The real ones."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()
