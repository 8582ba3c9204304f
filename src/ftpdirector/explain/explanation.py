"""A cluster -> the path of each connection, as one value. This module prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftpdirector.explain import control, proxied
from ftpdirector.explain.data_path import data_path_of
from ftpdirector.explain.example import CLIENTS, Example, candidates, forwarding_clause, passive_ports_of, picked
from ftpdirector.explain.kernel import trace_data
from ftpdirector.explain.misconfigurations import misconfiguration_effects
from ftpdirector.explain.notes import notes_of
from ftpdirector.explain.path import (
    IPV4_ONLY,
    Explanation,
    Failure,
    Front,
    Mode,
    Path,
    PathVerdict,
    Reason,
    ServerRow,
    end_of,
    follow,
)
from ftpdirector.model import Cluster, Engine, IPAddress, VirtualServer


def explain(
    cluster: Cluster, *, modes: Sequence[Mode] = (), client: IPAddress | None = None, tls_only: bool = False
) -> Explanation:
    """Every virtual server, at each address that such a client can reach; all modes of its family unless `modes`."""
    return Explanation(
        engine=cluster.engine,
        fronts=tuple(
            _front(example, modes, tls_only=tls_only)
            for virtual in cluster.virtual_servers
            for address in virtual.addresses
            if client is None or client.version == address.version
            for example in examples_of(cluster, virtual, address, client)
        ),
    )


def examples_of(
    cluster: Cluster, virtual: VirtualServer, address: IPAddress, client: IPAddress | None = None
) -> Iterator[Example]:
    """One example, with the first real server that gets clients; none where no real server is of that family."""
    servers = list(picked(candidates(virtual, address, cluster.engine)))
    if not servers:
        return
    server, *others = servers
    ports, mark = passive_ports_of(cluster, virtual, server)
    yield Example(
        cluster=cluster,
        virtual=virtual,
        address=address,
        client_address=client or CLIENTS[address.version],
        server=server,
        other=others[0] if others else None,
        ports=ports,
        mark=mark,
        data_path=data_path_of(cluster, virtual),
    )


def path_of(example: Example, mode: Mode, *, tls: bool) -> Path:
    """One mode, plain or over TLS."""
    if mode in IPV4_ONLY and example.address.version == 6:
        return Path(mode=mode, tls=tls, verdict=end_of(_ipv4_only(mode)))
    trace = proxied.trace_data if example.cluster.engine is Engine.PROXY else trace_data
    steps, verdict = follow(trace(example, mode, tls=tls))
    return Path(mode=mode, tls=tls, steps=steps, verdict=verdict)


def _ipv4_only(mode: Mode) -> Failure:
    return Failure(
        reason=Reason.IPV4_ONLY,
        text=f"{mode.upper()} has room for an IPv4 address only (RFC 2428 section 1)",
        remedy="use EPSV or EPRT",
    )


def _front(example: Example, asked: Sequence[Mode], *, tls_only: bool) -> Front:
    v4 = example.address.version == 4
    modes = asked or [mode for mode in Mode if v4 or mode not in IPV4_ONLY]
    proxy = example.cluster.engine is Engine.PROXY
    steps, verdict = follow((proxied if proxy else control).trace_control(example))
    return Front(
        name=example.virtual.name,
        endpoint=str(example.front),
        summary=_summary(example),
        client=str(example.client_address),
        real_servers=tuple(_rows(example)),
        control=Path(steps=steps, verdict=verdict),
        ways=tuple(
            path_of(example, mode, tls=tls) for mode in modes for tls in ((True,) if tls_only else (False, True))
        ),
        mistakes=() if proxy else tuple(misconfiguration_effects(example, _of_family(modes, v4=v4), tls=tls_only)),
        notes=tuple(notes_of(example)),
    )


def _of_family(modes: Sequence[Mode], *, v4: bool) -> Sequence[Mode]:
    return [mode for mode in modes if v4 or mode not in IPV4_ONLY]


def _summary(example: Example) -> str:
    virtual = example.virtual
    if example.cluster.engine is Engine.PROXY:
        return f"scheduler {virtual.scheduler}; the director is the clients' server and the real servers' client"
    how = forwarding_clause(virtual.forwarding)
    return f"placement {virtual.placement}, scheduler {virtual.scheduler}; forwarding {how}"


def _rows(example: Example) -> Iterator[ServerRow]:
    cluster, virtual = example.cluster, example.virtual
    for server in candidates(virtual, example.address, cluster.engine):
        ports, mark = passive_ports_of(cluster, virtual, server)
        yield ServerRow(
            name=server.name,
            endpoint=str(server.endpoint),
            weight=server.weight,
            passive_ports="" if cluster.engine is Engine.PROXY else str(ports),
            mark="" if mark is None else str(mark),
            sorry=server.sorry,
        )


def verdict_of(example: Example, mode: Mode, *, tls: bool = False) -> PathVerdict:
    """Whether a mode works from the client's first SYN on."""
    _, verdict = follow(control.trace_control(example))
    return path_of(example, mode, tls=tls).verdict if verdict.works else verdict
