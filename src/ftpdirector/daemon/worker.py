"""How a worker process begins: what keeps it from being loaded is told to the supervisor, who says it.

`python -m ftpdirector.daemon.worker PAIR_FD ...`. The package may have been changed on disk, or taken away, since the
supervisor was started. This module imports nothing of the package before it can tell.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import suppress
from importlib import import_module

_LONGEST_REASON = 150


def main() -> None:
    """Load the rest and be a worker."""
    try:
        serving = import_module("ftpdirector.daemon.serving")
    except Exception as error:  # noqa: BLE001 - whatever a half-changed package raises
        reason = f"!{error!r}".encode()[:_LONGEST_REASON]
        with suppress(OSError):  # the supervisor has ended
            os.write(int(sys.argv[1]), struct.pack("!I", len(reason)) + reason)  # as `messages.say_hello` frames it
        sys.exit(1)
    serving.main()


if __name__ == "__main__":
    main()
