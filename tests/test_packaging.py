"""systemd's own word on the unit, alone and with each drop-in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parent.parent / "packaging"
DROP_INS = ("", *sorted(path.name for path in PACKAGING.glob("*.conf")))

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_systemd_takes_the_unit_without_a_word(drop_in: str, tmp_path: Path) -> None:
    program = tmp_path / "ftpdirector"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = (
        (PACKAGING / "ftpdirector.service").read_text().replace("/opt/ftpdirector/.venv/bin/ftpdirector", str(program))
    )
    (tmp_path / "ftpdirector.service").write_text(unit)
    if drop_in:
        folder = tmp_path / "ftpdirector.service.d"
        folder.mkdir()
        shutil.copy(PACKAGING / drop_in, folder)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "ftpdirector.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    about_ours = [line for line in (done.stdout + done.stderr).splitlines() if "ftpdirector" in line]
    assert about_ours == []
