"""Any cluster file that is valid under the IPVS engine, as a hypothesis strategy."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import strategies as st

from ftpdirector.config.rules import problems_of
from ftpdirector.model import (
    IPVS_SCHEDULERS,
    Cluster,
    Director,
    Engine,
    ForwardingMethod,
    HealthCheck,
    HostSettings,
    PacketFilter,
    Placement,
    VirtualServer,
    Vrrp,
)
from tests.engines.nftables.clusters import NAMES, RANGES, real_servers


@st.composite
def virtual_servers(draw: st.DrawFn, number: int, name: str) -> VirtualServer:
    both = (ip_address(f"192.0.2.{10 + number}"), ip_address(f"2001:db8:2::{10 + number:x}"))
    addresses = draw(st.sampled_from((both, both[:1], both[1:])))
    gateways = (ip_address(f"198.51.100.{1 + number}"), ip_address(f"2001:db8:3::{1 + number:x}"))
    port = draw(st.sampled_from((2, 21, 990)))
    placement = draw(st.sampled_from(Placement))
    forwarding = draw(st.sampled_from((ForwardingMethod.NAT, ForwardingMethod.DR, ForwardingMethod.TUN)))
    persistence_s = draw(st.sampled_from((0.0, 0.4, 900.0, 90_000.0)))
    return VirtualServer(
        name=name,
        addresses=addresses,
        gateway_addresses=gateways if forwarding is ForwardingMethod.NAT and draw(st.booleans()) else (),
        port=port,
        passive_ports=draw(st.sampled_from(RANGES)),
        slices=draw(st.sampled_from((5, 16, 32))),
        placement=placement,
        forwarding=forwarding,
        scheduler=draw(st.sampled_from(IPVS_SCHEDULERS)),
        firewall_mark=1_000 * (1 + number),
        persistence_timeout_s=persistence_s or (900.0 if placement is Placement.PERSISTENCE else 0.0),
        persistence_granularity_v4=draw(st.integers(1, 32)),
        persistence_granularity_v6=draw(st.integers(1, 128)),
        health_check=HealthCheck(
            interval_s=draw(st.sampled_from((1.0, 6.0, 3_600.0))), timeout_s=draw(st.sampled_from((0.2, 1.0)))
        ),
        real_servers=draw(real_servers(addresses, 10 + 20 * number, port)),
    )


@st.composite
def _any(draw: st.DrawFn) -> Cluster:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    directors = (
        Director(name="director-a", address=ip_address("203.0.113.2"), priority=draw(st.integers(1, 254))),
        Director(name="director-b", address=ip_address("203.0.113.3"), priority=draw(st.integers(1, 254))),
    )
    return Cluster(
        engine=Engine.IPVS,
        virtual_servers=tuple(draw(virtual_servers(number, name)) for number, name in enumerate(names)),
        directors=directors if draw(st.booleans()) else (),
        vrrp=Vrrp(virtual_router_id=draw(st.integers(1, 254)), sync_id=draw(st.integers(0, 255))),
        host=HostSettings(
            external_interface="outside", internal_interface="inside", packet_filter=draw(st.sampled_from(PacketFilter))
        ),
    )


def clusters() -> st.SearchStrategy[Cluster]:
    """A cluster without a problem."""
    return _any().filter(lambda one: not problems_of(one, source="x"))
