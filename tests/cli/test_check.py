"""`ftpdirector check` as it is typed: files, standard input, exit codes, JSON, colour."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = """\
[[virtual_server]]
name = "ftp"
address = "192.0.2.10"
port = 2121
[[virtual_server.real_server]]
name = "alpha"
address = "198.51.100.11"
"""
BAD = GOOD.replace("port = 2121", "\tport\t= 0")


def check(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ftpdirector", "check", "--no-host", *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "bad.toml").write_text(BAD)
    (tmp_path / "risky.toml").write_text(GOOD.replace("2121", "21"))
    return tmp_path


def test_a_problem_is_shown_with_its_line_and_a_caret_below_its_column(files: Path) -> None:
    done = check(str(files / "bad.toml"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f'{files}/bad.toml:4:9: virtual_server "ftp": port: 0 cannot be used; write at least 1\n'
        "    4 | \tport\t= 0\n"
        "      | \t    \t  ^\n"
        f"{files}/bad.toml: 1 problem\n"
    )


def test_a_caret_stands_below_its_column_behind_wide_letters_and_not_at_all_in_a_very_long_line() -> None:
    done = check("-", stdin=GOOD.replace("port = 2121", 'health_check = { user = "\u6f22e\u0301", rise = 0 }'))
    first, line, caret, *_ = done.stderr.splitlines()
    assert first.startswith("<stdin>:4:39: ")
    assert caret.index("^") == line.index("0 }")  # one letter is two wide, one mark is none
    done = check("-", stdin=GOOD.replace("port = 2121", f'health_check = {{ user = "{"u" * 200}", rise = 0 }}'))
    assert done.stderr.splitlines()[2].startswith("warning: ")
    assert done.stderr.startswith("<stdin>:4:236: ")


def test_a_warning_is_shown_like_a_problem_and_the_file_is_good(files: Path) -> None:
    done = check(str(files / "risky.toml"))
    assert done.returncode == 0
    assert done.stdout == f"{files}/risky.toml: good, 1 warning\n"
    assert done.stderr.startswith(f'warning: {files}/risky.toml:4:8: virtual_server "ftp": port: ')
    assert done.stderr.endswith("    4 | port = 21\n      |        ^\n")


def test_many_files_and_standard_input_stand_on_one_command_line(files: Path) -> None:
    done = check(str(files / "good.toml"), "-", str(files / "none.toml"), stdin=BAD)
    assert done.returncode == 1
    assert done.stdout == f"{files}/good.toml: good\n"
    assert "<stdin>:4:9: virtual_server" in done.stderr
    assert f"{files}/none.toml: cannot be read: No such file or directory" in done.stderr
    assert check("-", stdin=GOOD).returncode == 0


def test_json_has_the_place_of_each_problem(files: Path) -> None:
    done = check(str(files / "bad.toml"), str(files / "risky.toml"), "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 1
    assert said["problems"] == [
        {
            "file": f"{files}/bad.toml",
            "line": 4,
            "column": 9,
            "excerpt": "\tport\t= 0",
            "where": 'virtual_server "ftp": port',
            "what": "0 cannot be used",
            "remedy": "write at least 1",
            "rule": "value",
        }
    ]
    assert [(one["file"], one["line"], one["rule"]) for one in said["warnings"]] == [
        (f"{files}/risky.toml", 4, "privileged-port")
    ]


@pytest.mark.long
def test_whatever_is_wrong_with_a_file_is_1_and_wrong_usage_is_64(files: Path) -> None:
    (files / "latin.toml").write_bytes(b"# \xe4")
    (files / "secret.toml").write_text(GOOD)
    (files / "secret.toml").chmod(0)
    wrong = ["bad.toml", "none.toml", ".", "latin.toml"] + (["secret.toml"] if os.geteuid() else [])
    assert [check(str(files / name)).returncode for name in wrong] == [1] * len(wrong)
    usage = ([], ["--jsn", "x.toml"], ["-", "-"])
    assert [check(*words).returncode for words in usage] == [64] * len(usage)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_is_given_colours_unless_it_wants_none(
    files: Path, environment: dict[str, str], coloured: bool
) -> None:
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    subprocess.run(
        [sys.executable, "-m", "ftpdirector", "check", str(files / "bad.toml")],
        stderr=theirs, env=kept | environment, check=False,
    )  # fmt: skip
    os.close(theirs)
    said = os.read(ours, 65536)
    os.close(ours)
    assert b"bad.toml:4:9" in said
    assert (b"\x1b[" in said) is coloured
