"""Any cluster file that is valid under the nftables engine, as a hypothesis strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from hypothesis import strategies as st

from ftpdirector.config.rules import problems_of
from ftpdirector.model import (
    PROXY_SCHEDULERS,
    Cluster,
    Engine,
    ForwardingMethod,
    IPAddress,
    Placement,
    PortRange,
    RealServer,
    VirtualServer,
)
from ftpdirector.state import Override
from ftpdirector.wanted import Wanted, want

NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
RANGES = (PortRange(10_000, 20_000), PortRange(1_024, 1_055), PortRange(20_001, 65_535), PortRange(40_000, 40_031))
REAL = {4: "198.51.100.{}", 6: "2001:db8:3::{:x}"}


@st.composite
def real_servers(draw: st.DrawFn, addresses: Sequence[IPAddress], first: int, port: int) -> tuple[RealServer, ...]:
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    sorry = draw(st.sampled_from((None, None, len(names) - 1)))
    return tuple(
        RealServer(
            name=name,
            address=ip_address(REAL[draw(st.sampled_from([one.version for one in addresses]))].format(first + place)),
            sorry=place == sorry,
            port=port,
            weight=draw(st.sampled_from((0, 1, 1, 2, 3, 100, 65_535))),
        )
        for place, name in enumerate(names)
    )


@st.composite
def virtual_servers(draw: st.DrawFn, number: int, name: str) -> VirtualServer:
    both = (ip_address(f"192.0.2.{10 + number}"), ip_address(f"2001:db8:2::{10 + number:x}"))
    addresses = draw(st.sampled_from((both, both[::-1], both[:1], both[1:])))
    port = draw(st.sampled_from((1, 2, 21, 990, 65_535)))
    placement = draw(st.sampled_from(Placement))
    persistence_s = draw(st.sampled_from((0.0, 0.4, 900.0, 90_000.0)))
    return VirtualServer(
        name=name,
        addresses=addresses,
        port=port,
        passive_ports=draw(st.sampled_from(RANGES)),
        slices=draw(st.sampled_from((5, 16, 32))),
        placement=placement,
        forwarding=draw(st.sampled_from((ForwardingMethod.NAT, ForwardingMethod.FULLNAT))),
        scheduler=draw(st.sampled_from(PROXY_SCHEDULERS)),
        persistence_timeout_s=persistence_s or (900.0 if placement is Placement.PERSISTENCE else 0.0),
        persistence_granularity_v4=draw(st.integers(0, 32)),
        persistence_granularity_v6=draw(st.integers(0, 128)),
        idle_timeout_s=draw(st.sampled_from((1.0, 900.0))),
        max_sessions=draw(st.sampled_from((0, 1, 10_000))),
        max_sessions_per_client=draw(st.sampled_from((0, 1, 50))),
        real_servers=draw(real_servers(addresses, 10 + 20 * number, port)),
    )


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    virtuals = [draw(virtual_servers(number, name)) for number, name in enumerate(names)]
    if len(virtuals) > 1 and draw(st.booleans()):
        # The same service on a second port: address, range and real servers are shared.
        first = virtuals[0]
        virtuals[1] = replace(first, name=virtuals[1].name, port=3_000, scheduler=virtuals[1].scheduler)
        if first.placement is not Placement.SLICES:
            virtuals[1] = replace(
                virtuals[1], real_servers=tuple(replace(one, port=3_000) for one in first.real_servers)
            )
    return Cluster(engine=Engine.NFTABLES, virtual_servers=tuple(virtuals))


@st.composite
def wanteds(draw: st.DrawFn) -> Wanted:
    """A valid cluster and what is offered of it."""
    cluster = draw(clusters().filter(lambda one: not problems_of(one, source="x")))
    keys = [(virtual.name, server.name) for virtual in cluster.virtual_servers for server in virtual.real_servers]
    drained = draw(st.sets(st.sampled_from(keys)))
    return want(cluster, {}, dict.fromkeys(drained, Override.DRAIN))
