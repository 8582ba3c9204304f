"""Packet flows as rows: what hosts do one after the other, and what becomes of the last packet of it.

The rows are walked over the fake (test_flow.py, here) and sent over real wires (tests/netns/test_flow.py). They name
hosts of lab.netns: `client`, `stranger` and `third` outside, `alpha` and `beta` inside, `virtual` between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

from lab.netns.hosts import CLIENTS, INSIDE, VIRTUAL, address_of

from ftpdirector.change.setup import TABLE
from ftpdirector.model import Cluster, IPAddress
from ftpdirector.nft.objects import Table
from ftpdirector.nft.transaction import boot_file, transaction
from ftpdirector.slices import slices_of
from tests.netns.table import cluster_of, table_of
from tests.nft.fake import Fake
from tests.nft.flow import Flow, Host, Packet, Passed, Trace
from tests.nft.language import TCP_FLAGS

SERVERS: Final = {"alpha": 1, "beta": 2}
OUTSIDE: Final = {4: "203.0.113.1", 6: "2001:db8:1::1"}
_NETWORKS: Final = {
    4: {"203.0.113.0/24": OUTSIDE[4], "198.51.100.0/24": INSIDE[4]},
    6: {"2001:db8:1::/64": OUTSIDE[6], "2001:db8:3::/64": INSIDE[6]},
}
PORTS: Final = 10
SYN, ACK, RST, FIN, PSH = (TCP_FLAGS[one] for one in ("syn", "ack", "rst", "fin", "psh"))


@dataclass(frozen=True, slots=True)
class Connect:
    """A TCP connection; it stays open where it comes about. `HOST` or `HOST:PORT`; `virtual:alpha` is alpha's slice."""

    who: str
    to: str


@dataclass(frozen=True, slots=True)
class Stray:
    """One packet of no connection."""

    who: str
    to: str
    flags: int = ACK


@dataclass(frozen=True, slots=True)
class Say:
    """A command on the connection that this host opened first, second, ..."""

    who: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Forget:
    """The director knows no connection any more, as after a failover without conntrackd."""


@dataclass(frozen=True, slots=True)
class Drain:
    """These get nothing new from here on; the table is changed, not made anew."""

    servers: tuple[str, ...] = ()


Step = Connect | Stray | Say | Forget | Drain


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`sees`: what becomes of the last packet, and what counted it. `through`: the chains in which a rule matched."""

    name: str
    steps: Sequence[Step]
    sees: str
    through: str
    versions: Sequence[int] = (4, 6)
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    second_port: int = 0

    def cluster(self) -> Cluster:
        """Both families, so that each has the other's rules in its way."""
        cluster = cluster_of(tuple(SERVERS.values()), (4, 6), **self.settings)
        if not self.second_port:
            return cluster
        [first] = cluster.virtual_servers
        second = replace(first, name="second", port=self.second_port)
        return replace(cluster, virtual_servers=(first, second))

    def table(self, version: int, drained: Sequence[str] = ()) -> Table:
        del version
        return table_of(self.cluster(), *(f"real-{SERVERS[one]}-{each}" for one in drained for each in (4, 6)))


_CHOSEN: Final = "choose control forward session limits"
_LET_IN: Final = "choose forward gate"
_PERSISTENT: Final = {"persistence_timeout": "1h"}
_BY_PERSISTENCE: Final = {"placement": "persistence"}

ROWS: Final = (
    Row(
        name="a client connects",
        steps=[Connect("client", "virtual:21")],
        sees="client -> alpha:21, sessions_ftp",
        through=_CHOSEN,
    ),
    Row(
        name="the next one goes to the next",
        steps=[Connect("client", "virtual:21"), Connect("stranger", "virtual:21")],
        sees="stranger -> beta:21, sessions_ftp",
        through=_CHOSEN,
    ),
    Row(
        name="a data connection to the slice of the client's own server",
        steps=[Connect("client", "virtual:21"), Connect("client", "virtual:alpha")],
        sees="client -> alpha:slice",
        through=_LET_IN,
    ),
    Row(
        name="a data connection from somebody else",
        steps=[Connect("client", "virtual:21"), Connect("stranger", "virtual:alpha")],
        sees="reset, gate",
        through=_LET_IN,
    ),
    Row(
        name="a packet of no connection",
        steps=[Stray("client", "virtual:21")],
        sees="dropped, strays",
        through="prerouting stray",
    ),
)


@dataclass(frozen=True, slots=True)
class Names:
    """Hosts by name and by address, in one family; every packet of a row has one of its own ports."""

    version: int
    cluster: Cluster
    first_port: int

    @property
    def ports(self) -> range:
        """What no other row uses: those that connections come from, and the last one for `data`."""
        return range(self.first_port, self.first_port + PORTS)

    def address(self, name: str) -> IPAddress:
        return ip_address(self._all()[name])

    def port(self, name: str) -> int:
        """A number, or whose slice it is in; `nobody` has the end of the range. `data`: where a client waits."""
        if name == "data":
            return self.ports[-1]
        virtual = self.cluster.virtual_servers[0]
        if name == "nobody":
            return virtual.passive_ports.last
        if name not in SERVERS:
            return int(name)
        return next(
            one.ports.first for one in slices_of(self.cluster, virtual) if one.server.address == self.address(name)
        )

    def seen(self, trace: Trace) -> str:
        """A trace in the words of a row."""
        packet, names = trace.packet, {ip_address(each): name for name, each in self._all().items()}
        match trace.verdict:
            case "accept" if trace.is_local:
                seen = "the director's own"
            case "accept":
                port = "data" if packet.dport in self.ports else self._slices().get(packet.dport, packet.dport)
                seen = f"{names[packet.source]} -> {names[packet.destination]}:{port}"
            case verdict:
                seen = {"drop": "dropped", "reset": "reset"}[verdict]
        return ", ".join([seen, *trace.counted])

    def _slices(self) -> dict[int, str]:
        return {one.ports.first: "slice" for one in slices_of(self.cluster, self.cluster.virtual_servers[0])}

    def _all(self) -> dict[str, str]:
        version = self.version
        client, stranger, third, *_ = CLIENTS[version]
        return {
            "client": client,
            "stranger": stranger,
            "third": third,
            "virtual": VIRTUAL[version],
            "inside": INSIDE[version],
            "outside": OUTSIDE[version],
            **{name: address_of(number, version) for name, number in SERVERS.items()},
        }


def through(passed: Sequence[Passed]) -> str:
    """The chains in order, without what belongs to one virtual server or family."""
    names = [one.chain.partition("_")[0] for one in passed]
    return " ".join(name for place, name in enumerate(names) if names[:place][-1:] != [name])


@dataclass(frozen=True, slots=True)
class Due:
    """A step with its packet, where it has one."""

    step: Step
    packet: Packet | None = None


def due(row: Row, names: Names) -> Iterator[Due]:
    """The row's steps with addresses and ports; whose port is not told gets one of its own."""
    opened: dict[str, list[Packet]] = {}
    for number, step in enumerate(row.steps):
        match step:
            case Connect(who, to) | Stray(who, to):
                host, _, port = who.partition(":")
                there, _, at = to.partition(":")
                packet = Packet(
                    source=names.address(host),
                    sport=int(port or names.ports[number]),
                    destination=names.address(there),
                    dport=names.port(at),
                    flags=step.flags if isinstance(step, Stray) else SYN,
                )
                opened.setdefault(host, []).append(packet)
                yield Due(step, packet)
            case Say(who, place):
                yield Due(step, replace(opened[who][place], flags=PSH | ACK))
            case Forget() | Drain():
                yield Due(step)


class World:
    """A row's hosts as values: a fake with its table, and the packets' way through it."""

    def __init__(self, row: Row, version: int, first_port: int = 30_000) -> None:
        self.row = row
        self.names = Names(version, row.cluster(), first_port)
        self.table = row.table(version)
        self.fake = Fake()
        self.fake.load(boot_file(self.table))
        own = [each[version] for each in (VIRTUAL, INSIDE, OUTSIDE)]
        self.flow = Flow(
            self.fake.tables[TABLE],
            Host(own=frozenset(map(ip_address, own)), networks=_NETWORKS[version]),
        )

    def change(self, drained: Sequence[str]) -> str:
        """Carry it out here, and give the text."""
        after = self.row.table(self.names.version, drained)
        text = transaction(self.table, after)
        self.fake.load(text)
        self.flow.table = self.fake.tables[TABLE]
        self.table = after
        return text

    def take(self, one: Due) -> Trace | None:
        match one.step, one.packet:
            case Connect(), Packet() as packet:
                return self.flow.connect(packet)
            case ((Stray() | Say()), Packet() as packet):
                return self.flow.send(packet)
            case Drain(servers), _:
                self.change(servers)
            case Forget(), _:
                self.flow.forget()
            case _:
                raise AssertionError(one)
        return None
