"""The paths through the proxy: two connections each, one to the client and one to the real server.

This module knows no packet filter.
"""

from __future__ import annotations

from collections.abc import Iterator

from ftpdirector.explain.example import Example, announcement_of, candidates, packet, picked
from ftpdirector.explain.path import PASSIVE, Failure, Mode, Phase, Reason, Step, Trace
from ftpdirector.model import DataToServer, Endpoint, ProxyProtocol

_LEASED = "a port of its own, taken from {ports} at random"


def trace_control(example: Example) -> Trace:
    """From the client's SYN to the greeting."""
    virtual, name = example.virtual, example.server.name
    yield _control("client", "opens the control connection", packet("SYN", example.client, example.front))
    yield _control("director", "accepts it; this connection ends here, no packet of it goes further")
    names = [server.name for server in picked(candidates(virtual, example.address, example.cluster.engine))]
    others = [other for other in names if other != name]
    also = f" (it could be {' or '.join(others)} as well)" if others else ""
    kept = (
        " for a client network that it does not remember; one that it does keeps its real server"
        if virtual.persistence_timeout_s
        else ""
    )
    yield _control("director", f"scheduler {virtual.scheduler} picks {name}{also}{kept}")
    yield _control(
        "director",
        f"opens a connection of its own to {name} and waits for its greeting; a real server that refuses or is "
        "silent is passed over before the client has seen anything",
        f"SYN director -> {example.server.endpoint}",
    )
    if virtual.proxy_protocol is not ProxyProtocol.OFF:
        yield _control(
            "director",
            f"says first who the client is (PROXY protocol {virtual.proxy_protocol}): {name} has to expect it",
        )
    yield _control(name, "greets the director; it sees the director's address, and needs no route to clients")
    yield _control("director", "passes the greeting on; from now on it reads every command and every reply")
    return None


def trace_data(example: Example, mode: Mode, *, tls: bool) -> Trace:
    """From the client's command to a relay between two data connections."""
    if tls:
        yield _said("client", 'says "AUTH TLS"')
        yield _said("director", 'answers "502": it would have to end TLS itself, which it does not offer')
        return Failure(
            reason=Reason.TLS_REFUSED,
            text="the proxy offers no TLS: a client that insists on it goes no further",
            remedy='use a kernel engine with placement "slices": TLS passes through it to the real servers',
        )
    passive = mode in PASSIVE
    if passive:
        yield _said("client", f'says "{mode.upper()}"')
    else:
        yield _said(
            "client",
            f'listens on port {example.client_listens.port} and says "{announcement_of(mode, example.client_listens)}"',
        )
    yield from _ask_server(example, mode)
    if passive:
        yield from _passive(example, mode)
    else:
        yield from _active(example)
    yield from _join(example, passive=passive)
    return None


def _control(at: str, text: str, sent: str = "") -> Step:
    return Step(at=at, text=text, packet=sent, phase=Phase.CONTROL)


def _said(at: str, text: str) -> Step:
    return Step(at=at, text=text, phase=Phase.ANNOUNCEMENT)


def _server_connects(example: Example, mode: Mode) -> bool:
    match example.virtual.data_to_server:
        case DataToServer.PASSIVE:
            return False
        case DataToServer.ACTIVE:
            return True
        case DataToServer.CLIENT:
            return mode not in PASSIVE


def _ask_server(example: Example, mode: Mode) -> Iterator[Step]:
    name = example.server.name
    if _server_connects(example, mode):
        verb = "PORT" if example.server.address.version == 4 else "EPRT"
        yield _said("director", f'tells {name} "{verb}" with an address and port of its own (data_to_server)')
        yield _said(name, 'answers "200"')
        return
    old = ", or PASV where the server knows no EPSV" if example.server.address.version == 4 else ""
    yield _said("director", f'asks {name} "EPSV"{old}: what the client said stays here')
    yield _said(name, "answers with a port; an address in a 227 is not looked at, so pasv_address does not matter")


def _passive(example: Example, mode: Mode) -> Iterator[Step]:
    yield _said(
        "director",
        f'answers "{announcement_of(mode, example.passive)}": the address that the client came to, and '
        + _LEASED.format(ports=example.virtual.passive_ports),
    )
    yield Step(
        at="client", text="opens the data connection", packet=packet("SYN", example.client_data, example.passive)
    )
    yield Step(
        at="director", text=f"accepts it if it comes from {example.client_address}, as the control connection does"
    )


def _active(example: Example) -> Iterator[Step]:
    yield _said(
        "director",
        f'checks that {example.client_address} is the client itself and the port not below 1024, and answers "200"',
    )
    source = Endpoint(example.address, example.virtual.port - 1)
    right = " (from any other where it lacks the privilege)" if source.port < 1024 else ""
    yield Step(
        at="director",
        text=f"opens the data connection when a transfer begins, from the virtual address, port {source.port}{right}",
        packet=packet("SYN", source, example.client_listens),
    )
    yield Step(at="client", text="takes it: it comes from the virtual address")


def _join(example: Example, *, passive: bool) -> Iterator[Step]:
    name = example.server.name
    mode = Mode.PASV if passive else Mode.PORT
    if _server_connects(example, mode):
        yield Step(
            at=name,
            text="opens its data connection to the director",
            packet=f"SYN {example.server.address} -> director",
        )
    else:
        yield Step(
            at="director",
            text=f"opens the other data connection, to the port that {name} named",
            packet=f"SYN director -> {example.server.address}",
        )
    yield Step(
        at="director",
        text='moves the bytes from one to the other inside the kernel (splice), and passes "226" on when the last one '
        "is handed over",
    )
