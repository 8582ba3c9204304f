"""Each rule: a file that breaks it says so, and the file that every broken one is made from keeps all of them."""

from __future__ import annotations

import re

import pytest

from ftpdirector.config.decode import decode
from ftpdirector.config.rules import RULES, warnings_of
from ftpdirector.errors import ConfigError

PROXY = """
{top}
[[virtual_server]]
name = "ftp"
address = "192.0.2.10"
port = 2121
{virtual}
[[virtual_server.real_server]]
name = "alpha"
address = "198.51.100.11"
{alpha}
{more}
"""


def file(top: str = "", virtual: str = "", alpha: str = "", more: str = "") -> str:
    return PROXY.format(top=top, virtual=virtual, alpha=alpha, more=more)


def second(name: str = "www", address: str = "192.0.2.11", port: int = 2121, more: str = "", real: str = "") -> str:
    real = real or 'name = "delta"\naddress = "198.51.100.14"'
    return (
        f'[[virtual_server]]\nname = "{name}"\naddress = "{address}"\nport = {port}\n{more}\n'
        f"[[virtual_server.real_server]]\n{real}\n"
    )


BRAVO = '[[virtual_server.real_server]]\nname = "bravo"\naddress = "198.51.100.12"\n'
IPVS = 'engine = "ipvs"'
NFT = 'engine = "nftables"'
HOST = '[host]\nexternal_interface = "eth0"\n'
PAIR = "".join(f'[[director]]\nname = "d{number}"\naddress = "203.0.113.{number}"\n' for number in (2, 3))
CHECK = "[virtual_server.health_check]\n"

BROKEN: list[tuple[str, str]] = [
    ("duplicate-name", file(more=second(name="ftp"))),
    ("duplicate-name", file(more='[[virtual_server.real_server]]\nname = "alpha"\naddress = "198.51.100.12"')),
    ("duplicate-address", file(more=second(address="192.0.2.10"))),
    ("duplicate-address", file(more='[[virtual_server.real_server]]\nname = "bravo"\naddress = "198.51.100.11"')),
    (
        "one-address-a-family",
        file().replace('address = "192.0.2.10"', 'address = ["192.0.2.10", "192.0.2.12"]'),
    ),
    ("host-address", file().replace("198.51.100.11", "0.0.0.0")),
    ("host-address", file().replace("192.0.2.10", "224.0.0.1")),
    ("loop", file(alpha="port = 2121").replace("198.51.100.11", "192.0.2.10")),
    ("control-port-in-range", file(virtual='passive_ports = "2000-3000"')),
    (
        "overlapping-ranges",
        file(more=second(address="192.0.2.10", port=2200, more='passive_ports = "15000-25000"')),
    ),
    ("range-too-small", file(top="workers = 8", virtual='passive_ports = "10000-10003"')),
    ("more-servers-than-slices", file(top=IPVS, virtual="slices = 1", more=BRAVO)),
    ("slot-pinned-twice", file(top=IPVS, alpha="slice = 3", more=BRAVO + "slice = 3")),
    ("slot-pinned-twice", file(top=IPVS, alpha="slice = 99")),
    ("families-do-not-meet", file(top=IPVS).replace("198.51.100.11", "2001:db8:3::11")),
    ("duplicate-mark", file(top=IPVS, more=second(more="firewall_mark = 21"))),
    (
        "two-virtual-addresses",
        file(top=IPVS, more=second(more="firewall_mark = 90", real='name = "a2"\naddress = "198.51.100.11"')),
    ),
    ("unknown-scheduler", file(virtual='scheduler = "sed"')),
    ("unknown-forwarding", file(top=NFT, virtual='forwarding = "dr"')),
    ("unknown-forwarding", file(top=IPVS, virtual='forwarding = "fullnat"')),
    ("helper-needs-nat", file(top=IPVS, virtual='forwarding = "dr"\nplacement = "helper"')),
    (
        "active-lost-from-port-20",
        file(top=IPVS, virtual='port = 21\nforwarding = "dr"', alpha='server = "pure-ftpd"').replace(
            "port = 2121\n", ""
        ),
    ),
    ("real-port-differs", file(top=IPVS, virtual='placement = "persistence"')),
    ("gateway-without-nat", file(top=IPVS, virtual='forwarding = "dr"\ngateway_address = "198.51.100.1"')),
    ("proxy-only", file(top=IPVS, virtual='proxy_protocol = "v1"')),
    ("proxy-only", file(top=IPVS, virtual="client_prefix_ipv6 = 56")),
    ("persistence-without-time", file(top=IPVS, virtual='placement = "persistence"\npersistence_timeout = "0s"')),
    ("probe-path", file(virtual=CHECK + 'probe = "transfer"')),
    ("no-server-offered", file(alpha="weight = 0")),
    ("timeout-above-interval", file(virtual=CHECK + 'interval = "1s"\ntimeout = "5s"')),
    ("password-without-login", file(virtual=CHECK + 'probe = "login"\nuser = "check"')),
    ("password-without-login", file(virtual=CHECK + 'password_file = "/etc/secret"')),
    (
        "shared-range",
        file(top=IPVS, more=second(address="192.0.2.10", port=2122, more="firewall_mark = 900\nslices = 8")),
    ),
    (
        "helper-beside-others",
        file(
            top=IPVS,
            virtual='placement = "helper"',
            more=second(address="192.0.2.11", port=2121, more='firewall_mark = 900\npassive_ports = "30000-39999"'),
        ),
    ),
    ("no-quorum", file(top=IPVS, alpha="weight = 0")),
    ("sorry-server", file(alpha="sorry = true")),
    (
        "sorry-server",
        file(
            more="".join(
                BRAVO.replace("bravo", name).replace("12", end) + "sorry = true\n"
                for name, end in (("c", "13"), ("d", "14"))
            )
        ),
    ),
    ("bare-sorry-server", file(top=IPVS, more=BRAVO + "sorry = true\nmax_sessions = 9")),
    ("interface-missing", file(top=IPVS, more=PAIR)),
    ("gateway-must-move", file(top=IPVS, more=HOST + PAIR)),
    ("helper-sees-no-tls", file(top=IPVS, virtual='placement = "helper"', alpha="port = 2121")),
    ("persistence-cannot-drain", file(top=IPVS, virtual='placement = "persistence"', alpha="port = 2121")),
    ("active-under-fullnat", file(top=NFT, virtual='forwarding = "fullnat"')),
    (
        "iptables-pair",
        file(
            top=IPVS,
            virtual='gateway_address = "198.51.100.1"',
            more=HOST + 'internal_interface = "eth1"\npacket_filter = "iptables"\n' + PAIR,
        ),
    ),
    (
        "many-directors",
        file(
            top=IPVS,
            virtual='gateway_address = "198.51.100.1"',
            more=HOST + 'internal_interface = "eth1"\n' + PAIR + PAIR.replace('"d', '"e').replace("113.", "113.1"),
        ),
    ),
    ("status-open", file(top='[status]\nlisten = "0.0.0.0:8021"')),
    ("status-open", file(top='[status]\nlisten = "[2001:db8::1]:8021"')),
    ("privileged-port", file().replace("port = 2121", "port = 21")),
]


def rules_broken(text: str) -> dict[str, str]:
    try:
        found = warnings_of(decode(text, source="cluster.toml"), source="cluster.toml")
    except ConfigError as error:
        found = error.problems
    return {problem.rule: str(problem) for problem in found}


def test_the_file_that_the_broken_ones_are_made_from_keeps_every_rule() -> None:
    assert rules_broken(file()) == {}


@pytest.mark.parametrize(("rule", "text"), BROKEN, ids=[f"{rule}-{place}" for place, (rule, _) in enumerate(BROKEN)])
def test_a_broken_rule_is_named_with_its_place_and_its_remedy(rule: str, text: str) -> None:
    broken = rules_broken(text)
    assert rule in broken, broken
    assert re.match(r"cluster\.toml:(\d+:\d+:)? ", broken[rule]), "no place"
    assert ";" in broken[rule], "no remedy"


def test_every_rule_has_a_file_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == {rule.name for rule in RULES}


def test_all_problems_come_at_once() -> None:
    text = file(virtual='passive_ports = "2000-3000"\nscheduler = "sed"', more=second(name="ftp"))
    assert {"control-port-in-range", "unknown-scheduler", "duplicate-name"} <= set(rules_broken(text))
