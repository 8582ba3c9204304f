"""What a checkout holds, for users who may not go there: a clone below /root, or below any folder of mode 0700.

The paths stay what they are (a virtual environment names its own), so what is closed is covered, for one command: in a
mount namespace of its own, an empty file system that everybody may enter lies over the closed folder, and in it, at
their old places, only the paths that are asked for. Nobody's rights are changed, and nobody else sees it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

_COVER = """
set -eu
stage=$(mktemp -d)
mount -t tmpfs -o mode=755 none "$stage"
number=0
while [ "$1" != covers ]; do
    number=$((number + 1))
    if [ -d "$1" ]; then mkdir "$stage/$number"; else : >"$stage/$number"; fi
    mount --bind "$1" "$stage/$number"
    printf '%s\\n' "$1" >"$stage/$number.path"
    shift
done
shift
umask 022
while [ "$1" != run ]; do
    mount -t tmpfs -o mode=755 none "$1"
    shift
done
shift
while [ "$number" -gt 0 ]; do
    path=$(cat "$stage/$number.path")
    mkdir -p "$(dirname "$path")"
    if [ -d "$stage/$number" ]; then mkdir -p "$path"; else : >"$path"; fi
    mount --bind "$stage/$number" "$path"
    number=$((number - 1))
done
umount -R "$stage"
rmdir "$stage"
cd /
exec "$@"
"""


def interpreter() -> list[Path]:
    """What Python itself is made of: the virtual environment, and the installation that it was made from."""
    return [Path(sys.prefix), Path(sys.base_prefix)]


def for_everyone(paths: Iterable[Path]) -> tuple[str, ...]:
    """What to put before a command, so that every user can reach these paths under it; root alone may run it."""
    wanted = list(dict.fromkeys(found for path in paths for found in _open_parts(path.resolve())))
    covers = list(dict.fromkeys(cover for path in wanted if (cover := _closed_above(path)) is not None))
    outer = [one for one in covers if not any(other in one.parents for other in covers)]
    if not outer:
        return ()
    wanted = [one for one in wanted if any(cover in one.parents for cover in outer)]
    # A path below another one that is asked for is there with it.
    wanted = [one for one in wanted if not any(other in one.parents for other in wanted)]
    return ("unshare", "--mount", "sh", "-c", _COVER, "sh", *map(str, wanted), "covers", *map(str, outer), "run")


def _open_parts(path: Path) -> Iterator[Path]:
    """The path itself; what is in it where it is closed itself (a checkout of mode 0700)."""
    if path.is_dir() and not _may_enter(path):
        yield from path.iterdir()
    else:
        yield path


def _closed_above(path: Path) -> Path | None:
    """The outermost folder above a path that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not _may_enter(folder)), None)


def _may_enter(folder: Path) -> bool:
    return bool(os.stat(folder).st_mode & stat.S_IXOTH)
