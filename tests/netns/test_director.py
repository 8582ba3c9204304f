"""`ftpdirector apply`, `run` and `remove` with the engine nftables: the installed command, real servers, a real kernel.

The daemon is nobody, with CAP_NET_ADMIN and nothing else.
"""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from lab.netns import servers
from lab.netns.greeters import greeting, who
from lab.netns.hosts import CLIENTS, VIRTUAL, Network, address_of, network
from lab.netns.servers import Wanted, serving
from lab.netns.strict_client import Session

from ftpdirector.slices import slices_of
from tests.netns import director as here
from tests.netns.director import DirectorHost, director_host
from tests.netns.table import cluster_of, count_of, counted, listed, text_of

WHY_NOT = servers.missing() or here.missing()
pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

NUMBERS = (1, 2, 3)
KIND = "vsftpd"
"""pyftpdlib stops reading now and then under this load (once in some 10,000 transfers), also without a daemon."""
NAMES = ("real-one", "real-two", "real-three")
"""What servers greet with; the cluster file calls them real-1-4 and so on."""
CLIENT, SECOND, *_ = CLIENTS[4]
CHECK = 'probe = "connect"\ninterval = "2s"\ntimeout = "1s"\nrise = 1\nfall = 1'
PATIENCE_S = 15.0


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    cluster = cluster_of(NUMBERS, (4,))
    ports = {str(one.server.address): one.ports for one in slices_of(cluster, cluster.virtual_servers[0])}
    with network(len(NUMBERS)) as made:
        wanted = [
            Wanted(
                kind=KIND,
                name=name,
                host=made.servers[number - 1],
                address=address_of(number, 4),
                passive=(ports[address_of(number, 4)].first, ports[address_of(number, 4)].last),
                announced=VIRTUAL[4],
            )
            for number, name in zip(NUMBERS, NAMES, strict=True)
        ]
        with serving(wanted):
            yield made


@pytest.fixture
def place(hosts: Network) -> Iterator[DirectorHost]:
    with director_host(hosts) as made:
        made.write(text_of(NUMBERS, (4,), check=CHECK))
        made.apply()
        yield made
        made.command("remove")


def wait_until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def file_name(greeted: str) -> str:
    return f"real-{NAMES.index(greeted) + 1}-4"


def session(hosts: Network, own: str = CLIENT) -> Session:
    return Session(hosts.client, own, VIRTUAL[4])


def chosen(hosts: Network, count: int, own: str = CLIENT) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        with session(hosts, own) as one:
            found[file_name(one.server)] += 1
    return found


@contextlib.contextmanager
def load(hosts: Network) -> Iterator[Counter[str]]:
    """Two clients that transfer all the time; what they saw: `good`, or what went wrong."""
    seen: Counter[str] = Counter()
    end = threading.Event()

    def client(own: str) -> None:
        while not end.is_set():
            try:
                with session(hosts, own) as one:
                    for mode in ("PASV", "PORT", "EPSV"):
                        one.retrieve(mode)
                        seen["good"] += 1
            except Exception as error:
                seen["".join(traceback.format_exception(error)[-3:])] += 1

    threads = [threading.Thread(target=client, args=(own,)) for own in (CLIENT, SECOND)]
    for one in threads:
        one.start()
    try:
        yield seen
    finally:
        end.set()
        for one in threads:
            one.join()


def real_of(status: dict[str, object], name: str) -> dict[str, object]:
    return next(one for one in status["virtual_servers"][0]["real_servers"] if one["name"] == name)  # type: ignore[index]


def test_apply_again_changes_nothing_and_remove_leaves_nothing(hosts: Network) -> None:
    """Also while a director has set verdicts: those are its own."""
    with director_host(hosts) as place:
        place.write(text_of(NUMBERS, (4,), check=CHECK))
        assert place.command("plan", str(place.file)).returncode == 2
        place.apply()
        assert place.command("plan", str(place.file)).stdout == "nothing to change\n"
        with place.running() as director:
            assert director.ask("drain", "real-2-4").returncode == 0
            wait_until(lambda: set(chosen(hosts, 4)) == {"real-1-4", "real-3-4"})
            assert place.command("plan", str(place.file)).stdout == "nothing to change\n"
            assert place.command("apply", str(place.file)).stdout == "nothing to change\n"
            # A new file comes with a verdict in force: it stays, and who has a session keeps its data connections.
            with session(hosts) as held:
                place.write(text_of(NUMBERS, (4,), check=CHECK, weights={1: 3}, scheduler="wrr"))
                place.apply()
                held.retrieve("PASV")
                held.retrieve("PORT")
            assert set(chosen(hosts, 8)) == {"real-1-4", "real-3-4"}
        assert "real" not in "".join(place.found())
        assert place.found() != []
        assert place.command("remove").returncode == 0
        assert hosts.director.run("nft", "list", "ruleset").stdout == ""
        assert place.found() == []


def test_without_a_table_run_says_what_puts_it_there(hosts: Network) -> None:
    with director_host(hosts) as place:
        place.write(text_of(NUMBERS, (4,)))
        done = place.command("run", str(place.file), "--socket", str(place.socket))
    assert done.returncode == 1
    assert "ftpdirector apply FILE" in done.stderr.splitlines()[-1]


def test_a_server_that_dies_gets_no_new_sessions_and_others_go_on(hosts: Network, place: DirectorHost) -> None:
    with place.running() as director, session(hosts) as dead, session(hosts) as held:
        number = NAMES.index(dead.server) + 1
        hosts.servers[number - 1].nft(
            "table inet dead {\nchain input {\ntype filter hook input priority 0;\n"
            "tcp dport 21 ct state new reject with tcp reset\n}\n}\n"
        )
        try:
            name = file_name(dead.server)
            director.wait_for("verdict", real_server=name, now="down")
            wait_until(lambda: real_of(director.status(), name)["effective_weight"] == 0)
            assert set(chosen(hosts, 6)) == {f"real-{each}-4" for each in NUMBERS} - {name}
            held.retrieve("PASV")
            held.retrieve("PORT")
        finally:
            hosts.servers[number - 1].nft("delete table inet dead\n")
        director.wait_for("verdict", real_server=name, now="up")
        wait_until(lambda: name in chosen(hosts, 3))


def test_a_drain_ends_with_the_last_session_and_breaks_none(hosts: Network, place: DirectorHost) -> None:
    with place.running() as director:
        held = session(hosts)
        name = file_name(held.server)
        done = director.ask("drain", name, "--wait", "--timeout", "1s")
        assert done.returncode == 1
        assert "1 session left" in done.stdout
        assert name not in chosen(hosts, 6)
        for mode in ("PASV", "PORT"):
            held.retrieve(mode)
        held.ask("QUIT", "2")
        held.close()
        done = director.ask("drain", name, "--wait", "--timeout", "15s")
        assert done.returncode == 0, done.stdout + done.stderr
        assert director.ask("enable", name).returncode == 0
        wait_until(lambda: name in chosen(hosts, 3))


def test_status_agrees_with_what_is_open(hosts: Network, place: DirectorHost) -> None:
    with contextlib.ExitStack() as opened, place.running() as director:
        wait_until(lambda: director.status()["virtual_servers"][0]["sessions"] == 0)
        before = director.status()["virtual_servers"][0]["sessions_total"]
        held = [opened.enter_context(session(hosts)) for _ in range(5)]
        data = held[0].connect(*held[0].passive("PASV"))
        opened.enter_context(data)
        time.sleep(0.6)  # counts are read anew after half a second
        virtual = director.status()["virtual_servers"][0]
        assert virtual["sessions"] == 5
        assert virtual["sessions_total"] - before == 5
        due = Counter(file_name(one.server) for one in held)
        assert {one["name"]: one["sessions"] for one in virtual["real_servers"] if one["sessions"]} == due
        assert {one["name"]: one["transfers"] for one in virtual["real_servers"] if one["transfers"]} == {
            file_name(held[0].server): 1
        }


def test_sessions_and_bytes_are_counted_by_real_server_and_outlive_the_director(
    hosts: Network, place: DirectorHost
) -> None:
    with place.running() as director:
        before = director.status()["virtual_servers"][0]["real_servers"]
        with session(hosts) as one:
            name = file_name(one.server)
            for mode in ("PASV", "PORT", "EPSV"):
                one.retrieve(mode)
    with place.running() as director:
        after = director.status()["virtual_servers"][0]["real_servers"]
    came = {
        now["name"]: [now[key] - old[key] for key in ("sessions_total", "download_bytes_total", "upload_bytes_total")]
        for old, now in zip(before, after, strict=True)
    }
    sessions, down, up = came.pop(name)
    assert sessions == 1
    assert 3 * servers.SIZE < down < 3 * servers.SIZE * 1.1  # headers of packets
    assert 0 < up < 3 * servers.SIZE * 0.1  # acknowledgements
    assert set(map(tuple, came.values())) == {(0, 0, 0)}


def test_no_transfer_fails_when_the_director_is_killed_restarted_and_told_anew(
    hosts: Network, place: DirectorHost
) -> None:
    with load(hosts) as seen:
        with place.running() as director:
            time.sleep(1)
            assert director.ask("drain", "real-1-4").returncode == 0
            wait_until(lambda: "real-1-4" not in chosen(hosts, 3))
            director.process.send_signal(signal.SIGKILL)
            director.process.wait()
            before = seen["good"]
            wait_until(lambda: seen["good"] > before + 20)
        with place.running() as director:
            # The drain stood in the table, and no other director had said a word.
            assert real_of(director.status(), "real-1-4")["override"] == "drain"
            assert "real-1-4" not in chosen(hosts, 6)
            assert director.ask("enable", "real-1-4").returncode == 0
            for turn in range(8):
                place.write(text_of(NUMBERS, (4,), check=CHECK, scheduler="wrr", weights={1: 1 + turn % 2, 2: 3}))
                assert director.ask("reload").returncode == 0
                time.sleep(0.2)
    assert set(seen) == {"good"}, seen
    assert seen["good"] > 50


def test_the_gate_never_refuses_who_has_a_session(hosts: Network, place: DirectorHost) -> None:
    """In ten thousand transfers, before some of which the set has forgotten everybody, as after an hour of silence."""
    del place
    refused = count_of(hosts.director, "gate")
    made = 0
    while made < 10_000:
        with contextlib.ExitStack() as opened:
            held = [opened.enter_context(session(hosts, own)) for own in CLIENTS[4] for _ in range(3)]
            for turn in range(10):
                if turn % 4 == 3:
                    hosts.director.nft("flush set inet ftpdirector admitted_v4\n")
                for number, one in enumerate(held):
                    one.retrieve(("PASV", "EPSV")[(turn + number) % 2])
                    made += 1
    assert count_of(hosts.director, "gate") == refused


def test_persistence_is_kept_over_restart_apply_and_reload(hosts: Network, place: DirectorHost) -> None:
    settings = {"persistence_timeout": "1h", "scheduler": "rr", "check": CHECK}
    place.write(text_of(NUMBERS, (4,), **settings))
    place.apply()
    [kept] = chosen(hosts, 3)
    with place.running() as director:
        place.write(text_of(NUMBERS, (4,), weights={1: 2, 2: 5}, **{**settings, "scheduler": "wrr"}))
        assert director.ask("reload").returncode == 0
        assert set(chosen(hosts, 4)) == {kept}
    with place.running():
        place.apply()
        assert set(chosen(hosts, 4)) == {kept}


def test_a_server_with_enough_sessions_gets_no_more(hosts: Network, place: DirectorHost) -> None:
    place.write(text_of(NUMBERS, (4,), check=CHECK, most=1))
    place.apply()
    with contextlib.ExitStack() as opened, place.running() as director:
        wait_until(lambda: director.status()["virtual_servers"][0]["sessions"] == 0)
        wait_until(lambda: withheld(hosts) == set())
        for _ in NUMBERS:
            before = withheld(hosts)
            name = file_name(opened.enter_context(session(hosts)).server)
            wait_until(lambda due=before | {name}: withheld(hosts) == due)  # type: ignore[misc]
        with pytest.raises(ConnectionRefusedError):
            session(hosts)


@pytest.mark.parametrize("settings", [{"scheduler": "wlc"}, {"scheduler": "mh", "persistence_timeout": "1h"}])
def test_a_sorry_server_stands_in_and_keeps_its_sessions(
    hosts: Network, place: DirectorHost, settings: dict[str, str]
) -> None:
    """Persistence does not keep a client with it either."""
    place.write(text_of(NUMBERS, (4,), check=CHECK, sorry=3, **settings))
    place.apply()
    others = ("real-1-4", "real-2-4")
    with place.running() as director:
        assert set(chosen(hosts, 6)) <= set(others)
        with session(hosts) as held:
            for name in others:
                assert director.ask("drain", name).returncode == 0
            wait_until(lambda: set(chosen(hosts, 3)) == {"real-3-4"})
            held.retrieve("PASV")
            with session(hosts) as sorry:
                assert file_name(sorry.server) == "real-3-4"
                for name in others:
                    assert director.ask("enable", name).returncode == 0
                wait_until(lambda: "real-3-4" not in chosen(hosts, 3))
                for mode in ("PASV", "PORT"):
                    sorry.retrieve(mode)
                    held.retrieve(mode)
        assert place.command("plan", str(place.file)).stdout == "nothing to change\n"


def withheld(hosts: Network) -> set[str]:
    """Who gets no new sessions, as the table has it."""
    text = hosts.director.run("nft", "list", "set", "inet", "ftpdirector", "withheld_v4").stdout
    return {f"real-{number}-4" for number in NUMBERS if f". {address_of(number, 4)}" in text}


def test_lc_leads_new_sessions_to_who_has_fewest(hosts: Network, place: DirectorHost) -> None:
    """One server holds many sessions: the next ones go elsewhere until the others have as many."""
    place.write(text_of(NUMBERS, (4,), check=CHECK, scheduler="lc"))
    place.apply()
    with contextlib.ExitStack() as opened, place.running() as director:
        for name in ("real-2-4", "real-3-4"):
            assert director.ask("drain", name).returncode == 0
        wait_until(lambda: set(chosen(hosts, 3)) == {"real-1-4"})
        held = [opened.enter_context(session(hosts)) for _ in range(12)]
        assert {file_name(one.server) for one in held} == {"real-1-4"}
        for name in ("real-2-4", "real-3-4"):
            assert director.ask("enable", name).returncode == 0
        wait_until(lambda: "real-1-4" not in chosen(hosts, 6))
        more = Counter(file_name(opened.enter_context(session(hosts, SECOND)).server) for _ in range(12))
        # Between two looks the kernel goes by the last one: never to the full one, and to the others almost alike.
        assert set(more) == {"real-2-4", "real-3-4"}
        assert min(more.values()) >= 4


def test_wrr_keeps_its_weights_while_the_director_looks(hosts: Network) -> None:
    """Thousands of connections, the daemon at work beside them."""
    with network(3) as made, director_host(made) as place:
        ends = {f"real-{number}-4": (made.servers[number - 1], address_of(number, 4), 21) for number in NUMBERS}
        with greeting(ends):
            place.write(text_of(NUMBERS, (4,), check=CHECK, scheduler="wrr", weights={1: 5, 2: 3, 3: 1}))
            place.apply()
            with place.running():
                turns = Counter(who(made.client, CLIENT, VIRTUAL[4]) for _ in range(2_700))
    for number, weight in {1: 5, 2: 3, 3: 1}.items():
        assert turns[f"real-{number}-4"] / 2_700 == pytest.approx(weight / 9, rel=0.02)


def test_a_table_that_somebody_else_changed_is_taken_over_anew(hosts: Network, place: DirectorHost) -> None:
    """The boot file, loaded again beside a drain, offers all: within seconds the drain is true again."""
    with place.running() as director:
        assert director.ask("drain", "real-2-4").returncode == 0
        wait_until(lambda: withheld(hosts) == {"real-2-4"})
        hosts.director.run("nft", "--file", str(place.work / "etc/ftpdirector/ftpdirector.nft"))
        assert withheld(hosts) == set()
        wait_until(lambda: withheld(hosts) == {"real-2-4"})
        assert "real-2-4" not in chosen(hosts, 6)


def test_what_apply_changed_is_not_put_back_by_a_director_of_another_file(hosts: Network, place: DirectorHost) -> None:
    """It says so, changes nothing, and goes on when it has the file too; the boot file of its own it takes over."""
    with place.running() as director:
        place.write(text_of(NUMBERS, (4,), check=CHECK, scheduler="sh"))
        place.apply()
        applied = listed(hosts.director)
        director.wait_for("kernel_not_told")
        drained = director.ask("drain", "real-2-4")
        assert drained.returncode == 1, "it is not drained yet, and is not said to be"
        assert "ftpdirector reload" in drained.stderr
        time.sleep(2.0)  # twice as long as it takes to look and follow
        assert [block for block in listed(hosts.director) if "dynamic" not in block] == [
            block for block in applied if "dynamic" not in block
        ]
        assert director.ask("reload").returncode == 0
        wait_until(lambda: withheld(hosts) == {"real-2-4"})
    assert place.command("plan", str(place.file)).stdout == "nothing to change\n"


def test_what_remove_took_away_is_not_put_back(hosts: Network, place: DirectorHost) -> None:
    with place.running() as director:
        assert place.command("remove").returncode == 0
        director.wait_for("kernel_not_told")
        director.ask("drain", "real-2-4")
        time.sleep(2.0)  # twice as long as it takes to look and follow
        assert hosts.director.run("nft", "list", "ruleset").stdout == ""


def test_a_table_with_the_set_names_of_version_0_1_is_changed_in_one_transaction(
    hosts: Network, place: DirectorHost
) -> None:
    """By `apply` and by a director that starts: sessions keep their data connections, no old name is left."""
    names = {
        "sessions": "served", "accepted_v": "made_v", "bytes_to_clients_v": "down_v", "bytes_to_servers_v": "up_v",
    }  # fmt: skip
    for change in ("apply", "run"):
        text = (place.work / "etc/ftpdirector/ftpdirector.nft").read_text()
        for name, old in names.items():
            text = re.sub(rf"(set |@){name}(?=[46]? |[46]?\n)", rf"\g<1>{old}", text)
        hosts.director.nft(re.sub(r"state_[0-9a-f]{8}_", "state_", text))
        assert counted(hosts.director, "served") == 0
        with session(hosts) as held:
            if change == "apply":
                place.apply()
            else:
                with place.running():
                    wait_until(lambda: "set served" not in "".join(listed(hosts.director)))
            for mode in ("PASV", "PORT"):
                held.retrieve(mode)
        found = "".join(listed(hosts.director))
        assert not re.findall(r"set (served|made|down|up)\b", found)
        assert counted(hosts.director, "bytes_to_clients_v4") > 0
