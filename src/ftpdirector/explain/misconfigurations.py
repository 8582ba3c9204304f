"""The usual misconfigurations, as a table: each changes one value of the data path, and connections are traced again.

This module knows no reason why anything fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ftpdirector.explain.control import trace_control
from ftpdirector.explain.data_path import DataPath, Lookup
from ftpdirector.explain.example import Example
from ftpdirector.explain.kernel import trace_data
from ftpdirector.explain.path import Breakage, MisconfigurationEffect, Mode, PathVerdict, follow
from ftpdirector.model import Engine, ForwardingMethod


@dataclass(frozen=True, slots=True)
class Misconfiguration:
    """What is set otherwise, in words and as a change of the data path. It is told only where it breaks something."""

    what: Callable[[Example], str]
    applies: Callable[[Example], bool]
    change: Callable[[DataPath], DataPath]
    remedy: Callable[[Example], str] | None = None
    """What puts this one right, where the failure's own remedy would lead to another configuration."""


def misconfiguration_effects(example: Example, modes: Sequence[Mode], *, tls: bool) -> Iterator[MisconfigurationEffect]:
    """Every misconfiguration that breaks one of the modes that work without it."""
    working = [mode for mode in modes if _verdict(example, mode, tls=tls).works]
    for misconfiguration in MISCONFIGURATIONS:
        if misconfiguration.applies(example):
            changed = replace(example, data_path=misconfiguration.change(example.data_path))
            remedy = misconfiguration.remedy(example) if misconfiguration.remedy else ""
            breaks = tuple(_breaks(changed, working, remedy, tls=tls))
            if breaks:
                yield MisconfigurationEffect(what=misconfiguration.what(example), breaks=breaks)


def _breaks(example: Example, modes: Sequence[Mode], remedy: str, *, tls: bool) -> Iterator[Breakage]:
    found: dict[PathVerdict, list[str]] = {}
    for mode in modes:
        verdict = _verdict(example, mode, tls=tls)
        if not verdict.works:
            found.setdefault(verdict, []).append(mode)
    for verdict, broken in found.items():
        yield Breakage(modes=tuple(broken), verdict=replace(verdict, remedy=remedy or verdict.remedy))


def _verdict(example: Example, mode: Mode, *, tls: bool) -> PathVerdict:
    _, control = follow(trace_control(example))
    return follow(trace_data(example, mode, tls=tls))[1] if control.works else control


def _by_ipvs(example: Example) -> bool:
    return example.data_path.engine is Engine.IPVS


def _by_nat(example: Example) -> bool:
    return example.data_path.forwarding is ForwardingMethod.NAT


def _ports_option(example: Example) -> str:
    port = example.virtual.port
    return "" if port == 21 else f", with ports={port}"


def _helper(example: Example) -> str:
    return "ip_vs_ftp" if _by_ipvs(example) else "nf_conntrack_ftp"


MISCONFIGURATIONS: Final[tuple[Misconfiguration, ...]] = (
    Misconfiguration(
        lambda example: f"{example.setting_names.address} is not set on {example.server.name}",
        lambda example: example.data_path.announces_virtual,
        lambda data_path: replace(data_path, announces_virtual=False),
    ),
    Misconfiguration(
        lambda example: (
            f"{example.setting_names.address} is set to {example.address} on {example.server.name}, although the "
            "helper rewrites"
        ),
        lambda example: example.data_path.helper,
        lambda data_path: replace(data_path, announces_virtual=True),
    ),
    Misconfiguration(
        lambda example: (
            f"{_helper(example)} is not loaded"
            + (
                f", or not for port {example.virtual.port}"
                if _by_ipvs(example)
                else ", or not given the control connection"
            )
        ),
        lambda example: example.data_path.helper,
        lambda data_path: replace(data_path, helper=False),
        lambda example: (
            f"load ip_vs_ftp at each boot{_ports_option(example)}"
            if _by_ipvs(example)
            else "assign it with a ct helper object: the kernel no longer does so by itself"
        ),
    ),
    Misconfiguration(
        lambda _: "no rule on the director needs connection tracking (ours do: a table of their own has a nat chain)",
        lambda example: example.data_path.helper and example.data_path.lookup is Lookup.MARK,
        lambda data_path: replace(data_path, tracked=False),
        lambda _: "add any rule that needs connection tracking: one in a nat table, -m conntrack, or nft ct state",
    ),
    Misconfiguration(
        lambda _: "the control port alone gets the mark, not the passive range",
        lambda example: example.data_path.takes_range and _by_ipvs(example),
        lambda data_path: replace(data_path, takes_range=False),
    ),
    Misconfiguration(
        lambda _: "the virtual server is not persistent",
        lambda example: example.data_path.takes_range,
        lambda data_path: replace(data_path, persistent=False),
    ),
    Misconfiguration(
        lambda example: f"{example.setting_names.ports} of {example.server.name}: the whole range, and not its slice",
        lambda example: example.data_path.slices,
        lambda data_path: replace(data_path, in_slice=False),
    ),
    Misconfiguration(
        lambda example: f"the real server of mark {example.mark} is written with port {example.server.port}",
        lambda example: example.data_path.slices and _by_ipvs(example) and _by_nat(example),
        lambda data_path: replace(data_path, slice_port_kept=False),
    ),
    Misconfiguration(
        lambda _: "no rule translates the source of active data connections",
        lambda example: example.data_path.translates_source,
        lambda data_path: replace(data_path, translates_source=False),
    ),
    Misconfiguration(
        lambda example: (
            f"{example.server.name} does not connect from port {example.data_port} "
            f"({example.setting_names.data_port}), and no rule "
            "translates other source ports"
        ),
        lambda example: not example.data_path.direct,
        lambda data_path: replace(data_path, from_data_port=False, translates_any_port=False),
    ),
    Misconfiguration(
        lambda example: f"{example.server.name} connects from port {example.server.port - 1}: ftp_data_port is not set",
        lambda example: example.data_path.direct and example.data_path.slices,
        lambda data_path: replace(data_path, from_data_port=False),
    ),
    Misconfiguration(
        lambda example: f"port {example.server.port - 1} of the virtual address does not get the mark",
        lambda example: example.data_path.takes_data_port,
        lambda data_path: replace(data_path, takes_data_port=False),
    ),
    Misconfiguration(
        lambda example: f"the default gateway of {example.server.name} is not the director",
        _by_nat,
        lambda data_path: replace(data_path, routes_back=False),
    ),
    Misconfiguration(
        lambda _: "net.ipv4.vs.conntrack is 0, beside a FORWARD chain that drops what is invalid",
        # What ip_vs_ftp reads is tracked whatever that setting says (Documentation/networking/ipvs-sysctl.rst).
        lambda example: _by_ipvs(example) and _by_nat(example) and not example.data_path.helper,
        lambda data_path: replace(data_path, let_pass=False),
    ),
    Misconfiguration(
        lambda example: f"{example.server.name} has no address {example.address}",
        lambda example: example.data_path.direct,
        lambda data_path: replace(data_path, holds_virtual=False),
    ),
    Misconfiguration(
        lambda example: f"{example.server.name} has {example.address} on an interface that answers ARP",
        # Neighbour discovery answers for the addresses of its own interface only, so that IPv6 needs no setting.
        lambda example: example.data_path.forwarding is ForwardingMethod.DR and example.address.version == 4,
        lambda data_path: replace(data_path, silent=False),
    ),
    Misconfiguration(
        lambda example: f"the tunnel device of {example.server.name} is down, or its rp_filter is on",
        lambda example: example.data_path.forwarding is ForwardingMethod.TUN,
        lambda data_path: replace(data_path, unpacks=False),
    ),
)
