"""Beside firewalld, ufw and docker: what they drop is said with what lets it pass, and that is enough.

Neither side touches the other.

The first two are the programs themselves, the third are rules of its shape (lab/netns/firewalls).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.netns import firewalls, servers
from lab.netns.firewalls import NAMES, Firewall, firewall, tables
from lab.netns.hosts import CLIENTS, VIRTUAL, Network, address_of, network
from lab.netns.servers import Wanted, serving
from lab.netns.strict_client import RefusedError, Session

from ftpdirector.slices import slices_of
from tests.netns import director as here
from tests.netns.director import DirectorHost, director_host
from tests.netns.table import cluster_of, listed, text_of

WHY_NOT = servers.missing() or here.missing() or firewalls.missing()
pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

NUMBERS = (1, 2)
MODES = {4: ("PASV", "EPSV", "PORT", "EPRT"), 6: ("EPSV", "EPRT")}
SHORT_S = 0.7
"""For what is dropped without a word."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    cluster = cluster_of(NUMBERS)
    ports = {str(one.server.address): one.ports for one in slices_of(cluster, cluster.virtual_servers[0])}
    with network(len(NUMBERS)) as made:
        wanted = [
            Wanted(
                kind="vsftpd",
                name=f"real-{name}",
                host=made.servers[number - 1],
                address=address_of(number, version),
                passive=(ports[address_of(number, version)].first, ports[address_of(number, version)].last),
                announced=VIRTUAL[4] if version == 4 else "",
            )
            for version in (4, 6)
            for number, name in zip(NUMBERS, ("one", "two"), strict=True)
        ]
        with serving(wanted):
            yield made


@pytest.fixture
def place(hosts: Network) -> Iterator[DirectorHost]:
    with director_host(hosts) as made:
        made.write(text_of(NUMBERS))
        yield made
        hosts.director.nft("flush ruleset")


def session(hosts: Network, version: int) -> Session:
    return Session(hosts.client, CLIENTS[version][0], VIRTUAL[version])


def transfer_in_every_mode(hosts: Network) -> None:
    """With every real server."""
    for version, modes in MODES.items():
        seen = set()
        for _ in NUMBERS:
            with session(hosts, version) as one:
                seen.add(one.server)
                for mode in modes:
                    one.retrieve(mode)
        assert len(seen) == len(NUMBERS)


def cannot_transfer(hosts: Network, version: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A session with a passive and an active transfer does not come to its end."""
    monkeypatch.setattr("lab.netns.strict_client.PATIENCE_S", SHORT_S)
    try:
        with session(hosts, version) as one:
            for mode in ("EPSV", "EPRT"):
                one.retrieve(mode)
    except (OSError, RefusedError):
        return True
    finally:
        monkeypatch.undo()
    return False


def notes(place: DirectorHost, word: str = "plan") -> list[str]:
    """What a command says of others; the commands that belong to a note stand in its next lines."""
    said = place.command(word, str(place.file)).stderr
    return [one.rstrip("\n") for one in said.split("note: ")[1:]]


def commands_in(said: list[str]) -> list[str]:
    return [line.strip() for one in said for line in one.splitlines()[1:] if line.startswith("    ")]


def allow(theirs: Firewall, said: list[str]) -> None:
    """Type what was said."""
    lines = commands_in(said)
    assert lines
    for line in lines:
        theirs.run(line)


@pytest.mark.parametrize("name", NAMES)
def test_said_allowed_reloaded_and_removed(
    hosts: Network, place: DirectorHost, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rules are there first."""
    with firewall(name, hosts.director) as theirs:
        before = tables(hosts.director)
        said = notes(place)
        assert said
        assert all(f"{name} is at work" in one for one in said)
        assert tables(hosts.director) == before
        assert "inet ftpdirector" not in hosts.director.run("nft", "list", "tables").stdout
        assert notes(place, "apply") == said
        assert tables(hosts.director) == before
        for version in MODES:
            assert cannot_transfer(hosts, version, monkeypatch)

        allow(theirs, said)
        assert notes(place) == []
        transfer_in_every_mode(hosts)

        ours = listed(hosts.director)
        before = tables(hosts.director)
        with session(hosts, 4) as held:
            held.retrieve("PASV")
            theirs.load()
            assert tables(hosts.director) != before, "nothing was loaded anew"
            for mode in MODES[4]:
                held.retrieve(mode)
        transfer_in_every_mode(hosts)
        assert [one for one in listed(hosts.director) if "dynamic" not in one] == [
            one for one in ours if "dynamic" not in one
        ]
        assert notes(place) == []

        before = tables(hosts.director)
        assert place.command("remove").returncode == 0
        assert tables(hosts.director) == before
        assert "inet ftpdirector" not in hosts.director.run("nft", "list", "tables").stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_firewall_that_comes_later_is_said_by_the_next_plan(
    hosts: Network, place: DirectorHost, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our table is there first."""
    assert notes(place, "apply") == []
    transfer_in_every_mode(hosts)
    with firewall(name, hosts.director) as theirs:
        assert cannot_transfer(hosts, 4, monkeypatch)
        allow(theirs, notes(place))
        assert notes(place) == []
        transfer_in_every_mode(hosts)


@pytest.mark.parametrize("names", [("docker", "firewalld"), ("docker", "ufw")], ids=" and ".join)
def test_two_firewalls(hosts: Network, place: DirectorHost, names: tuple[str, str]) -> None:
    """What is said is typed line by line, although the reload of one takes rules of the other away."""
    place.apply()
    with firewall(names[0], hosts.director), firewall(names[1], hosts.director) as theirs:
        allow(theirs, notes(place))
        assert notes(place) == []
        transfer_in_every_mode(hosts)


_ASIDE = "-A FORWARD -p tcp -j ASIDE\n-A ASIDE -p tcp -m multiport --dports 20,21 -j REJECT --reject-with tcp-reset\n"


@pytest.mark.parametrize(
    ("program", "rules", "words"),
    [
        (
            "nft --file -",
            "table inet site {\nchain through {\ntype filter hook forward priority filter;\n"
            "tcp dport 10000-20000 drop\n}\n}\n",
            "inet site, chain through drops, in through, passive data connections to real servers, packets of open "
            "connections: tcp dport 10000-20000 drop",
        ),
        (
            "iptables-nft-restore",
            "*filter\n-A FORWARD -p tcp --dport 21 -j DROP\nCOMMIT\n",
            "ip filter, chain FORWARD drops, in FORWARD, control connections to real servers, packets of open "
            "connections: tcp dport 21 counter drop",
        ),
        (
            "iptables-nft-restore",
            f"*filter\n:ASIDE -\n{_ASIDE}COMMIT\n",
            "ip filter, chain ASIDE drops, in FORWARD, control connections to real servers, packets of open "
            "connections: ",
        ),
        (
            "iptables-nft-restore",
            "*raw\n-A PREROUTING -i outside -p tcp --dport 21 -j DROP\nCOMMIT\n",
            "ip raw, chain PREROUTING may drop, in PREROUTING, control connections to virtual addresses",
        ),
    ],
    ids=["nft", "iptables", "a jump aside", "before translation"],
)
def test_a_rule_against_our_ports_is_said(
    hosts: Network, place: DirectorHost, program: str, rules: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    director = hosts.director
    place.apply()
    director.run(*program.split(), given=rules)
    assert cannot_transfer(hosts, 4, monkeypatch)
    [said, *_] = found = notes(place)
    assert said.startswith(words)
    for line in commands_in(found):
        director.run("sh", "-ec", line)
    transfer_in_every_mode(hosts)


_HARMLESS = """table inet site {
    chain arrived {
        type filter hook prerouting priority raw;
        udp dport 21 drop
        tcp dport { 22, 25, 20000-20100 } drop
    }
    chain through {
        type filter hook forward priority filter;
        ct state invalid drop
        iifname "guests" drop
        ip saddr 203.0.113.66 tcp dport 21 reject
        tcp dport 25 jump aside
    }
    chain aside { drop; }
    chain to_this_host {
        type filter hook input priority filter; policy drop;
        tcp dport { 21, 10000-10399 } drop
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}
"""


def test_what_harms_no_transfer_is_not_said(hosts: Network, place: DirectorHost) -> None:
    """Nothing of a transfer is for the director's host itself, so that its input chains are no matter."""
    place.apply()
    hosts.director.nft(_HARMLESS)
    assert notes(place) == []
    transfer_in_every_mode(hosts)
