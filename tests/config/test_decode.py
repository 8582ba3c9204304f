"""Text -> Cluster: defaults as documented, every mistake with its place, and nothing else than a ConfigError."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.config.decode import decode, load
from ftpdirector.errors import ConfigError
from ftpdirector.model import (
    DataToServer,
    Engine,
    ForwardingMethod,
    HealthCheck,
    Placement,
    PortRange,
    ProxyProtocol,
    Timeouts,
)

SMALL = """
[[virtual_server]]
name = "ftp"
address = "192.0.2.10"
[[virtual_server.real_server]]
name = "alpha"
address = "198.51.100.11"
"""

ALPHA = 'virtual_server "ftp": real_server "alpha"'


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decode(text, source="c.toml")
    return [str(problem) for problem in caught.value.problems]


def test_a_file_with_only_addresses_has_the_documented_defaults() -> None:
    cluster = decode(SMALL, source="c.toml")
    (virtual,) = cluster.virtual_servers
    (alpha,) = virtual.real_servers
    assert (cluster.engine, cluster.status_listen, cluster.workers) == (Engine.PROXY, None, 1)
    assert (virtual.port, virtual.passive_ports, virtual.slices) == (21, PortRange(10000, 20000), 16)
    assert (virtual.placement, virtual.forwarding) == (Placement.SLICES, ForwardingMethod.NAT)
    assert (virtual.scheduler, virtual.persistence_timeout_s, virtual.firewall_mark) == ("wlc", 0.0, 21)
    assert (virtual.persistence_granularity_v4, virtual.persistence_granularity_v6) == (32, 128)
    assert (virtual.idle_timeout_s, virtual.max_sessions, virtual.max_sessions_per_client) == (900.0, 10000, 50)
    assert (virtual.proxy_protocol, virtual.data_to_server) == (ProxyProtocol.OFF, DataToServer.PASSIVE)
    assert virtual.health_check == HealthCheck()
    assert (alpha.weight, alpha.max_sessions, alpha.port, alpha.slice) == (1, 0, 21, None)


def test_placement_persistence_turns_persistence_on_for_a_quarter_of_an_hour() -> None:
    text = 'engine = "ipvs"\n' + SMALL.replace(
        "[[virtual_server.real", 'placement = "persistence"\n[[virtual_server.real'
    )
    assert decode(text, source="c.toml").virtual_servers[0].persistence_timeout_s == 900.0


def test_addresses_of_both_families_may_be_listed() -> None:
    text = SMALL.replace('"192.0.2.10"', '["192.0.2.10", "2001:db8:2::10"]')
    assert decode(text, source="c.toml").virtual_servers[0].addresses == (
        ip_address("192.0.2.10"),
        ip_address("2001:db8:2::10"),
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("weigth = 3", f'c.toml:8:1: {ALPHA}: weigth: is not a key of the cluster file; did you mean "weight"?'),
        ("weight = 70000", f"{ALPHA}: weight: 70000 cannot be used; write at most 65535"),
        ('weight = "3"', "write a whole number without quotation marks"),
        ("weight = true", "write a whole number without quotation marks"),
        ('server = "vsftp"', "write \"vsftpd\", \"proftpd\""),
        ("port = 0", "write at least 1"),
        ("max_sessions = -1", "write at least 0"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place_and_its_remedy(wrong: str, said: str) -> None:
    (problem,) = problems(SMALL + wrong)
    assert said in problem


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('connect = "0s"', "write more than 0"),
        ('upload_grace = "2s"', "write at most 1"),
        ('handshake = "15s"', "is not a key of the cluster file"),
    ],
)
def test_a_time_out_that_cannot_be_says_what_could(wrong: str, said: str) -> None:
    text = SMALL.replace(
        "[[virtual_server.real_server]]", f"[virtual_server.timeouts]\n{wrong}\n[[virtual_server.real_server]]", 1
    )
    (problem,) = problems(text)
    assert said in problem


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("idle_timeout", "15", 'write a duration as "90s", "15m" or "1h"'),
        ("idle_timeout", '"15 minutes"', 'write a duration as "90s", "15m" or "1h"'),
        ("passive_ports", '"20000-10000"', "the lower port first"),
        ("passive_ports", '"80-20000"', "from 1024 to 65535"),
        ("gateway_address", '"router.example"', "names are not looked up"),
        ("gateway_address", '"198.51.100.1%eth0"', "write an IP address"),
        ("placement", '"slice"', 'write "slices", "persistence" or "helper"'),
    ],
)
def test_a_value_that_cannot_be_says_what_could(key: str, value: str, said: str) -> None:
    text = SMALL.replace('address = "192.0.2.10"', f'address = "192.0.2.10"\n{key} = {value}')
    (problem,) = problems(text)
    assert f'virtual_server "ftp": {key}' in problem
    assert said in problem


def test_all_mistakes_of_a_file_come_at_once() -> None:
    found = problems('engin = "proxy"\n' + SMALL.replace("192.0.2.10", "nowhere") + 'weight = "x"\nprot = 3\n')
    assert len(found) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "engine = ",
        "[[virtual_server]]",
        "virtual_server = 3",
        "x = " + "9" * 5000,
        "a = " + "[" * 3000,
        '"\\ud800" = 1',
    ],
    ids=["empty", "cut", "bare", "number", "long-number", "deep", "surrogate"],
)
def test_what_is_no_cluster_file_is_a_config_error(text: str) -> None:
    assert problems(text)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_cluster_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert decode(text, source="c.toml").virtual_servers


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'engine = "proxy"\n# \xe4\n')
    with pytest.raises(ConfigError, match=r"latin\.toml:2:3: is not UTF-8"):
        load(tmp_path / "latin.toml")


def test_time_outs() -> None:
    text = SMALL.replace(
        "[[virtual_server.real_server]]",
        '[virtual_server.timeouts]\nupload_grace = "750us"\nreply = "2m"\ngreeting = "1500ms"\n'
        "[[virtual_server.real_server]]",
        1,
    )
    assert decode(text, source="cluster.toml").virtual_servers[0].timeouts == Timeouts(
        upload_grace_s=0.00075, reply_s=120, greeting_s=1.5
    )
