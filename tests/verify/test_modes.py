"""The strict client: what a director that lies, cuts or misplaces must not get away with."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ftpdirector.model import Endpoint
from ftpdirector.verify.data import Mode
from ftpdirector.verify.modes import disagreements, verify
from ftpdirector.verify.session import Result, Task
from tests.health.test_probe import GOOD, scripted
from tests.loopback.running_proxy import real_server


def run(target: Endpoint, modes: list[Mode], **task: Any) -> list[Result]:
    made: dict[str, Any] = {"user": "user", "password": "secret", "timeout_s": 2.0}
    return asyncio.run(verify(Task(target=target, **(made | task)), modes))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_that_works_is_good_in_every_mode_that_fits(tmp_path: Path, host: str) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "f.bin").write_bytes(b"\r\n\xff" * 9999)
    with real_server("alpha", tmp_path, host) as real:
        # One mode at a time: pyftpdlib itself loses data when active and passive clients come at once.
        task = {"upload": "/incoming", "uploaded": bytes(range(256)) * 8, "upload_name": "v"}
        results = [one for mode in Mode for one in run(real.endpoint, [mode], **task)]
    assert [one for one in results if not one.good] == []
    modes = ["pasv", "epsv", "port", "eprt"] if host == "127.0.0.1" else ["epsv", "eprt"]
    assert [(one.mode, one.operation) for one in results] == [
        (mode, operation) for mode in modes for operation in ("LIST", "MLSD", "RETR", "STOR", "APPE")
    ]
    assert list((tmp_path / "incoming").iterdir()) == [], "what was written is removed"


@pytest.mark.parametrize(
    ("mode", "changed", "reason"),
    [
        ("epsv", {"SIZE": b"213 11\r\n"}, "10 bytes came, 11 were due"),
        ("pasv", {"PASV": b"227 ok (198,51,100,11,200,1)\r\n"}, "227 announces 198.51.100.11, the control connection"),
        ("pasv", {"PASV": b"227 ok (127,0,0,1,3,255)\r\n"}, "port 1023, which is below 1024"),
        ("epsv", {"EPSV": b"500 what\r\n"}, "expected 229, got: 500 what"),
        ("port", {"PORT": b"500 no\r\n"}, "expected 200, got: 500 no"),
        ("epsv", {"USER": b"530 no\r\n"}, "expected 230 or 202, got: 530 no"),
        ("port", {"PORT": b"200 ok\r\n", "LIST": b""}, "the reply to LIST took longer than 2 s"),
    ],
)
def test_what_is_wrong_is_said(mode: str, changed: dict[str, bytes], reason: str) -> None:
    answers = GOOD | {"FEAT": b"211 no\r\n", "DELE": b"250 ok\r\n"} | changed
    with scripted(answers) as server:
        results = run(server, [Mode(mode)], path="/f")
    failed = [one for one in results if not one.good]
    assert reason in failed[0].reason
    assert all(one.reason == "not tried" for one in failed[1:])


def test_nobody_there_is_a_result() -> None:
    (failed, *_) = run(Endpoint(ip_address("127.0.0.1"), 1), [Mode.EPSV])
    assert (failed.operation, failed.good) == ("log in", False)


def test_files_that_differ_between_servers_are_told() -> None:
    def read(server: str, sha256: str) -> Result:
        return Result(
            target="t", mode=Mode.PASV, operation="RETR", good=True, path="/f", sha256=sha256, real_server=server
        )

    assert disagreements([read("alpha", "a" * 64), read("bravo", "a" * 64)]) == []
    (sentence,) = disagreements([read("alpha", "a" * 64), read("bravo", "b" * 64)])
    assert "alpha" in sentence
    assert "bravo" in sentence


def test_a_task_does_not_show_its_password() -> None:
    assert "secret" not in repr(Task(target=Endpoint(ip_address("127.0.0.1"), 21), user="u", password="secret"))
