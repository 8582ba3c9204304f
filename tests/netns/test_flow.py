"""The rows of packet flows on real hosts: what the kernel tells of each packet is what the fake says of it."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.netns.hosts import CLIENTS, VIRTUAL, Network, missing, network

from ftpdirector.change.setup import TABLE
from tests.engines.nftables.flows import (
    ACK,
    CASES,
    FIN,
    OUTSIDE,
    PORTS,
    PSH,
    RST,
    SERVERS,
    SYN,
    Connect,
    Datagram,
    Drain,
    Due,
    FlowWorld,
    Forged,
    Forget,
    Lapse,
    Row,
    Say,
    Step,
    Stray,
    due,
    through,
)
from tests.netns.table import boot
from tests.netns.traces import PATIENCE_S, Monitor, Record, monitor
from tests.netns.wires import Wires, wires
from tests.nft.fake import FakeSet
from tests.nft.flow import Packet, Trace, jhash
from tests.nft.language import parse_key, parse_value

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(missing()), reason=missing())]

_FIRST_PORTS = itertools.cycle(range(22_000, 32_000, PORTS))
"""Each row has its own, below those that the kernel gives out by itself."""
_KNOCK = 9_999
STRAYS = (ACK, PSH | ACK, RST, FIN | ACK, SYN | ACK, SYN | RST)
HASHES, SEED = 65_521, 0x667470


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network]:
    with network(len(SERVERS)) as made:
        # A real server's own address is seen where the director leaves it alone.
        made.client.ip(f"route add 198.51.100.0/24 via {OUTSIDE[4]}\nroute add 2001:db8:3::/64 via {OUTSIDE[6]}\n")
        made.client.nft(
            "table inet silent {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n"
            f"\t\tip daddr {CLIENTS[4][3]} drop\n\t\tip6 daddr {CLIENTS[6][3]} tcp sport 0-65535 drop\n\t}}\n}}\n"
        )
        yield made


@pytest.fixture(scope="module")
def kernel(hosts: Network) -> Iterator[Monitor]:
    def knock() -> None:
        with hosts.client.inside(), contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((VIRTUAL[4], _KNOCK), 5.0).close()

    with monitor(hosts.director, knock, _KNOCK) as made:
        yield made


@pytest.mark.parametrize(("row", "version"), CASES)
def test_the_kernel_does_the_same(hosts: Network, kernel: Monitor, row: Row, version: int) -> None:
    row_on_hosts = RowOnHosts(hosts, kernel, FlowWorld(row, version, next(_FIRST_PORTS)))
    last = row_on_hosts.carry_out()
    assert last is not None
    assert (row_on_hosts.world.names.seen(last), through(last.passed)) == (row.sees, row.through)


HOSTS = ("client", "stranger", "third")
CONNECTS = st.one_of(
    st.builds(Connect, st.sampled_from(HOSTS), st.sampled_from(["virtual:21", "virtual:2121"])),
    st.builds(
        Connect,
        st.sampled_from(HOSTS),
        st.sampled_from(["virtual:alpha", "virtual:beta", "virtual:nobody", "virtual:10007", "virtual:20"]),
    ),
    st.builds(Connect, st.sampled_from(list(SERVERS)), st.sampled_from([f"{one}:data" for one in HOSTS])),
)
STEPS = st.one_of(
    CONNECTS,
    CONNECTS,
    st.builds(Say, st.sampled_from(HOSTS), st.integers(0, 2)),
    st.builds(Forged, st.sampled_from(HOSTS), st.just("virtual:21")),
    st.builds(Stray, st.sampled_from(HOSTS), st.sampled_from(["virtual:21", "virtual:alpha"]), st.sampled_from(STRAYS)),
    st.builds(Stray, st.just("beta:21"), st.just("third:data"), st.sampled_from(STRAYS)),
    st.builds(Drain, st.sampled_from([(), ("alpha",), ("beta",), ("alpha", "beta")])),
    st.sampled_from([Lapse(), Forget()]),
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "scheduler": st.sampled_from(["rr", "wrr", "sh", "mh"]),
        "placement": st.sampled_from(["slices", "persistence", "helper"]),
        "forwarding": st.sampled_from(["nat", "fullnat"]),
        "weights": st.just({1: 3, 2: 2}),
        "persistence_timeout": st.just("1h"),
        "persistence_granularity": st.sampled_from([24, 32]),
    },
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(STEPS, min_size=3, max_size=PORTS - 1),
    cluster=SETTINGS,
    second_port=st.sampled_from([0, 2121]),
    version=st.sampled_from([4, 6]),
)
def test_the_kernel_does_the_same_whatever_comes(
    hosts: Network, kernel: Monitor, steps: list[Step], cluster: dict[str, object], second_port: int, version: int
) -> None:
    steps = [one for place, one in enumerate(steps) if not isinstance(one, Say) or _has_begun(steps[:place], one)]
    row = Row(name="any", steps=steps, settings=cluster, second_port=second_port, sees="", through="")
    RowOnHosts(hosts, kernel, FlowWorld(row, version, next(_FIRST_PORTS))).carry_out()


def _has_begun(steps: list[Step], said: Say) -> bool:
    return sum(isinstance(one, Connect | Stray | Forged) and one.who == said.who for one in steps) > said.number


def test_the_hash_is_the_kernels(hosts: Network) -> None:
    rules = "".join(f"\t\tct mark set jhash {word} saddr mod {HASHES} seed {SEED}\n" for word in ("ip", "ip6"))
    hosts.director.run("conntrack", "-F")
    hosts.director.nft(
        f"table inet hash {{\n\tchain hash {{\n\t\ttype filter hook prerouting priority mangle;\n{rules}\t}}\n}}\n"
    )
    try:
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            for client in CLIENTS[version]:
                with hosts.client.inside(), socket.socket(family, socket.SOCK_DGRAM) as sender:
                    sender.bind((client, 0))
                    sender.sendto(b"", (VIRTUAL[version], _KNOCK))
            told = dict[str, str]()
            end = time.monotonic() + PATIENCE_S
            while len(told) < len(CLIENTS[version]):
                assert time.monotonic() < end
                listed = hosts.director.run("conntrack", "-L", "-p", "udp", "-f", f"ipv{version}").stdout
                told = dict(re.findall(rf"src=(\S+) dst=\S+ sport=\d+ dport={_KNOCK} .*mark=(\d+)", listed))
            assert told == {one: str(jhash(ip_address(one).packed, SEED) * HASHES >> 32) for one in CLIENTS[version]}
    finally:
        hosts.director.nft("delete table inet hash\n")


class RowOnHosts:
    """A row's hosts, real ones, beside the same as values."""

    def __init__(self, hosts: Network, kernel: Monitor, world: FlowWorld) -> None:
        self.hosts = hosts
        self.kernel = kernel
        self.world = world
        self._places: dict[tuple[str, str], set[int]] = {}

    def carry_out(self) -> Trace | None:
        """The row, and what became of its last packet."""
        self.hosts.director.run("conntrack", "-F")
        forgets = any(isinstance(step, Forget) for step in self.world.row.steps)
        with wires(self.hosts, self.world.names, forgets=forgets) as opened:
            self._prepare(opened)
            try:
                traces = [self._take(opened, one) for one in due(self.world.row, self.world.names)]
                self._compare_what_is_left()
            finally:
                self.hosts.director.nft("delete table inet watch\n")
        return traces[-1] if traces else None

    def _prepare(self, opened: Wires) -> None:
        names = self.world.names
        ports = {one.port for virtual in names.cluster.virtual_servers for one in virtual.real_servers}
        ports |= {one.packet.dport for one in due(self.world.row, names) if one.packet}
        for host in self.hosts.servers:
            opened.listen(host, sorted(ports))
        opened.listen(self.hosts.client, names.ports[-1:])
        boot(self.hosts.director, self.world.table)
        self._read_rules()
        self.kernel.watch(names.ports)

    def _take(self, opened: Wires, one: Due) -> Trace | None:
        """One step; every packet of it, as the kernel told of it, goes through the fake as well."""
        match one.step, one.packet:
            case Connect(), Packet() as packet:
                is_open = opened.connect(packet)
                done = self.kernel.until(lambda each: _is(each, packet, ACK if is_open else packet.flags))
            case Say(), Packet() as packet:
                if not opened.is_open(packet):
                    return None
                known = self.world.flow.connections.get(packet.tuple)
                # What is not known is sent once: a socket would repeat it, and nobody knows how often.
                (opened.say if known else opened.stray)(packet)
                last = (known.reply, ACK) if known else (packet.tuple, packet.flags)  # who hears it says so
                done = self.kernel.until(lambda each: (each.came.tuple, each.came.flags) == last)
            case ((Stray() | Datagram()), Packet() as packet):
                opened.stray(packet)
                done = self.kernel.until(lambda each: _is(each, packet, packet.flags))
            case Forged(), Packet() as packet:
                opened.stray(packet)
                done = self.kernel.until(lambda each: _is(each, packet, packet.flags))
                if done[-1].verdict == "accept":
                    done += self.kernel.until(lambda each: _is(each, packet, RST))
            case Drain(servers), _:
                self.hosts.director.nft(self.world.change(servers))
                self._read_rules()
                return None
            case Forget(), _:
                self.world.take(one)
                self.hosts.director.run("conntrack", "-F")
                return None
            case Lapse(), _:
                self.world.take(one)
                self.hosts.director.nft(
                    "".join(f"flush {kind} {TABLE} {name}\n" for kind, name in self.world.lapsing())
                )
                return None
            case _:
                raise NotImplementedError(one)
        traces = [(each, self._compare(each)) for each in done]
        return next(trace for each, trace in traces if _is(each, packet, packet.flags))

    def _compare_what_is_left(self) -> None:
        """Counters, what packets added, and the marks of connections."""
        fake = self.world.flow.table
        text = self.hosts.director.run("nft", "list", "table", *TABLE.split()).stdout
        counted = {name: int(packets) for name, packets in re.findall(r"counter (\S+) \{\s+packets (\d+)", text)}
        assert counted == fake.counters
        met = {
            name: _counted(listed, fake.sets[name])
            for name, listed in re.findall(r"^\tset (\S+) \{\n(.*?)^\t\}", text, re.MULTILINE | re.DOTALL)
            if fake.sets[name].counts
        }
        assert met == {
            name: {key: each.packets for key, each in one.elements.items()}
            for name, one in fake.sets.items()
            if one.counts
        }
        filled = {
            name: _elements(listed, fake.sets[name])
            for name, listed in re.findall(r"^\t(?:set|map) (\S+) \{\n(.*?)^\t\}", text, re.MULTILINE | re.DOTALL)
            if "dynamic" in fake.sets[name].flags
        }
        assert filled == {
            name: {key: each.value for key, each in one.elements.items()}
            for name, one in fake.sets.items()
            if "dynamic" in one.flags
        }
        listed = self.hosts.director.run("conntrack", "-L", "-f", f"ipv{self.world.names.version}").stdout
        told = {
            (int(port), int(to)): (int(mark), helper)
            for port, to, mark, helper in re.findall(
                r"^tcp .*?sport=(\d+) dport=(\d+) .* mark=(\d+)(?: helper=(\S+))?", listed, re.MULTILINE
            )
        }
        # What has no mark is nobody's business here, and may have ended at its first packet.
        assert {ports: each for ports, each in told.items() if each[0]} == {
            (known.original[1], known.original[3]): (known.mark, fake.helpers.get(known.helper, ""))
            for known in self.world.flow.connections.values()
            if known.mark
        }

    def _read_rules(self) -> None:
        """Where the rules stand, by what a trace may call them: nft's words, which may be those of two, or a handle."""
        self._places, chain, place = {}, "", 0
        text = self.hosts.director.run("nft", "--stateless", "--handle", "list", "table", *TABLE.split()).stdout
        for words, handle in re.findall(r"^\t+(.+) # (handle \d+)$", text, re.MULTILINE):
            opens = re.fullmatch(r"\w+ (\S+) \{", words)
            if opens:
                chain, place = opens[1], 0
            else:
                for called in (words, handle):
                    self._places.setdefault((chain, called), set()).add(place)
                place += 1

    def _compare(self, told: Record) -> Trace:
        trace = self.world.flow.send(told.came)
        assert [chain for chain, _ in told.passed] == [one.chain for one in trace.passed], told
        for called, one in zip(told.passed, trace.passed, strict=True):
            assert one.place in self._places[called], told
        assert told.verdict == ("accept" if trace.verdict == "accept" else "drop"), told
        if told.verdict == "accept":
            assert (told.seen, told.is_local) == (trace.packet, trace.is_local)
        return trace


def _is(told: Record, packet: Packet, flags: int) -> bool:
    return told.came.tuple == packet.tuple and told.came.flags == flags


def _counted(text: str, one: FakeSet) -> dict[object, int]:
    return {
        parse_key(key, one.types.keys): int(packets)
        for key, packets in re.findall(r"([^\s,{}][^,{}]*?) counter packets (\d+)", text.partition("elements = {")[2])
    }


def _elements(text: str, one: FakeSet) -> dict[object, object]:
    listed = text.partition("elements = {")[2].rpartition("}")[0]
    found: dict[object, object] = {}
    for element in filter(None, map(str.strip, listed.split(","))):
        key, _, value = element.partition(" : ")
        words = re.split(r" (?:timeout|expires|ct count)", key)[0]
        found[parse_key(words, one.types.keys)] = parse_value(value, one.types.values) if one.types.values else None
    return found
