"""A plan below a directory: carried out, undone, interrupted. (The live host's part is tested in the guest.)"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ftpdirector.change.journal import Journal, StateStore
from ftpdirector.change.resources import Place, write_value
from ftpdirector.change.setup import HostFile, HostService, HostSetup, IptablesChain, Line, PacketFilterRules, Symlink
from ftpdirector.change.transaction import Host, apply, confirm, plan, undo
from ftpdirector.errors import EngineError

FOREIGN = "/etc/keepalived/keepalived.conf"
SETUP = HostSetup(
    rules=PacketFilterRules(
        iptables=(IptablesChain(table="nat", name="FTPDIRECTOR-ACTIVE", called_from="POSTROUTING", rules=("-j SNAT",)),)
    ),
    files=(HostFile(path="/etc/ours.conf", text="ours\n", mode=0o640),),
    lines=(Line(path=FOREIGN, line="include ours.conf", reason="it is read"),),
    links=(Symlink(path="/etc/wants/ours.service", to="/etc/ours.service", reason="at boot"),),
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "etc/keepalived").mkdir(parents=True)
    (tmp_path / FOREIGN.lstrip("/")).write_text("theirs\n")
    return Host(place=Place(tmp_path), store=StateStore(tmp_path / "state"))


def files(host: Host) -> dict[str, str]:
    root = host.place.root
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if not path.is_dir() and "state" not in path.parts
    }


def killed_while_writing(work: Callable[[], object]) -> None:
    """Do it in a process that is killed by the first file that has more than three bytes."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))
        work()
        os._exit(0)
    os.waitpid(child, 0)


def test_apply_makes_it_so_and_a_second_one_has_nothing_to_do(host: Host) -> None:
    planned = plan(host, SETUP, cluster="text")
    assert [str(change.key.kind) for change in planned.changes] == ["file", "line", "saved", "link"]
    apply(host, planned)
    assert files(host)["etc/keepalived/keepalived.conf"] == "theirs\ninclude ours.conf\n"
    assert files(host)["etc/wants/ours.service"] == "/etc/ours.service"
    assert (host.place.root / "etc/ours.conf").stat().st_mode & 0o777 == 0o640
    assert not plan(host, SETUP, cluster="text")


def test_remove_leaves_the_host_as_found(host: Host) -> None:
    before = files(host)
    apply(host, plan(host, SETUP, cluster="text"))
    apply(host, plan(host, HostSetup(), cluster=""))
    assert files(host) == before
    assert not host.store.manifest().originals


def test_what_is_no_longer_wanted_goes_back_to_what_it_was(host: Host) -> None:
    (host.place.root / "etc/ours.conf").write_text("older\n")
    apply(host, plan(host, SETUP, cluster="text"))
    apply(host, plan(host, HostSetup(lines=SETUP.lines), cluster="text"))
    assert files(host) == {"etc/keepalived/keepalived.conf": "theirs\ninclude ours.conf\n", "etc/ours.conf": "older\n"}


def test_a_failure_in_the_middle_puts_everything_back(host: Host) -> None:
    """The link's directory is a file: the last of four changes cannot be made."""
    (host.place.root / "etc/wants").write_text("in the way\n")
    before = files(host)
    with pytest.raises(EngineError, match="everything was put back"):
        apply(host, plan(host, SETUP, cluster="text"))
    assert files(host) == before
    assert host.store.journal() is None


@pytest.mark.parametrize("made", range(5))
def test_a_command_that_was_killed_is_undone_by_the_next(host: Host, made: int) -> None:
    """After any number of its changes: the journal was on disk before the first."""
    before = files(host)
    planned = plan(host, SETUP, cluster="text")
    host.store.write_journal(Journal(changes=planned.changes, notifies=planned.notifies))
    for change in planned.changes[:made]:
        write_value(host.place, change.key, change.after, change.mode_after)
    killed_while_writing(
        lambda: [write_value(host.place, one.key, one.after, one.mode_after) for one in planned.changes[made:]]
    )
    assert undo(host)
    assert files(host) == before
    assert not undo(host)


def test_unless_it_is_confirmed_it_can_be_undone(host: Host) -> None:
    before = files(host)
    apply(host, plan(host, SETUP, cluster="text"), confirm_by_s=1.0)
    assert files(host) != before
    assert undo(host)
    assert files(host) == before
    assert not host.store.manifest().originals


def test_confirmed_it_stays(host: Host) -> None:
    apply(host, plan(host, SETUP, cluster="text"), confirm_by_s=1.0)
    assert confirm(host)
    assert not confirm(host)
    assert not undo(host)
    assert host.store.manifest().cluster == "text"


def test_one_command_at_a_time(host: Host) -> None:
    with host.store.locked(), pytest.raises(EngineError, match="another ftpdirector command"), host.store.locked():
        pass


def test_a_state_file_that_is_not_ours_is_refused(host: Host) -> None:
    (host.place.root / "state").mkdir()
    (host.place.root / "state/manifest.json").write_text("[]")
    with pytest.raises(EngineError, match=r"manifest\.json is not what ftpdirector wrote"):
        plan(host, SETUP, cluster="text")


def test_a_service_whose_program_is_missing_is_refused_before_anything_changes(host: Host) -> None:
    before = files(host)
    service = HostService(
        unit="none.service", program=("none",), main_file="/etc/none", pid_file="/run/none", reason="it is a test",
        needs="no-such-program",
    )  # fmt: skip
    planned = replace(plan(host, SETUP, cluster="text"), notifies=(service,))
    with pytest.raises(EngineError, match="no-such-program is not installed"):
        apply(host, planned)
    assert files(host) == before
    assert host.store.journal() is None


def test_a_journal_of_version_0_1_can_be_undone(host: Host) -> None:
    """It named the services to notify `tells`."""
    before = files(host)
    apply(host, plan(host, SETUP, cluster="text"), confirm_by_s=1.0)
    path = host.place.root / "state/journal.json"
    path.write_text(path.read_text().replace('"notifies"', '"tells"'))
    assert undo(host)
    assert files(host) == before


THEIRS = ["theirs\n", "theirs", "theirs\r\nmore\r\n", "a\x0cb\x85\nmore\n", "\n", "", "caf\udce9\n"]


@pytest.mark.parametrize("text", THEIRS)
@pytest.mark.parametrize("undone", ["removed", "not confirmed"])
def test_files_of_others_come_back_byte_for_byte(host: Host, text: str, undone: str) -> None:
    """The ends of their lines, a last line without one, an empty file: after `remove` and after an undo."""
    data = text.encode(errors="surrogateescape")
    paths = [host.place.root / name for name in ("etc/keepalived/keepalived.conf", "etc/iptables/rules.v4")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    apply(host, plan(host, SETUP, cluster="text"), confirm_by_s=float(undone == "not confirmed"))
    assert [path.read_bytes() == data for path in paths] == [False, False]
    if undone == "removed":
        apply(host, plan(host, HostSetup(), cluster=""))
    else:
        assert undo(host)
    assert [path.read_bytes() for path in paths] == [data, data]
