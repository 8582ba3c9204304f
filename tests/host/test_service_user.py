"""The user that an installed unit names, and what it may read."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ftpdirector.host.service_user import ServiceUser, may_read, service_user

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")


def unit(folder: Path, text: str, *drop_ins: str) -> list[Path]:
    (folder / "ftpdirector.service.d").mkdir(parents=True)
    (folder / "ftpdirector.service").write_text(f"[Service]\n{text}\n")
    for place, more in enumerate(drop_ins):
        (folder / "ftpdirector.service.d" / f"{place}.conf").write_text(f"[Service]\n{more}\n")
    return [folder.parent / "none", folder]


def test_without_a_unit_or_under_root_there_is_nobody_else(tmp_path: Path) -> None:
    assert service_user([tmp_path]) is None
    assert service_user(unit(tmp_path / "a", "ExecStart=x")) is None
    assert service_user(unit(tmp_path / "b", "User=root")) is None
    assert service_user(unit(tmp_path / "c", "User=not-there")) is None
    assert service_user(unit(tmp_path / "d", f"User={pwd.getpwuid(os.geteuid()).pw_name}")) is None


def test_a_user_is_found_with_its_groups_and_a_drop_in_wins(tmp_path: Path) -> None:
    found = service_user(unit(tmp_path / "a", "User=daemon", "#User=mail\nUser = nobody\nSupplementaryGroups=adm"))
    nobody = pwd.getpwnam("nobody")
    assert found is not None
    assert (found.name, found.uid, found.gid) == ("nobody", nobody.pw_uid, nobody.pw_gid)
    assert len(found.groups) == 1


def test_a_dynamic_user_is_a_stranger(tmp_path: Path) -> None:
    found = service_user(unit(tmp_path / "a", "DynamicUser=yes\nUser=ftpdirector-not-there"))
    assert found == ServiceUser(name="ftpdirector-not-there", uid=61184, gid=61184)


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


@needs_root
def test_what_another_user_may_read_is_asked_as_that_user(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    user = ServiceUser(name="nobody", uid=nobody.pw_uid, gid=nobody.pw_gid)
    secret = folder / "secret"
    secret.write_text("x\n")
    secret.chmod(0o644)
    assert may_read(user, str(secret)) is True
    secret.chmod(0o600)
    assert may_read(user, str(secret)) is False
    os.chown(secret, 0, nobody.pw_gid)
    secret.chmod(0o640)
    assert may_read(user, str(secret)) is True
    folder.chmod(0o700)
    assert may_read(user, str(secret)) is False, "a folder on its way"
