"""Workers that root starts are root no more; what they do needs no more than they keep."""

from __future__ import annotations

import ftplib
import io
import os
import pwd
from pathlib import Path

import pytest

from tests.daemon.test_run import House, house, reals
from tests.directors import director
from tests.loopback.running_proxy import quiet_port

__all__ = ["house", "reals"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone has something to give up")
NET_BIND_SERVICE = 1 << 10


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("user", [None, "daemon"])
def test_workers_give_root_up(house: House, tmp_path: Path, user: str | None) -> None:
    log = tmp_path / "xferlog"
    house.write(top=f'workers = 2\ntransfer_log = "{log}"')
    expected = pwd.getpwnam(user or "nobody")
    with director(house.file, *(["--user", user] if user else [])) as it:
        for pid in it.workers():
            status = status_of(pid)
            assert set(status["Uid"].split()) == {str(expected.pw_uid)}
            assert set(status["Gid"].split()) == {str(expected.pw_gid)}
            assert status["Groups"] == ""
            for kind in ("CapEff", "CapPrm", "CapBnd"):
                assert int(status[kind], 16) & ~NET_BIND_SERVICE == 0, kind
            assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
            assert status["NoNewPrivs"] == "1"
            for task in Path(f"/proc/{pid}/task").iterdir():
                lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
                assert int(lines["CapEff"], 16) & ~NET_BIND_SERVICE == 0, "its threads gave it up, too"
        assert status_of(it.process.pid)["Uid"].split()[0] == "0"
        assert {house.who() for _ in range(4)} == {"alpha", "bravo"}
        it.until(lambda: "who.txt" in log.read_text(), "root's log is written by those who are not root")
        log.rename(tmp_path / "xferlog.1")
        assert it.ask("reopen").returncode == 0
        house.who()
        it.until(lambda: "who.txt" in log.read_text(), "the new one as well")
        assert it.end() == 0


def test_active_mode_still_comes_from_the_port_beside_a_low_one(house: House) -> None:
    house.port = quiet_port() % 400 + 500
    house.write()
    with director(house.file) as it:
        ftp = house.ftp()
        ftp.set_pasv(False)
        listener = ftp.makeport()
        ftp.sendcmd("TYPE I")
        answer = io.BytesIO()
        with listener:
            ftp.putcmd("RETR who.txt")
            data, peer = listener.accept()
            assert peer[1] == house.port - 1
            assert ftp.getresp().startswith("1")
            with data:
                answer.write(data.recv(100))
        assert ftp.voidresp().startswith("226")
        ftp.quit()
        assert answer.getvalue() in (b"alpha", b"bravo")
        assert it.end() == 0


def test_a_refused_name_says_which(house: House) -> None:
    with pytest.raises(AssertionError, match="no account called"), director(house.file, "--user", "no-such-account"):
        pass
    assert isinstance(ftplib.error_perm("1"), Exception)
