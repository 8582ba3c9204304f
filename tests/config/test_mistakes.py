"""The mistakes that people make in a cluster file: each has its line and its column, and says what to write."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ftpdirector.config.decode import LARGEST_FILE_BYTES, Examined, examine, examine_bytes, examine_file
from ftpdirector.errors import Problem

GOOD = """\
engine = "proxy"

[[virtual_server]]
name = "ftp"
address = "192.0.2.10"
port = 2121

[[virtual_server.real_server]]
name = "alpha"
address = "198.51.100.11"
"""
SECOND = '\n[[virtual_server.real_server]]\nname = "bravo"\naddress = "198.51.100.12"\n'
"""From line 12."""


def swapped(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def virtual(line: str) -> str:
    """The good file with a line 7 in its virtual server."""
    return swapped("port = 2121\n", f"port = 2121\n{line}\n")


def real(line: str) -> str:
    """The good file with a line 11 in its real server."""
    return f"{GOOD}{line}\n"


def examined(text: str) -> Examined:
    return examine(text, source="c.toml")


def only(text: str) -> Problem:
    found = examined(text)
    assert [str(one) for one in found.problems][1:] == []
    assert found.problems
    assert found.cluster is None
    return found.problems[0]


def test_the_file_that_the_mistakes_are_made_in_is_good() -> None:
    found = examined(GOOD)
    assert found.cluster
    assert found.problems == found.warnings == ()


MISTAKES = [
    # wrong keys, and keys in a wrong place
    (swapped('address = "192', 'adress = "192'), 5, 1, 'did you mean "address"?'),
    (swapped("port = 2121", "Port = 2121"), 6, 1, 'did you mean "port"?'),
    (virtual('passive-ports = "10000-20000"'), 7, 1, 'did you mean "passive_ports"?'),
    (virtual('engine = "ipvs"'), 7, 1, "at the top of the file, before the first table"),
    (virtual("weight = 3"), 7, 1, "it belongs below [[virtual_server.real_server]]"),
    (f'weight = 3\n{GOOD}', 1, 1, "it belongs below [[virtual_server.real_server]]"),
    (f'{GOOD}[health_check]\nprobe = "connect"\n', 11, 1, "write [virtual_server.health_check]"),
    (virtual('host.external_interface = "eth0"'), 7, 1, "write [host]"),
    (swapped("[[virtual_server.real_server]]", "[[real_server]]"), 8, 1, "write [[virtual_server.real_server]]"),
    (f'{GOOD}[[real_server]]\nname = "b"\naddress = "198.51.100.12"\n', 11, 1, "write [[virtual_server.real_server]]"),
    # brackets
    (swapped("[[virtual_server]]", "[virtual_server]"), 3, 1, "write [[virtual_server]]"),
    (swapped("[[virtual_server.real_server]]", "[virtual_server.real_server]"), 8, 1, "[[virtual_server.real_server]]"),
    (f'[[status]]\nlisten = "127.0.0.1:8021"\n{swapped("engine", "#")}', 1, 1, "write [status]"),
    (
        f'{swapped("[[virtual_server.real_server]]", "[virtual_server.real_server]")}[virtual_server.real_server]\n',
        11, 1, "[virtual_server.real_server] stands in line 8 already; write [[virtual_server.real_server]]",
    ),
    (f"{GOOD}[virtual_server]\n", 11, 1, "write [[virtual_server]], with two brackets, for each of them"),
    (
        f"[virtual_server.timeouts]\n{swapped('engine', '#')}", 4, 1,
        "[virtual_server.timeouts] stands before it, in line 1; write it below its [[virtual_server]]",
    ),
    (swapped("[[virtual_server]]", "[[virtual_server]"), 3, 1, "write [[virtual_server]]"),
    ("virtual_server = 3\n", 1, 18, "write [[virtual_server]], and its keys below"),
    # types and values
    (swapped("port = 2121", "port = true"), 6, 8, "port: true cannot be used; write a whole number"),
    (swapped("port = 2121", 'port = "21"'), 6, 8, 'port: "21" cannot be used; write a whole number without quotation'),
    (swapped("port = 2121", "port = 21.5"), 6, 8, "21.5 cannot be used; write a whole number"),
    (swapped("port = 2121", "port = 0"), 6, 8, "write at least 1"),
    (real("weight = -1"), 11, 10, "-1 cannot be used; write at least 0"),
    (real('sorry = "yes"'), 11, 9, "write true or false"),
    (virtual('idle_timeout = "15 minutes"'), 7, 16, 'write a duration as "90s", "15m" or "1h"'),
    (virtual("idle_timeout = 5"), 7, 16, 'write a duration as "90s", "15m" or "1h"'),
    (virtual('idle_timeout = "0s"'), 7, 16, "write at least 1"),
    (virtual('passive_ports = "20000-10000"'), 7, 17, "the lower port first"),
    (swapped('"proxy"', '"haproxy"'), 1, 10, 'write "proxy", "nftables" or "ipvs"; did you mean "proxy"?'),
    (swapped('"proxy"', '"PROXY"'), 1, 10, 'write "proxy", in small letters'),
    (virtual('scheduler = "RR"'), 7, 13, 'write "rr", in small letters'),
    (virtual('scheduler = "roundrobin"'), 7, 13, 'write "rr", "wrr", "lc", "wlc", "sh" or "mh"'),
    (virtual('scheduler = "sed"'), 7, 13, "use one of rr, wrr, lc, wlc, sh, mh"),
    (swapped('name = "ftp"', 'name = "f\\tp"'), 4, 8, "use letters, digits"),
    # addresses
    (swapped("198.51.100.11", "ftp1.example.com"), 10, 11, "names are not looked up: `getent ahosts ftp1.example.com`"),
    (swapped("198.51.100.11", "198.51.100.11/24"), 10, 11, 'without the prefix length: "198.51.100.11"'),
    (swapped("198.51.100.11", "198.51.100.11:21"), 10, 11, '"198.51.100.11"; the port is a key of its own: port = 21'),
    (swapped("198.51.100.11", "198.51.100.011"), 10, 11, 'without leading zeros: "198.51.100.11"'),
    (swapped("198.51.100.11", "[2001:db8::1]"), 10, 11, 'without anything around it: "2001:db8::1"'),
    (swapped("198.51.100.11", " 198.51.100.11"), 10, 11, 'without anything around it: "198.51.100.11"'),
    (swapped("198.51.100.11", "fe80::1%eth0"), 10, 11, "without a zone"),
    (swapped("198.51.100.11", ":::"), 10, 11, "write an IP address"),
    (swapped('"192.0.2.10"', '["192.0.2.10", "nowhere"]'), 5, 26, "names are not looked up"),
    (swapped('"192.0.2.10"', "[]"), 5, 11, "name at least one"),
    (f'[status]\nlisten = "8021"\n{swapped("engine", "#")}', 2, 10, 'write an address and a port, as "127.0.0.1:8021"'),
    (f'[status]\nlisten = 8021\n{swapped("engine", "#")}', 2, 10, 'as "127.0.0.1:8021"'),
    (f'[status]\nlisten = ":8021"\n{swapped("engine", "#")}', 2, 10, "0.0.0.0 for all of the host"),
    (f'[status]\nlisten = "127.0.0.1"\n{swapped("engine", "#")}', 2, 10, "write an address and a port"),
    (f'[status]\nlisten = "localhost:8021"\n{swapped("engine", "#")}', 2, 10, "names are not looked up"),
    # what is missing
    ("", 1, 1, "is empty; write [[virtual_server]] with name"),
    ("# nothing yet\n", 1, 1, "is empty; write [[virtual_server]] with name"),
    ('engine = "proxy"\n', 1, 1, "write [[virtual_server]] with name and address"),
    (swapped('name = "alpha"\n', ""), 8, 1, 'name: is missing; write name = "alpha"'),
    # rules across keys
    (real(SECOND.replace("bravo", "alpha")), 13, 8, "the name is taken twice"),
    (real(SECOND.replace("100.12", "100.11")), 14, 11, '198.51.100.11:21 is real_server "alpha" already'),
    (swapped('"198.51.100.11"\n', '"192.0.2.10"\nport = 2121\n'), 10, 11, "a loop"),
    (virtual('passive_ports = "2000-3000"'), 7, 17, "contains the control port 2121"),
    (swapped('"proxy"', '"ipvs"').replace("port = 2121", "port = 21") + "slice = 16\n", 11, 9, "slots are 0 to 15"),
    # TOML
    (virtual('scheduler = "rr'), 7, 13, 'the quotation mark is not closed; write the closing " on the same line'),
    (virtual("scheduler = 'rr"), 7, 13, "the quotation mark is not closed; write the closing '"),
    (virtual("scheduler = rr"), 7, 13, 'put it in quotation marks: scheduler = "rr"'),
    (virtual("scheduler = “rr”"), 7, 13, 'write straight ones: scheduler = "rr"'),
    (virtual("scheduler ="), 7, 12, "scheduler has no value"),
    (virtual('scheduler "rr"'), 7, 1, 'there is no = behind the key; write scheduler = "rr"'),
    (virtual("scheduler: rr"), 7, 1, 'write scheduler = "rr"'),
    (virtual("gateway_address = 192.0.2.1"), 7, 19, 'put it in quotation marks: gateway_address = "192.0.2.1"'),
    (virtual("max_sessions = 3,"), 7, 16, '"," follows the value; write max_sessions = 3'),
    (virtual("max_sessions = 021"), 7, 16, "021 begins with 0; write max_sessions = 21"),
    (virtual("max_sessions = 3 // many"), 7, 16, "begin a comment with #"),
    (virtual("// many"), 7, 1, "begin a comment with #"),
    (real("sorry = True"), 11, 9, "write true, in small letters"),
    (real("sorry = no"), 11, 9, "write false"),
    (virtual('gateway_address = ["192.0.2.1"'), 7, 19, "the list is not closed; end it with ]"),
    (virtual("port = 2122"), 7, 1, '"port" is written twice'),
    (virtual('idle_timeout = "C:\\log"'), 7, 21, "write \\\\ for one backslash"),
    (
        f'[status]\nlisten = "127.0.0.1:8021"\n{swapped("engine", "#")}\n[status]\nlisten = "127.0.0.1:8022"\n',
        14, 1, "[status] stands in line 1 already; write one [status] with all its keys below",
    ),
    ("engine: proxy\nvirtual_server:\n  - name: ftp\n", 1, 1, "this looks like YAML; a cluster file is TOML: write [["),
    ("---\nengine: proxy\n", 1, 1, "this looks like YAML"),
    ("# ours\n- name: ftp\n", 2, 1, "this looks like YAML"),
    ('{"engine": "proxy"}', 1, 1, "this looks like JSON"),
    (virtual("workers = " + "9" * 5000).replace("workers", "#\nmax_sessions"), 8, 16, "too many digits"),
    ("a = " + "[" * 3000, 1, 1, "nested too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "said"), MISTAKES, ids=[str(one[3])[:40] for one in MISTAKES])
def test_a_mistake_has_its_line_its_column_and_its_remedy(text: str, line: int, column: int, said: str) -> None:
    problem = only(text)
    assert said in str(problem)
    assert (problem.line, problem.column) == (line, column), str(problem)
    assert str(problem).startswith(f"c.toml:{line}:{column}: ")
    lines = text.split("\n")
    assert problem.excerpt == lines[line - 1][: len(problem.excerpt)]
    assert problem.excerpt or not lines[line - 1]


@pytest.mark.parametrize("text", [text.replace("\n", "\r\n") for text, *_ in MISTAKES])
def test_lines_that_end_as_on_windows_change_nothing(text: str) -> None:
    problem = only(text)
    plain = only(text.replace("\r\n", "\n"))
    assert problem == plain


def test_all_kinds_of_problems_come_in_one_pass_in_the_order_of_the_file() -> None:
    text = (
        "engine = proxy\n[status]\nlisten = 8021\n"
        + GOOD.split("\n", 1)[1].replace("port = 2121", 'scheduler = "RR"\nweigth = 3')
        + 'port = "21"\n'
        + SECOND.replace("bravo", "alpha")
        + "[status]\nlisten = 1\n"
    )
    found = [(one.line, one.column, one.rule) for one in examined(text).problems]
    assert found == [
        (1, 10, "toml"),
        (3, 10, "value"),
        (8, 13, "value"),
        (9, 1, "unknown-key"),
        (14, 8, "type"),
        (17, 8, "duplicate-name"),
        (19, 1, "toml"),
    ]


def test_no_rule_judges_by_what_did_not_decode() -> None:
    """A weight that cannot be read is not 1, a port not 21, and nobody is missing because his address is wrong."""
    text = (
        GOOD.replace("port = 2121", 'port = "2121"')
        + 'weight = "0"\n'
        + SECOND.replace("198.51.100.12", "b")
        + "weight = 0\n"
    )
    assert [one.rule for one in examined(text).problems] == ["type", "type", "value"]
    assert examined(text).warnings == ()


def test_what_did_not_decode_hides_no_other_virtual_server() -> None:
    other = GOOD.split("\n", 2)[2].replace('"ftp"', '"www"').replace("192.0.2.10", "192.0.2.11")
    text = GOOD.replace('"192.0.2.10"', '"nowhere"') + other + 'passive_ports = 1\n' + other.replace(
        '"www"', '"third"').replace("port = 2121", 'port = 2122\npassive_ports = "2000-3000"')  # fmt: skip
    found = {one.rule for one in examined(text).problems}
    assert {"value", "unknown-key", "control-port-in-range"} <= found


def test_a_byte_order_mark_is_read_over_and_told_of() -> None:
    found = examine_bytes(b"\xef\xbb\xbf" + GOOD.encode(), source="c.toml")
    assert found.cluster
    (warning,) = found.warnings
    assert str(warning).startswith("c.toml:1:1: ")
    assert "save it as UTF-8 without BOM" in str(warning)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD.encode("utf-16"), "c.toml:1:1: is UTF-16; save it as UTF-8"),
        (b'engine = "proxy"\n# \xc3\xa4 \xe4\n', "c.toml:2:5: is not UTF-8; save it as UTF-8"),
        (b"#" * (LARGEST_FILE_BYTES + 1), f"c.toml: is larger than {LARGEST_FILE_BYTES} bytes"),
        (b"\0\0\0", "c.toml:1:1: "),
    ],
)
def test_bytes_that_are_no_text(data: bytes, said: str) -> None:
    (problem,) = examine_bytes(data, source="c.toml").problems
    assert str(problem).startswith(said)


def test_a_file_that_cannot_be_read_is_a_problem_of_the_file(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "Is a directory"), (tmp_path / "none.toml", "No such file"), (Path("a\0b"), "null")):
        (problem,) = examine_file(path).problems
        assert said in str(problem)
    secret = tmp_path / "secret.toml"
    secret.write_text(GOOD)
    secret.chmod(0)
    if os.geteuid():
        assert "Permission denied" in str(examine_file(secret).problems[0])


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    for text in (virtual('"\\u001b[31m" = "\\u001b[31m"'), virtual('scheduler = "\\u009b31m"'), virtual("\x1b[2J")):
        for problem in examined(text).problems:
            assert str(problem).isprintable()
            assert problem.excerpt.isprintable()


@pytest.mark.parametrize(
    ("engine", "key", "others"),
    [
        ("proxy", "slices = 8", 'engine "nftables" or "ipvs"'),
        ("proxy", 'forwarding = "nat"', 'engine "nftables" or "ipvs"'),
        ("proxy", "firewall_mark = 30", 'engine "ipvs"'),
        ("nftables", "firewall_mark = 30", 'engine "ipvs"'),
        ("nftables", 'data_to_server = "passive"', 'engine "proxy"'),
        ("ipvs", "max_sessions = 30", 'engine "proxy" or "nftables"'),
        ("ipvs", 'idle_timeout = "5m"', 'engine "proxy" or "nftables"'),
        ("ipvs", 'timeouts = { reply = "5s", login = "9s" }', 'engine "proxy"'),
    ],
)
def test_a_key_that_the_engine_ignores_is_told_of(engine: str, key: str, others: str) -> None:
    text = virtual(key).replace('"proxy"', f'"{engine}"') + "port = 2121\n"
    (warning,) = [one for one in examined(text).warnings if one.rule == "key-not-of-this-engine"]
    assert (warning.line, warning.column) == (7, 1)
    assert str(warning).endswith(f"ignores it; remove it, or use {others}")


def test_a_key_that_is_refused_is_not_told_of_as_ignored_as_well() -> None:
    found = examined(virtual('proxy_protocol = "v1"').replace('"proxy"', '"ipvs"') + "port = 2121\n")
    assert [one.rule for one in found.problems] == ["proxy-only"]
    assert found.warnings == ()


def test_a_thousand_virtual_servers_with_ten_real_servers_take_less_than_a_second() -> None:
    parts: list[str] = []
    for number in range(1000):
        parts.append(f'[[virtual_server]]\nname = "v{number}"\naddress = "10.0.{number // 250}.{number % 250}"\n')
        parts += [
            f'[[virtual_server.real_server]]\nname = "r{server}"\naddress = "10.1.{server}.9"\nweight = 3\n'
            for server in range(10)
        ]
    before_s = time.process_time()
    found = examined("".join(parts))
    assert time.process_time() - before_s < 1
    assert found.cluster
    assert len(found.warnings) == 1000  # port 21 needs a privilege: each with its line
    assert found.warnings[-1].excerpt == "[[virtual_server]]"
