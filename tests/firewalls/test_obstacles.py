"""Rules of others that get in the way are named with what lets us pass; ours and harmless ones are not."""

from __future__ import annotations

import pytest

from ftpdirector.change.setup import CHAIN_PREFIX, TABLE, HostSetup
from ftpdirector.config.decode import decode
from ftpdirector.engines.ipvs.compile import compile_host as compile_ipvs
from ftpdirector.engines.nftables.host import compile_host as compile_nftables
from ftpdirector.firewalls.obstacles import Ours, obstacles

_CLUSTER = """
engine = "{engine}"
{host}
[[virtual_server]]
name = "ftp"
address = ["192.0.2.10", "2001:db8:2::10"]
passive_ports = "10000-19999"
{more}
[[virtual_server.real_server]]
name = "alpha"
server = "vsftpd"
address = "198.51.100.11"
[[virtual_server.real_server]]
name = "beta"
server = "vsftpd"
address = "198.51.100.12"
[[virtual_server.real_server]]
name = "gamma"
server = "vsftpd"
address = "2001:db8:3::11"
"""
_CONTROL, _PASSIVE, _ACTIVE = (
    "control connections to real servers",
    "passive data connections to real servers",
    "active data connections from real servers",
)


def setup(engine: str = "nftables", more: str = "", host: str = "") -> HostSetup:
    cluster = decode(_CLUSTER.format(engine=engine, more=more, host=host), source="test")
    return compile_nftables(cluster, None) if engine == "nftables" else compile_ipvs(cluster, None)


def chain(name: str, *rules: str) -> str:
    return f"\tchain {name} {{\n" + "".join(f"\t\t{rule}\n" for rule in rules) + "\t}\n"


def ruleset(table: str, name: str, *rules: str, more: str = "") -> str:
    return f"table {table} {{\n{chain(name, *rules)}{more}}}\n"


def said(text: str, *, engine: str = "nftables", more: str = "", host: str = "") -> list[str]:
    due = setup(engine, more, host)
    ours = Ours(table=TABLE, chain_prefix=CHAIN_PREFIX, marks=(21, 22), ports=due.ports, flows=due.flows)
    return list(obstacles(text, ours))


def forward(*rules: str, table: str = "inet other", policy: str = "accept", more: str = "") -> str:
    return ruleset(table, "f", f"type filter hook forward priority filter; policy {policy};", *rules, more=more)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ruleset("ip mangle", "PREROUTING", "tcp dport 80 counter meta mark set 0x15"), "sets mark 21"),
        (ruleset("ip nat", "PREROUTING", "tcp dport 21 counter dnat to 10.0.0.5"), "translates a port of ours"),
        (ruleset("ip nat", "PREROUTING", "tcp dport { 80, 12000 } redirect to :80"), "translates a port of ours"),
    ],
)
def test_marks_and_translations_are_named(text: str, words: str) -> None:
    [found] = said(text)
    assert words in found


def test_a_default_says_what_it_drops_and_how_to_let_it_pass() -> None:
    text = ruleset("ip filter", "FORWARD", "type filter hook forward priority filter; policy drop;")
    assert said(text) == [
        f"ip filter, chain FORWARD drops by default on forward {_CONTROL}, packets of open connections, {_PASSIVE}, "
        f"{_ACTIVE}; let it pass:\n"
        "    iptables -I FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n"
        "    iptables -I FORWARD -p tcp -d 198.51.100.11,198.51.100.12 -m multiport --dports 21,10000:19999 -j ACCEPT\n"
        "    iptables -I FORWARD -p tcp -s 198.51.100.11,198.51.100.12 -j ACCEPT"
    ]


_STATES = "ct state vmap { established : accept, related : accept, invalid : drop }"


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ([], [_CONTROL, "packets of open connections", _PASSIVE, _ACTIVE]),
        (["ct state established,related accept"], [_CONTROL, _PASSIVE, _ACTIVE]),
        ([_STATES], [_CONTROL, _PASSIVE, _ACTIVE]),
        ([_STATES, "ct status dnat accept"], [_ACTIVE]),
        ([_STATES, "ct status dnat accept", "ip saddr 198.51.100.0/24 accept"], [_ACTIVE]),  # of IPv6
        ([_STATES, "ct status dnat accept", "meta nfproto ipv6 accept", "ip saddr 198.51.100.0/24 accept"], []),
        ([_STATES, "tcp dport { 21, 10000-20000 } accept"], [_ACTIVE]),
        ([_STATES, "tcp dport { 21, 10000-12000 } accept"], [_PASSIVE, _ACTIVE]),
        ([_STATES, "tcp dport { 21, 10000-12000, 12001-19999 } accept"], [_ACTIVE]),
        ([_STATES, "tcp dport != 22 accept"], []),
        ([_STATES, "udp dport 21 accept", "meta l4proto icmp accept"], [_CONTROL, _PASSIVE, _ACTIVE]),
        ([_STATES, "meta l4proto { tcp, udp } counter accept"], []),
        ([_STATES, 'log prefix "tcp accept" level info accept comment "all"'], []),
        (["meta mark set 0x7 return", "accept"], [_CONTROL, "packets of open connections", _PASSIVE, _ACTIVE]),
    ],
)
def test_what_is_let_pass_is_not_said(rules: list[str], left: list[str]) -> None:
    found = said(forward(*rules, policy="drop"))
    for what in (_CONTROL, "packets of open connections", _PASSIVE, _ACTIVE):
        assert any(what in one for one in found) == (what in left), what
    assert all("unless" not in one for one in found)


def test_only_the_servers_that_are_left_are_named() -> None:
    rules = ("meta nfproto ipv6 accept", "ip daddr 198.51.100.11 accept", "ip saddr 198.51.100.12 accept")
    text = forward(_STATES, *rules, policy="drop")
    [found] = said(text)
    assert found.splitlines()[1:] == [
        "    nft insert rule inet other f ip daddr { 198.51.100.12 } tcp dport { 21, 10000-19999 } accept",
        "    nft insert rule inet other f ip saddr { 198.51.100.11 } meta l4proto tcp accept",
    ]


def test_a_rule_for_an_interface_leaves_a_doubt() -> None:
    for rule in ('iifname "lan0" accept', "tcp dport @open accept", "limit rate 9/second burst 5 packets accept"):
        [found, _] = said(forward(_STATES, rule, policy="drop"))
        assert "(unless a rule that cannot be judged lets it pass)" in found


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (['iifname "wan0" oifname "lan0" accept'], {_ACTIVE}),
        (['iifname { "lan0", "dmz0" } accept'], {_CONTROL, _PASSIVE}),
        (['iifname "lan*" accept', 'oifname != "wan0" accept'], set()),
        (['iifname "docker0" accept', 'oif "docker0" accept'], {_CONTROL, _PASSIVE, _ACTIVE}),
        (['iifname "wan0" jump aside', "accept"], {_CONTROL}),
        (['iifname "dmz0" jump aside', "accept"], set()),
    ],
)
def test_interfaces_that_the_file_names_leave_no_doubt(rules: list[str], left: set[str]) -> None:
    host = '[host]\nexternal_interface = "wan0"\ninternal_interface = "lan0"'
    text = forward(_STATES, *rules, policy="drop", more=chain("aside", "tcp dport 21 drop"))
    found = said(text, host=host)
    assert {what for what in (_CONTROL, _PASSIVE, _ACTIVE) if any(what in one for one in found)} == left
    assert all("unless" not in one and "may drop" not in one for one in found)


@pytest.mark.parametrize(
    ("rule", "due"),
    [
        ("tcp dport 10000-20000 drop", f"chain f drops, in f, {_PASSIVE}, packets of open connections: tcp dport"),
        (
            "tcp dport 21 counter reject with tcp reset",
            f"chain f drops, in f, {_CONTROL}, packets of open connections: ",
        ),
        ("tcp dport { 25, 12000 } drop", f"chain f may drop, in f, {_PASSIVE}, packets of open connections: tcp"),
        ('iifname "wan0" tcp dport 21 drop', f"chain f may drop, in f, {_CONTROL}, packets of open connections: iif"),
        ("tcp dport 21 ct count over 50 reject", f"chain f may drop, in f, {_CONTROL}, packets of open connections: "),
        (
            "tcp dport 21 jump aside",
            f"chain aside drops, in f, {_CONTROL}, packets of open connections: meta l4proto tcp",
        ),
        ("tcp dport 21 jump away", f"chain away drops, in f, {_CONTROL}, packets of open connections: counter drop"),
        ('iifname "wan0" tcp dport 21 goto aside', f"chain aside may drop, in f, {_CONTROL}, packets of open connect"),
        ("ip saddr != 203.0.113.0/24 tcp dport 21 drop", f"chain f may drop, in f, {_CONTROL}, packets of open conn"),
        ("tcp sport 21 drop", "chain f drops, in f, packets of open connections: tcp sport 21 drop"),
    ],
)
def test_a_rule_against_our_ports_is_named(rule: str, due: str) -> None:
    aside = chain("aside", "udp dport 53 accept", "meta l4proto tcp drop") + chain("away", "counter drop")
    found = said(forward(rule, table="ip other", more=aside))
    assert len(found) == 1
    assert due in found[0]
    assert "nft insert rule ip other f ct state established,related accept" in found[0]


def test_before_translation_packets_have_the_virtual_address() -> None:
    text = ruleset(
        "ip raw", "PREROUTING", "type filter hook prerouting priority raw; policy accept;", "tcp dport 21 counter drop"
    )
    [found] = said(text)
    assert "drops, in PREROUTING, control connections to virtual addresses" in found
    assert "    iptables -t raw -I PREROUTING -p tcp -d 192.0.2.10 -m multiport --dports 21 -j ACCEPT" in found


@pytest.mark.parametrize(
    ("priority", "is_before"),
    [
        *((one, True) for one in ("raw", "mangle + 10", "-101", "dstnat - 1")),
        *((one, False) for one in ("dstnat", "dstnat + 10", "-90", "filter", "0", "security - 10")),
    ],
)
def test_the_priority_says_which_address_packets_have(priority: str, is_before: bool) -> None:
    hook = f"type filter hook prerouting priority {priority}; policy accept;"
    assert bool(said(ruleset("ip other", "f", hook, "ip daddr 192.0.2.10 drop"))) == is_before
    assert bool(said(ruleset("ip other", "f", hook, "ip daddr 198.51.100.11 drop"))) != is_before


def test_input_is_on_the_way_of_ipvs_alone() -> None:
    text = ruleset("inet other", "i", "type filter hook input priority filter; policy accept;", "tcp dport 21 drop")
    assert said(text) == []
    found = said(text, engine="ipvs")
    assert [one.split(": ")[0] for one in found] == [
        "inet other, chain i drops, in i, control connections to virtual addresses, packets of open connections"
    ] * 2


def test_answers_of_real_servers_pass_ipvs_directors_by_unless_they_translate() -> None:
    more = 'forwarding = "{}"\nhealth_check = {{ probe = "connect" }}'
    text = forward("ct state new drop")
    assert said(text, engine="ipvs", more=more.format("dr")) == []
    assert len(said(text, engine="ipvs", more=more.format("nat"))) == 2


def test_fullnat_has_no_active_data_connections_and_the_helper_expects_all_of_them() -> None:
    text = forward("ct status dnat accept", "ct state established,related accept", policy="drop")
    assert said(text, more='forwarding = "fullnat"') == []
    assert said(text, more='placement = "helper"') == []
    assert len(said(text)) == 2


_UFW = (chain("ufw-before-forward", "ct state related,established counter accept", "counter jump ufw-user-forward"),
        chain("ufw-user-forward", "tcp dport 21 counter drop"))  # fmt: skip


def test_ufw_docker_and_firewalld_are_told_in_their_own_words() -> None:
    hook = "type filter hook forward priority filter; policy drop;"
    [own, default] = said(ruleset("ip filter", "FORWARD", hook, "counter jump ufw-before-forward", more="".join(_UFW)))
    assert own.startswith(
        f"ufw is at work: ip filter, chain ufw-user-forward drops, in FORWARD, {_CONTROL}: tcp dport 21"
    )
    assert own.splitlines()[1] == "    ufw route prepend allow proto tcp to 198.51.100.11 port 21"
    assert default.splitlines()[1:] == [
        "    ufw route prepend allow proto tcp to 198.51.100.11 port 10000:19999",
        "    ufw route prepend allow proto tcp to 198.51.100.12 port 10000:19999",
        "    ufw route prepend allow proto tcp from 198.51.100.11",
        "    ufw route prepend allow proto tcp from 198.51.100.12",
    ]
    docker = chain("DOCKER-USER")
    [found] = said(ruleset("ip6 filter", "FORWARD", hook, "counter jump DOCKER-USER", more=docker))
    assert found.startswith("docker is at work: ip6 filter, chain FORWARD drops by default on forward")
    assert found.splitlines()[-1] == "    ip6tables -I DOCKER-USER -p tcp -s 2001:db8:3::11 -j ACCEPT"
    # A rule of somebody else's that stands before docker's is not undone in docker's chain.
    [found, _] = said(ruleset("ip filter", "FORWARD", hook, "tcp dport 21 drop", "jump DOCKER-USER", more=docker))
    assert "    iptables -I FORWARD -p tcp -d" in found

    zones = ("ct state established,related accept", "ct status dnat accept", "reject with icmpx admin-prohibited")
    [found] = said(ruleset("inet firewalld", "filter_FORWARD", hook.replace("drop", "accept"), *zones))
    assert found.startswith(
        f"firewalld is at work: inet firewalld, chain filter_FORWARD drops by default on forward {_ACTIVE};"
    )
    assert "    firewall-cmd --permanent --new-policy ftpdirector\n" in found
    # The policy is there, for another real server.
    policy = chain("filter_FWD_policy_ftpdirector", "ip saddr 198.51.100.11 accept")
    text = ruleset(
        "inet firewalld", "filter_FORWARD", hook, *zones[:-1], "jump filter_FWD_policy_ftpdirector", more=policy
    )
    [found] = said(text)
    assert [line.split("address=")[-1] for line in found.splitlines()[1:]] == [
        "198.51.100.12 protocol value=tcp accept'",
        "2001:db8:3::11 protocol value=tcp accept'",
        "    firewall-cmd --reload",
    ]


def test_firewalld_is_told_first_for_its_reload_takes_rules_of_iptables_away() -> None:
    hook = "type filter hook forward priority filter; policy drop;"
    found = said(ruleset("ip filter", "FORWARD", hook) + ruleset("inet firewalld", "filter_FORWARD", hook))
    assert [one.split(",")[0] for one in found] == ["firewalld is at work: inet firewalld", "ip filter"]


@pytest.mark.parametrize("table", ["ip filter", "inet firewalld"])
def test_many_real_servers_are_told_of_in_few_lines(table: str) -> None:
    """Every second address, so that no two of them are one network."""
    more = "".join(
        f'[[virtual_server.real_server]]\nname = "s{n}"\naddress = "10.0.{n // 100}.{n % 100 * 2}"\nserver = "vsftpd"\n'
        for n in range(1000)
    )
    hook = "type filter hook forward priority filter; policy drop;"
    [found, *_] = said(ruleset(table, "FORWARD", hook), more="slices = 1024\n" + more)
    lines = [line.strip() for line in found.splitlines()[1:]]
    assert len(lines) < 25
    assert [line.startswith("# and so on: ") for line in lines].count(True) == 2
    assert not lines[-1].startswith("#") or table == "ip filter"


@pytest.mark.parametrize(
    "text",
    [
        ruleset("inet ftpdirector", "f", "type filter hook forward priority filter; policy drop;"),
        ruleset("ip mangle", "FTPDIRECTOR-MARK", "tcp dport 21 counter meta mark set 0x15"),
        ruleset("ip mangle", "PREROUTING", "tcp dport 80 counter meta mark set 0x50"),
        ruleset("ip nat", "PREROUTING", "tcp dport 8080 counter dnat to 10.0.0.5:21"),
        forward(),
        forward("tcp dport { 22, 25, 20000-20100 } drop", "udp dport 21 drop", "tcp dport 25 jump aside"),
        forward("ct state invalid drop", "ct state invalid,untracked counter reject with tcp reset"),
        forward('iifname "guests" drop', 'oifname "docker0" iifname != "docker0" drop', 'iif "lo" drop'),
        forward(
            "ip saddr 203.0.113.66 drop",
            "ip saddr 203.0.113.66 tcp dport 21 drop",
            "ip saddr @banned tcp dport 21 drop",
        ),
        forward("limit rate over 100/second burst 5 packets drop", "tcp flags & (fin | syn) == fin | syn drop"),
        forward("ip daddr 10.9.9.9 drop", "ip daddr 198.51.100.13-198.51.100.99 tcp dport 21 drop"),
        forward("fib daddr type broadcast drop", "fib saddr . mark . iif oif missing drop", "rt type 0 counter drop"),
        forward('iifname "wan0" jump aside', more=chain("aside", "drop")),
        forward(
            "jump aside", "jump nowhere", more=chain("aside", "ct state new return", "ct state new drop", "jump f")
        ),
        ruleset("ip filter", "OUTPUT", "type filter hook output priority filter; policy drop;"),
        ruleset("bridge filter", "f", "type filter hook forward priority filter; policy drop;"),
        "",
    ],
)
def test_what_is_ours_or_harmless_is_not(text: str) -> None:
    assert said(text) == []


def test_chains_that_many_rules_lead_to_are_looked_at_once() -> None:
    """Ten ways in each of fifteen chains: all ways one by one would take for ever."""
    jumps = tuple(f'iifname "lan{n}" jump a{{}}' for n in range(10))
    more = "".join(chain(f"a{n}", *(one.format(n + 1) for one in jumps)) for n in range(14))
    more += chain("a14", "tcp dport 21 drop")
    found = said(forward("jump a0", table="ip other", more=more))
    assert [one.split(", in")[0] for one in found] == ["ip other, chain a14 may drop"]
