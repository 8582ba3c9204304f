"""As whom the installed unit runs the director, and what that user may read. This module changes nothing."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNIT: Final = "ftpdirector.service"
UNIT_FOLDERS: Final = (
    Path("/etc/systemd/system"),
    Path("/run/systemd/system"),
    Path("/usr/local/lib/systemd/system"),
    Path("/usr/lib/systemd/system"),
    Path("/lib/systemd/system"),
)
"""In the order of systemd.unit(5): the first that has the unit wins; drop-ins of all of them count."""

_STRANGER: Final = 61184
"""The first user id of DynamicUser= (systemd.exec(5)): a user that owns nothing and is in no group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUser:
    """A user, and its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def service_user(folders: Sequence[Path] = UNIT_FOLDERS) -> ServiceUser | None:
    """The user of the installed unit; None where there is no unit, or where it is root or the caller itself."""
    said = _settings(folders)
    name = said.get("User", "")
    if not name or name == "root":
        return None
    try:
        known = pwd.getpwnam(name)
        user = ServiceUser(name=name, uid=known.pw_uid, gid=known.pw_gid)
    except KeyError:
        if said.get("DynamicUser", "").lower() not in ("yes", "true", "on", "1"):
            return None
        user = ServiceUser(name=name, uid=_STRANGER, gid=_STRANGER)
    if user.uid == os.geteuid():
        return None
    named = {said.get("Group", ""), *said.get("SupplementaryGroups", "").split()}
    groups = {one.gr_gid for one in grp.getgrall() if name in one.gr_mem or one.gr_name in named}
    return ServiceUser(name=name, uid=user.uid, gid=user.gid, groups=tuple(sorted(groups)))


def may_read(user: ServiceUser, path: str) -> bool | None:
    """Whether that user can read a file, with every folder on its way; None where only root could find out."""
    try:
        # test(1) asks as that very user, so that access control lists and security modules are heard, too.
        done = subprocess.run(
            ["/usr/bin/test", "-r", path],
            check=False,
            stdin=subprocess.DEVNULL,
            user=user.uid,
            group=user.gid,
            extra_groups=list(user.groups),
            timeout=10,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.returncode == 0


def _settings(folders: Sequence[Path]) -> dict[str, str]:
    """Keys of the unit and of its drop-ins; a later one counts."""
    units = [folder / _UNIT for folder in folders if (folder / _UNIT).is_file()]
    files = units[:1] + sorted((one for folder in folders for one in (folder / f"{_UNIT}.d").glob("*.conf")), key=_name)
    found: dict[str, str] = {}
    for file in files if units else []:
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            key, is_setting, value = line.partition("=")
            if is_setting and not line.lstrip().startswith(("#", ";")):
                found[key.strip()] = value.strip()
    return found


def _name(path: Path) -> str:
    return path.name
