"""Files of the host."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from ftpdirector.host.files import raise_open_files_limit, read_first_line


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"secret\n", "secret"), (b"secret", "secret"), (b"secret\r\nmore\n", "secret"), (b"", ""), (b"\xff\n", "\udcff")],
)
def test_the_first_line_counts_whatever_its_end(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_first_line(str(tmp_path / "file")) == line


def test_the_limit_of_open_files_is_raised_to_what_is_allowed() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        assert raise_open_files_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
