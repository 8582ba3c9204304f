"""Addresses and ports, written and read."""

import contextlib
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp import endpoints
from ftpdirector.ftp.endpoints import (
    EpsvArgument,
    format_eprt_argument,
    format_epsv_reply,
    format_pasv_reply,
    format_port_argument,
    parse_eprt_argument,
    parse_epsv_argument,
    parse_epsv_reply,
    parse_pasv_reply,
    parse_port_argument,
    plain_address,
)
from ftpdirector.model import Endpoint

IPV4 = st.builds(Endpoint, st.builds(IPv4Address, st.integers(0, 2**32 - 1)), st.integers(1, 65535))
IPV6 = st.builds(Endpoint, st.builds(IPv6Address, st.integers(0, 2**128 - 1)), st.integers(1, 65535))


@given(IPV4)
def test_port_and_227_are_read_as_they_were_written(endpoint: Endpoint) -> None:
    assert parse_port_argument(format_port_argument(endpoint)) == endpoint
    assert parse_pasv_reply(format_pasv_reply(endpoint)) == endpoint.port


@given(st.one_of(IPV4, IPV6))
def test_eprt_and_229_are_read_as_they_were_written(endpoint: Endpoint) -> None:
    assert parse_eprt_argument(format_eprt_argument(endpoint)) == endpoint
    assert parse_epsv_reply(format_epsv_reply(endpoint.port)) == endpoint.port


@pytest.mark.parametrize(
    "reply",
    [
        b"227 Entering Passive Mode (198,51,100,11,117,49).\r\n",
        b"227 Entering Passive Mode 198,51,100,11,117,49\r\n",
        b"227 =198,51,100,11,117,49\r\n",
        b"227 Ok (host a) (198,51,100,11,117,49)\r\n",
        b"227 Ok ( 198, 51, 100, 11, 117, 49 )\r\n",
        b"227-Soon\r\n227 Now (0,0,0,0,117,49)\r\n",
    ],
)
def test_a_227_is_read_in_all_its_forms(reply: bytes) -> None:
    assert parse_pasv_reply(reply) == 30001


@pytest.mark.parametrize("reply", [b"227 Ok\r\n", b"227 (1,2,3,4,5)\r\n", b"227 (1,2,3,4,256,1)\r\n", b"227 ()\r\n"])
def test_a_227_without_a_port_is_425(reply: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_pasv_reply(reply)
    assert caught.value.reply_code == 425


@pytest.mark.parametrize(
    "reply",
    [
        b"229 Ok\r\n",
        b"229 (|||0|)\r\n",
        b"229 (|||65536|)\r\n",
        b"229 (|||30001)\r\n",
        b"229 ()\r\n",
        b"229 (|||x|)\r\n",
    ],
)
def test_a_229_without_a_port_is_425(reply: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_epsv_reply(reply)
    assert caught.value.reply_code == 425


def test_a_229_with_another_delimiter_is_read() -> None:
    assert parse_epsv_reply(b"229 Passive (really) (!!!30001!)\r\n") == 30001


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        (b"", 501),
        (b"|1|192.0.2.1|6446", 501),
        (b"|1|192.0.2.1|0|", 501),
        (b"|1|192.0.2.1|" + b"9" * 5000 + b"|", 501),
        (b"|1|2001:db8::1|6446|", 501),
        (b"|2|192.0.2.1|6446|", 501),
        (b"|2|fe80::1%eth0|6446|", 501),
        (b"|x|192.0.2.1|6446|", 501),
        (b"|3|192.0.2.1|6446|", 522),
    ],
)
def test_an_eprt_that_cannot_be(argument: bytes, code: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_eprt_argument(argument)
    assert caught.value.reply_code == code


@pytest.mark.parametrize(
    "argument",
    [b"", b"1,2,3,4,5", b"1,2,3,4,5,6,7", b"1,2,3,4,5,256", b"1,2,3,4,5,-6", b"1,2,3,4,5,0006"],
)
def test_a_port_that_cannot_be(argument: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_port_argument(argument)
    assert caught.value.reply_code == 501


@pytest.mark.parametrize(
    ("argument", "asked"),
    [(b"", EpsvArgument.PLAIN), (b"1", EpsvArgument.IPV4), (b" 2 ", EpsvArgument.IPV6), (b"all", EpsvArgument.ALL)],
)
def test_what_epsv_asks_for(argument: bytes, asked: EpsvArgument) -> None:
    assert parse_epsv_argument(argument) is asked


@given(st.sampled_from(sorted(name for name in vars(endpoints) if name.startswith("parse_"))), st.binary(max_size=80))
def test_any_bytes_are_an_endpoint_or_a_protocol_error(parser: str, data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        getattr(endpoints, parser)(data)


def test_a_mapped_address_is_the_ipv4_one() -> None:
    assert plain_address(ip_address("::ffff:203.0.113.5")) == ip_address("203.0.113.5")
    assert plain_address(ip_address("2001:db8:1::5")) == ip_address("2001:db8:1::5")
    assert plain_address(ip_address("203.0.113.5")) == ip_address("203.0.113.5")
