"""In the guest: says what it was given and where it is, writes where the host must not see it, and fails if told to."""

from __future__ import annotations

import os
from pathlib import Path

from lab.guest import run


def main() -> None:
    given = run.arguments()
    mark = Path(given["mark"])
    mark.write_text("from the guest\n")
    if given["fail"]:
        raise SystemExit("told to fail")
    run.report({"given": given, "kernel": os.uname().release, "user": os.geteuid(), "mark": mark.read_text()})


if __name__ == "__main__":
    main()
