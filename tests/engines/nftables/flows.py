"""Packet flows as rows: what hosts do one after the other, and what becomes of the last packet of it.

The rows are walked over the fake (test_flow.py, here) and sent over real wires (tests/netns/test_flow.py). They name
hosts of lab.netns: `client`, `stranger` and `third` outside, `alpha` and `beta` inside, `virtual` between them;
`silent` is outside too, and no answer reaches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

import pytest
from lab.netns.hosts import CLIENTS, INSIDE, VIRTUAL, address_of

from ftpdirector.change.setup import TABLE
from ftpdirector.model import Cluster, Director, IPAddress
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
UDP: Final = 17
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
class Forged:
    """The first packet of a connection, in the name of a host that knows nothing of it and resets the answer."""

    who: str
    to: str


@dataclass(frozen=True, slots=True)
class Datagram:
    """One packet of UDP."""

    who: str
    to: str


@dataclass(frozen=True, slots=True)
class Say:
    """A command on the connection that this host opened first, second, ..."""

    who: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Forget:
    """The director knows no connection any more, as after a failover without conntrackd."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """All that packets have put there with a timeout is forgotten: everybody was silent for long."""


@dataclass(frozen=True, slots=True)
class Drain:
    """These get nothing new from here on; the table is changed, not made anew."""

    servers: tuple[str, ...] = ()


Step = Connect | Stray | Forged | Datagram | Say | Forget | Lapse | Drain


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
    directors: int = 0
    """The family of two directors that tell each other of connections: `outside`, which is this one, and `third`."""

    def cluster(self) -> Cluster:
        """Both families, so that each has the other's rules in its way."""
        cluster = cluster_of(tuple(SERVERS.values()), (4, 6), **self.settings)
        if self.directors:
            addresses = (OUTSIDE[self.directors], CLIENTS[self.directors][2])
            cluster = replace(
                cluster, directors=tuple(Director(name=one, address=ip_address(one)) for one in addresses)
            )
        if not self.second_port:
            return cluster
        [first] = cluster.virtual_servers
        second = replace(first, name="second", port=self.second_port)
        return replace(cluster, virtual_servers=(first, second))

    def table(self, drained: Sequence[str] = ()) -> Table:
        return table_of(self.cluster(), *(f"real-{SERVERS[one]}-{each}" for one in drained for each in (4, 6)))


_CHOSEN: Final = "choose control forward session limits"
_LET_IN: Final = "choose forward gate"
_ADMITTED: Final = f"{_LET_IN} forward"
_FOLLOWS: Final = "choose passive forward"
_KEPT: Final = {"persistence_timeout": "1h"}
_BY_PERSISTENCE: Final = {"placement": "persistence"}
_FULLNAT: Final = {"forwarding": "fullnat"}
_FIRST, _SECOND = Connect("client", "virtual:21"), Connect("stranger", "virtual:21")
"""By turns: the client has a session with alpha then, and the stranger one with beta."""

ROWS: Final = (
    # Control connections: whose turn it is.
    Row(
        name="a client connects",
        steps=[_FIRST],
        sees="client -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="the next one goes to the next",
        steps=[_FIRST, _SECOND],
        sees="stranger -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="after the last the first has its turn",
        steps=[_FIRST, _SECOND, _FIRST],
        sees="client -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="weights say who comes twice",
        steps=[_FIRST, _SECOND],
        settings={"scheduler": "wrr", "weights": {1: 3, 2: 1}},
        sees="stranger -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="who has no weight gets nobody",
        steps=[_FIRST, _SECOND],
        settings={"weights": {1: 0}},
        sees="stranger -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="another port here and another there",
        steps=[Connect("client", "virtual:2100")],
        settings={"port": 2100, "real_port": 2121},
        sees="client -> alpha:2121, accepted:2100, sessions:2100",
        through=_CHOSEN,
    ),
    Row(
        name="a hashed client comes to its own server",
        steps=[Connect("third", "virtual:21")],
        settings={"scheduler": "sh"},
        sees="third -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="and to it again, whoever came between",
        steps=[Connect("third", "virtual:21"), _FIRST, _SECOND, Connect("third", "virtual:21")],
        settings={"scheduler": "mh"},
        sees="third -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="a hashed client moves when its server is drained",
        steps=[Drain(("beta",)), Connect("third", "virtual:21")],
        settings={"scheduler": "mh"},
        sees="third -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    # Nobody to go to.
    Row(
        name="nobody is offered",
        steps=[Drain(("alpha", "beta")), _FIRST],
        sees="reset, unserved",
        through="choose refuse",
    ),
    Row(
        name="one is offered again",
        steps=[Drain(("alpha", "beta")), Drain(("alpha",)), _FIRST],
        sees="client -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="a part of the range that nobody has",
        steps=[_FIRST, Connect("client", "virtual:nobody")],
        sees="reset, unserved",
        through="refuse",
    ),
    Row(
        name="the port of active data, from outside",
        steps=[_FIRST, Connect("client", "virtual:20")],
        sees="reset, unserved",
        through="refuse",
    ),
    Row(
        name="a port that FTP does not use",
        steps=[_FIRST, Connect("client", "virtual:80")],
        sees="the director's own",
        through="",
    ),
    # Drains.
    Row(
        name="a drained server gets no session",
        steps=[_FIRST, Drain(("alpha",)), _SECOND, _FIRST],
        sees="client -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="a drained server's session goes on",
        steps=[_FIRST, Drain(("alpha",)), Say("client")],
        sees="client -> alpha:21",
        through="forward session",
    ),
    Row(
        name="and opens data connections",
        steps=[_FIRST, Drain(("alpha",)), Connect("client", "virtual:alpha")],
        sees="client -> alpha:slice, bytes_to_servers",
        through=_ADMITTED,
    ),
    # The gate of slices.
    Row(
        name="a data connection to the slice of the client's own server",
        steps=[_FIRST, Connect("client", "virtual:alpha")],
        sees="client -> alpha:slice, bytes_to_servers",
        through=_ADMITTED,
    ),
    Row(
        name="a data connection from somebody else",
        steps=[_FIRST, Connect("stranger", "virtual:alpha")],
        sees="reset, gate",
        through=_LET_IN,
    ),
    Row(
        name="a data connection from another server's client",
        steps=[_FIRST, _SECOND, Connect("stranger", "virtual:alpha")],
        sees="reset, gate",
        through=_LET_IN,
    ),
    Row(
        name="a SYN of a control connection admits nobody",
        steps=[Stray("silent", "virtual:21", SYN), Stray("silent", "virtual:alpha", SYN)],
        sees="reset, gate",
        through=_LET_IN,
    ),
    Row(
        name="what goes on in a data connection is counted",
        steps=[_FIRST, Connect("client", "virtual:alpha"), Say("client", 1)],
        sees="client -> alpha:slice, bytes_to_servers",
        through="forward",
    ),
    Row(
        name="nor does a reset of what was begun in one's name",
        steps=[Forged("client", "virtual:21"), Connect("client", "virtual:alpha")],
        sees="reset, gate",
        through=_LET_IN,
    ),
    Row(
        name="after long silence nobody is admitted",
        steps=[_FIRST, Lapse(), Connect("client", "virtual:alpha")],
        sees="reset, gate",
        through=_LET_IN,
    ),
    Row(
        name="but the command that asks for a data connection admits again",
        steps=[_FIRST, Lapse(), Say("client"), Connect("client", "virtual:alpha")],
        sees="client -> alpha:slice, bytes_to_servers",
        through=_ADMITTED,
    ),
    # Limits.
    Row(
        name="above the limit of one client",
        steps=[_FIRST, _FIRST],
        settings={"max_sessions_per_client": 1},
        sees="reset, refused:21",
        through=f"{_CHOSEN} above",
    ),
    Row(
        name="the limit of one client is not that of another",
        steps=[_FIRST, _FIRST, _SECOND],
        settings={"max_sessions_per_client": 1},
        sees="stranger -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="above the limit of all",
        steps=[_FIRST, _SECOND],
        settings={"max_sessions": 1},
        sees="reset, refused:21",
        through=f"{_CHOSEN} above",
    ),
    Row(
        name="data connections are no sessions",
        steps=[_FIRST, Connect("client", "virtual:alpha"), Connect("client", "virtual:alpha")],
        settings={"max_sessions_per_client": 1, "max_sessions": 1},
        sees="client -> alpha:slice, bytes_to_servers",
        through=_ADMITTED,
    ),
    # Packets of no connection.
    Row(
        name="a packet of no connection",
        steps=[Stray("client", "virtual:21")],
        sees="dropped, strays",
        through="prerouting stray",
    ),
    Row(
        name="an answer to nothing",
        steps=[Stray("client", "virtual:21", SYN | ACK)],
        sees="dropped, strays",
        through="prerouting stray",
    ),
    Row(
        name="a reset of nothing",
        steps=[Stray("client", "virtual:alpha", RST)],
        sees="dropped, strays",
        through="prerouting stray",
    ),
    Row(
        name="an end of nothing",
        steps=[Stray("client", "virtual:nobody", FIN | ACK)],
        sees="dropped, strays",
        through="prerouting stray",
    ),
    *(
        Row(
            name=f"what opens and {what} at once",
            steps=[Stray("client", "virtual:21", SYN | flag)],
            sees="dropped, strays",
            through="prerouting stray",
        )
        for what, flag in (("resets", RST), ("ends", FIN))
    ),
    Row(
        name="a packet of no connection, and not for FTP",
        steps=[Stray("client", "virtual:80")],
        sees="the director's own",
        through="prerouting",
    ),
    Row(
        name="a client goes on after a failover",
        steps=[_FIRST, Forget(), Say("client")],
        sees="dropped, strays",
        through="prerouting stray",
    ),
    Row(
        name="a real server goes on after a failover",
        steps=[Stray("alpha:21", "client:data", PSH | ACK)],
        sees="dropped, strays",
        through="prerouting stray",
    ),
    Row(
        name="a real server goes on with what is not FTP",
        steps=[Stray("alpha:80", "client:data", PSH | ACK)],
        sees="alpha -> client:data",
        through="prerouting",
    ),
    # Active data connections.
    Row(
        name="a real server connects to its client",
        steps=[_FIRST, Connect("alpha:20", "client:data")],
        sees="virtual -> client:data",
        through="postrouting",
    ),
    Row(
        name="from whatever port",
        steps=[_FIRST, Connect("alpha", "client:data")],
        sees="virtual -> client:data",
        through="postrouting",
    ),
    Row(
        name="what goes down in an active data connection is counted",
        steps=[_FIRST, Connect("alpha:20", "client:data"), Say("alpha")],
        sees="virtual -> client:data, bytes_to_clients",
        through="forward",
    ),
    Row(
        name="a real server connects to a stranger",
        steps=[_FIRST, Connect("alpha:20", "stranger:data")],
        sees="alpha -> stranger:data",
        through="",
    ),
    Row(
        name="a real server connects to another server's client",
        steps=[_FIRST, Connect("beta:20", "client:data")],
        sees="beta -> client:data",
        through="",
    ),
    # Persistence.
    Row(
        name="a client keeps its server",
        steps=[_FIRST, _FIRST],
        settings=_KEPT,
        sees="client -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="another client has its own",
        steps=[_FIRST, _FIRST, _SECOND],
        settings=_KEPT,
        sees="stranger -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="a network of clients keeps one server",
        steps=[_FIRST, _SECOND],
        settings={**_KEPT, "persistence_granularity": 24},
        sees="stranger -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="a client moves when its server is drained",
        steps=[_FIRST, Drain(("alpha",)), _FIRST],
        settings=_KEPT,
        sees="client -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="and stays when that one returns",
        steps=[_FIRST, Drain(("alpha",)), _FIRST, Drain(), _FIRST],
        settings=_KEPT,
        sees="client -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="a client keeps its server from its first packet on",
        steps=[Stray("silent", "virtual:21", SYN), Stray("silent", "virtual:21", SYN)],
        settings=_KEPT,
        sees="silent -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="after long silence a client is a new one",
        steps=[_FIRST, Lapse(), _FIRST],
        settings=_KEPT,
        sees="client -> beta:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    Row(
        name="but each packet of a session keeps it",
        steps=[_FIRST, Lapse(), Say("client"), _FIRST],
        settings=_KEPT,
        sees="client -> alpha:21, accepted:21, sessions:21",
        through=_CHOSEN,
    ),
    # Placement persistence: the port says nothing, the client does.
    Row(
        name="data follows the client's session",
        steps=[_FIRST, _SECOND, Connect("stranger", "virtual:10007")],
        settings=_BY_PERSISTENCE,
        sees="stranger -> beta:10007, bytes_to_servers",
        through=_FOLLOWS,
    ),
    Row(
        name="data of somebody without a session",
        steps=[_FIRST, Connect("stranger", "virtual:10007")],
        settings=_BY_PERSISTENCE,
        sees="reset, unserved",
        through="choose refuse",
    ),
    Row(
        name="data after the last word of two sessions",
        steps=[
            _FIRST,
            Drain(("alpha",)),
            _FIRST,
            Say("client", 1),
            Say("client", 0),
            Connect("client", "virtual:10007"),
        ],
        settings=_BY_PERSISTENCE,
        sees="client -> alpha:10007, bytes_to_servers",
        through=_FOLLOWS,
    ),
    Row(
        name="data after the other one's last word",
        steps=[
            _FIRST,
            Drain(("alpha",)),
            _FIRST,
            Say("client", 0),
            Say("client", 1),
            Connect("client", "virtual:10007"),
        ],
        settings=_BY_PERSISTENCE,
        sees="client -> beta:10007, bytes_to_servers",
        through=_FOLLOWS,
    ),
    # Placement helper: the kernel reads, and expects the data connections that it has read of.
    Row(
        name="the helper is to read a control connection",
        steps=[_FIRST],
        settings={"placement": "helper"},
        sees="client -> alpha:21, accepted:21, sessions:21, read by the helper",
        through=f"prerouting {_CHOSEN}",
    ),
    Row(
        name="data that the helper has not read of",
        steps=[_FIRST, Connect("client", "virtual:10007")],
        settings={"placement": "helper"},
        sees="reset, unserved",
        through="refuse",
    ),
    # Forwarding fullnat: real servers see the director.
    Row(
        name="fullnat: a client connects",
        steps=[_FIRST],
        settings=_FULLNAT,
        sees="inside -> alpha:21, accepted:21, sessions:21",
        through=f"{_CHOSEN} postrouting",
    ),
    Row(
        name="fullnat: a data connection",
        steps=[_FIRST, Connect("client", "virtual:alpha")],
        settings=_FULLNAT,
        sees="inside -> alpha:slice, bytes_to_servers",
        through=f"{_ADMITTED} postrouting",
    ),
    Row(
        name="fullnat: a data connection from somebody else",
        steps=[_FIRST, Connect("stranger", "virtual:alpha")],
        settings=_FULLNAT,
        sees="reset, gate",
        through=_LET_IN,
    ),
    Row(
        name="fullnat: data follows the client's session",
        steps=[_FIRST, _SECOND, Connect("stranger", "virtual:10007")],
        settings={**_FULLNAT, **_BY_PERSISTENCE},
        sees="inside -> beta:10007, bytes_to_servers",
        through=f"{_FOLLOWS} postrouting",
    ),
    Row(
        name="fullnat: a real server connects to its client",
        steps=[_FIRST, Connect("alpha:20", "client:data")],
        settings=_FULLNAT,
        sees="alpha -> client:data",
        through="",
    ),
    # Two virtual servers with one passive range between them.
    Row(
        name="the second port has a turn of its own",
        steps=[_FIRST, Connect("client", "virtual:2121")],
        second_port=2121,
        sees="client -> alpha:21, accepted:2121, sessions:2121",
        through=_CHOSEN,
    ),
    Row(
        name="a session by the second port admits to the range of both",
        steps=[_FIRST, Connect("stranger", "virtual:2121"), Connect("stranger", "virtual:alpha")],
        second_port=2121,
        sees="stranger -> alpha:slice, bytes_to_servers",
        through=_ADMITTED,
    ),
    Row(
        name="both ports have limits of their own",
        steps=[_FIRST, Connect("client", "virtual:2121"), Connect("client", "virtual:2121")],
        second_port=2121,
        settings={"max_sessions_per_client": 1},
        sees="reset, refused:2121",
        through=f"{_CHOSEN} above",
    ),
    Row(
        name="both together have limits of their own",
        steps=[_FIRST, Connect("client", "virtual:2121"), Connect("stranger", "virtual:2121")],
        second_port=2121,
        settings={"max_sessions": 1},
        sees="reset, refused:2121",
        through=f"{_CHOSEN} above",
    ),
    Row(
        name="a client that is kept is kept by both ports",
        steps=[_FIRST, _SECOND, Connect("stranger", "virtual:2121")],
        second_port=2121,
        settings=_BY_PERSISTENCE,
        sees="stranger -> beta:21, accepted:2121, sessions:2121",
        through=_CHOSEN,
    ),
    Row(
        name="a new client of the second port is kept by it",
        steps=[_FIRST, Stray("silent", "virtual:2121", SYN), _SECOND, Stray("silent", "virtual:2121", SYN)],
        second_port=2121,
        settings=_BY_PERSISTENCE,
        sees="silent -> alpha:21, accepted:2121, sessions:2121",
        through=_CHOSEN,
    ),
    Row(
        name="a client of the second port moves when its server is drained",
        steps=[Connect("client", "virtual:2121"), Drain(("alpha",)), Connect("client", "virtual:2121")],
        second_port=2121,
        settings=_BY_PERSISTENCE,
        sees="client -> beta:21, accepted:2121, sessions:2121",
        through=_CHOSEN,
    ),
    Row(
        name="a session by the second port keeps its client",
        steps=[
            Connect("client", "virtual:21"),
            Connect("stranger", "virtual:2121"),
            Connect("client", "virtual:2121"),
            Lapse(),
            Say("client", 1),
            Connect("client", "virtual:2121"),
        ],
        second_port=2121,
        settings=_BY_PERSISTENCE,
        sees="client -> alpha:21, accepted:2121, sessions:2121",
        through=_CHOSEN,
    ),
    Row(
        name="data after the last word on the second port",
        steps=[
            Connect("client", "virtual:2121"),
            Drain(("alpha",)),
            Connect("client", "virtual:21"),
            Say("client", 1),
            Say("client", 0),
            Connect("client", "virtual:10007"),
        ],
        second_port=2121,
        settings=_BY_PERSISTENCE,
        sees="client -> alpha:10007, bytes_to_servers",
        through=_FOLLOWS,
    ),
    # Directors that tell each other of connections.
    *(
        Row(
            name=f"the other director tells of connections (IPv{version})",
            steps=[Datagram("third", "outside:3780")],
            directors=version,
            versions=(version,),
            sees="the director's own",
            through="",
        )
        for version in (4, 6)
    ),
    *(
        Row(
            name=f"somebody tells of connections (IPv{version})",
            steps=[Datagram("stranger", "outside:3780")],
            directors=version,
            sees="dropped",
            through="peers",
        )
        for version in (4, 6)
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
        return ", ".join([seen, *trace.counted, *(["read by the helper"] if trace.helper else [])])

    def _slices(self) -> dict[int, str]:
        return {one.ports.first: "slice" for one in slices_of(self.cluster, self.cluster.virtual_servers[0])}

    def _all(self) -> dict[str, str]:
        version = self.version
        client, stranger, third, silent = CLIENTS[version]
        return {
            "client": client,
            "stranger": stranger,
            "third": third,
            "silent": silent,
            "virtual": VIRTUAL[version],
            "inside": INSIDE[version],
            "outside": OUTSIDE[version],
            **{name: address_of(number, version) for name, number in SERVERS.items()},
        }


def through(passed: Sequence[Passed]) -> str:
    """The chains in order, without what belongs to one virtual server or family."""
    names = [one.chain.partition("_")[0] for one in passed]
    return " ".join(name for place, name in enumerate(names) if names[:place][-1:] != [name])


CASES: Final = [pytest.param(row, version, id=f"{row.name} v{version}") for row in ROWS for version in row.versions]


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
            case Connect(who, to) | Stray(who, to) | Forged(who, to) | Datagram(who, to):
                host, _, port = who.partition(":")
                there, _, at = to.partition(":")
                packet = Packet(
                    source=names.address(host),
                    sport=int(port or names.ports[number]),
                    destination=names.address(there),
                    dport=names.port(at),
                    flags=step.flags if isinstance(step, Stray) else SYN,
                )
                if isinstance(step, Datagram):
                    packet = replace(packet, flags=0, protocol=UDP)
                opened.setdefault(host, []).append(packet)
                yield Due(step, packet)
            case Say(who, place):
                yield Due(step, replace(opened[who][place], flags=PSH | ACK))
            case Forget() | Lapse() | Drain():
                yield Due(step)


class FlowWorld:
    """A row's hosts as values: a fake with its table, and the packets' way through it."""

    def __init__(
        self, row: Row, version: int, first_port: int = 30_000, spoil: Callable[[Table], Table] = lambda table: table
    ) -> None:
        self.row = row
        self._spoil = spoil
        self.names = Names(version, row.cluster(), first_port)
        self.table = spoil(row.table())
        self.fake = Fake()
        self.fake.load(boot_file(self.table))
        own = [each[version] for each in (VIRTUAL, INSIDE, OUTSIDE)]
        self.flow = Flow(
            self.fake.tables[TABLE],
            Host(own=frozenset(map(ip_address, own)), networks=_NETWORKS[version]),
        )

    def change(self, drained: Sequence[str]) -> str:
        """Carry it out here, and give the text."""
        after = self._spoil(self.row.table(drained))
        text = transaction(self.table, after)
        self.fake.load(text)
        self.flow.table = self.fake.tables[TABLE]
        self.table = after
        return text

    def lapsing(self) -> list[tuple[str, str]]:
        """The sets and maps that forget: kind and name."""
        sets = self.flow.table.sets.items()
        return [("map" if one.types.values else "set", name) for name, one in sets if "timeout" in one.flags]

    def take(self, one: Due) -> Trace | None:
        match one.step, one.packet:
            case Connect(), Packet() as packet:
                return self.flow.connect(packet)
            case ((Stray() | Say() | Datagram()), Packet() as packet):
                return self.flow.send(packet)
            case Forged(), Packet() as packet:
                trace = self.flow.send(packet)
                self.flow.send(trace.packet.answer(SYN | ACK))
                self.flow.send(replace(packet, flags=RST))
                return trace
            case Drain(servers), _:
                self.change(servers)
            case Forget(), _:
                self.flow.forget()
            case Lapse(), _:
                for _, name in self.lapsing():
                    self.flow.table.sets[name].elements.clear()
            case _:
                raise NotImplementedError(one)
        return None
