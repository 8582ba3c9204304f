"""Examples to trace: those of an example file, or of a cluster made here."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from ftpdirector.config.decode import load
from ftpdirector.explain.example import Example
from ftpdirector.explain.explanation import examples_of
from ftpdirector.explain.path import Mode
from ftpdirector.model import (
    Cluster,
    Engine,
    ForwardingMethod,
    Placement,
    RealServer,
    ServerSoftware,
    VirtualServer,
)

EXAMPLES = sorted((Path(__file__).parent.parent.parent / "examples").glob("*.toml"))
ADDRESSES = {
    4: ("192.0.2.10", "198.51.100.11", "198.51.100.12"),
    6: ("2001:db8:2::10", "2001:db8:3::11", "2001:db8:3::12"),
}


def examples_from(name: str) -> list[Example]:
    """One for each virtual server and address of an example file."""
    cluster = load(EXAMPLES[0].parent / f"{name}.toml").cluster
    return [
        example
        for virtual in cluster.virtual_servers
        for address in virtual.addresses
        for example in examples_of(cluster, virtual, address)
    ]


def made(
    engine: Engine,
    placement: Placement = Placement.SLICES,
    forwarding: ForwardingMethod = ForwardingMethod.NAT,
    *,
    version: int = 4,
    software: ServerSoftware = ServerSoftware.VSFTPD,
    port: int = 21,
    timeout_s: float | None = None,
) -> Example:
    """Two real servers of one kind behind one address."""
    front, alpha, bravo = map(ip_address, ADDRESSES[version])
    if timeout_s is None:
        timeout_s = 900 if placement is Placement.PERSISTENCE else 0
    virtual = VirtualServer(
        name="ftp",
        addresses=(front,),
        port=port,
        placement=placement,
        forwarding=forwarding,
        persistence_timeout_s=timeout_s,
        real_servers=(
            RealServer(name="alpha", address=alpha, port=port, server=software),
            RealServer(name="bravo", address=bravo, port=port, server=software),
        ),
    )
    [example] = examples_of(Cluster(engine=engine, virtual_servers=(virtual,)), virtual, front)
    return example


def alone(example: Example) -> Example:
    """The same with one real server only."""
    return replace(example, other=None)


def modes_of(example: Example) -> tuple[Mode, ...]:
    """Those that can name an address of its family."""
    return tuple(Mode) if example.address.version == 4 else (Mode.EPSV, Mode.EPRT)
