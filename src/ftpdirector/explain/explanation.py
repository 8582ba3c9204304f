"""A cluster -> the way of each connection, as one value. This module prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftpdirector.explain import control, proxied
from ftpdirector.explain.arrangement import arrange
from ftpdirector.explain.kernel import walk_data
from ftpdirector.explain.mistakes import mistakes_of
from ftpdirector.explain.notes import notes_of
from ftpdirector.explain.scene import CLIENTS, Scene, behind, forwarding_words, passive_ports_of, picked
from ftpdirector.explain.way import (
    IPV4_ONLY,
    Explanation,
    Failure,
    Front,
    Mode,
    Reason,
    ServerRow,
    Verdict,
    Way,
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
            _front(scene, modes, tls_only=tls_only)
            for virtual in cluster.virtual_servers
            for address in virtual.addresses
            if client is None or client.version == address.version
            for scene in scenes_of(cluster, virtual, address, client)
        ),
    )


def scenes_of(
    cluster: Cluster, virtual: VirtualServer, address: IPAddress, client: IPAddress | None = None
) -> Iterator[Scene]:
    """The one scene with the first real server that gets clients; none where no real server is of that family."""
    servers = list(picked(behind(virtual, address, cluster.engine)))
    if not servers:
        return
    server, *others = servers
    ports, mark = passive_ports_of(cluster, virtual, server)
    yield Scene(
        cluster=cluster,
        virtual=virtual,
        address=address,
        client_address=client or CLIENTS[address.version],
        server=server,
        other=others[0] if others else None,
        ports=ports,
        mark=mark,
        stands=arrange(cluster, virtual),
    )


def way_of(scene: Scene, mode: Mode, *, tls: bool) -> Way:
    """One mode, plain or over TLS."""
    if mode in IPV4_ONLY and scene.address.version == 6:
        return Way(mode=mode, tls=tls, verdict=end_of(_ipv4_only(mode)))
    walk = proxied.walk_data if scene.cluster.engine is Engine.PROXY else walk_data
    steps, verdict = follow(walk(scene, mode, tls=tls))
    return Way(mode=mode, tls=tls, steps=steps, verdict=verdict)


def _ipv4_only(mode: Mode) -> Failure:
    return Failure(
        reason=Reason.IPV4_ONLY,
        text=f"{mode.upper()} has room for an IPv4 address only (RFC 2428 section 1)",
        remedy="use EPSV or EPRT",
    )


def _front(scene: Scene, asked: Sequence[Mode], *, tls_only: bool) -> Front:
    v4 = scene.address.version == 4
    modes = asked or [mode for mode in Mode if v4 or mode not in IPV4_ONLY]
    proxy = scene.cluster.engine is Engine.PROXY
    steps, verdict = follow((proxied if proxy else control).walk_control(scene))
    return Front(
        name=scene.virtual.name,
        endpoint=str(scene.front),
        summary=_summary(scene),
        client=str(scene.client_address),
        real_servers=tuple(_rows(scene)),
        control=Way(steps=steps, verdict=verdict),
        ways=tuple(way_of(scene, mode, tls=tls) for mode in modes for tls in ((True,) if tls_only else (False, True))),
        mistakes=() if proxy else tuple(mistakes_of(scene, _of_family(modes, v4=v4), tls=tls_only)),
        notes=tuple(notes_of(scene)),
    )


def _of_family(modes: Sequence[Mode], *, v4: bool) -> Sequence[Mode]:
    return [mode for mode in modes if v4 or mode not in IPV4_ONLY]


def _summary(scene: Scene) -> str:
    virtual = scene.virtual
    if scene.cluster.engine is Engine.PROXY:
        return f"scheduler {virtual.scheduler}; the director is the clients' server and the real servers' client"
    how = forwarding_words(virtual.forwarding)
    return f"placement {virtual.placement}, scheduler {virtual.scheduler}; forwarding {how}"


def _rows(scene: Scene) -> Iterator[ServerRow]:
    cluster, virtual = scene.cluster, scene.virtual
    for server in behind(virtual, scene.address, cluster.engine):
        ports, mark = passive_ports_of(cluster, virtual, server)
        yield ServerRow(
            name=server.name,
            endpoint=str(server.endpoint),
            weight=server.weight,
            passive_ports="" if cluster.engine is Engine.PROXY else str(ports),
            mark="" if mark is None else str(mark),
            sorry=server.sorry,
        )


def verdict_of(scene: Scene, mode: Mode, *, tls: bool = False) -> Verdict:
    """Whether a mode works from the client's first SYN on."""
    _, verdict = follow(control.walk_control(scene))
    return way_of(scene, mode, tls=tls).verdict if verdict.works else verdict
