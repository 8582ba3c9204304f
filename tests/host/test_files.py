"""Files of the host."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from ftpdirector.host.files import raise_open_files_limit, read_first_line, replace_text


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


def test_half_a_file_that_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        replace_text(path, "more than ten bytes")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ
    assert [one.read_text() for one in tmp_path.iterdir()] == ["more than "]
    assert not path.exists()
    replace_text(path, "whole")
    assert [one.read_text() for one in tmp_path.iterdir()] == ["whole"]
