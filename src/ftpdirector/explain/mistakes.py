"""The usual mistakes, as a table: each changes one thing of the arrangement, and the same ways are walked again.

This module knows no reason why anything fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ftpdirector.explain.arrangement import Arrangement, Lookup
from ftpdirector.explain.control import walk_control
from ftpdirector.explain.kernel import walk_data
from ftpdirector.explain.scene import Scene
from ftpdirector.explain.way import Breakage, Mistake, Mode, Verdict, follow
from ftpdirector.model import Engine, ForwardingMethod


@dataclass(frozen=True, slots=True)
class Slip:
    """What somebody did, in words and as a change. It is told only where it applies and breaks something."""

    what: Callable[[Scene], str]
    applies: Callable[[Scene], bool]
    change: Callable[[Arrangement], Arrangement]
    remedy: Callable[[Scene], str] | None = None
    """What puts this one right, where the failure's own remedy would lead to another configuration."""


def mistakes_of(scene: Scene, modes: Sequence[Mode], *, tls: bool) -> Iterator[Mistake]:
    """Every slip that breaks one of the modes that works otherwise."""
    working = [mode for mode in modes if _verdict(scene, mode, tls=tls).works]
    for slip in SLIPS:
        if slip.applies(scene):
            changed = replace(scene, stands=slip.change(scene.stands))
            remedy = slip.remedy(scene) if slip.remedy else ""
            breaks = tuple(_breaks(changed, working, remedy, tls=tls))
            if breaks:
                yield Mistake(what=slip.what(scene), breaks=breaks)


def _breaks(scene: Scene, modes: Sequence[Mode], remedy: str, *, tls: bool) -> Iterator[Breakage]:
    found: dict[Verdict, list[str]] = {}
    for mode in modes:
        verdict = _verdict(scene, mode, tls=tls)
        if not verdict.works:
            found.setdefault(verdict, []).append(mode)
    for verdict, broken in found.items():
        yield Breakage(modes=tuple(broken), verdict=replace(verdict, remedy=remedy or verdict.remedy))


def _verdict(scene: Scene, mode: Mode, *, tls: bool) -> Verdict:
    _, control = follow(walk_control(scene))
    return follow(walk_data(scene, mode, tls=tls))[1] if control.works else control


def _by_ipvs(scene: Scene) -> bool:
    return scene.stands.engine is Engine.IPVS


def _by_nat(scene: Scene) -> bool:
    return scene.stands.forwarding is ForwardingMethod.NAT


def _ports_option(scene: Scene) -> str:
    port = scene.virtual.port
    return "" if port == 21 else f", with ports={port}"


def _helper(scene: Scene) -> str:
    return "ip_vs_ftp" if _by_ipvs(scene) else "nf_conntrack_ftp"


SLIPS: Final[tuple[Slip, ...]] = (
    Slip(
        lambda scene: f"{scene.words.address} is not set on {scene.server.name}",
        lambda scene: scene.stands.announces_virtual,
        lambda stands: replace(stands, announces_virtual=False),
    ),
    Slip(
        lambda scene: (
            f"{scene.words.address} is set to {scene.address} on {scene.server.name}, although the helper rewrites"
        ),
        lambda scene: scene.stands.helper,
        lambda stands: replace(stands, announces_virtual=True),
    ),
    Slip(
        lambda scene: (
            f"{_helper(scene)} is not loaded"
            + (
                f", or not for port {scene.virtual.port}"
                if _by_ipvs(scene)
                else ", or not given the control connection"
            )
        ),
        lambda scene: scene.stands.helper,
        lambda stands: replace(stands, helper=False),
        lambda scene: (
            f"load ip_vs_ftp at each boot{_ports_option(scene)}"
            if _by_ipvs(scene)
            else "assign it with a ct helper object: the kernel no longer does so by itself"
        ),
    ),
    Slip(
        lambda _: "no rule on the director needs connection tracking (ours do: a table of their own has a nat chain)",
        lambda scene: scene.stands.helper and scene.stands.lookup is Lookup.MARK,
        lambda stands: replace(stands, tracked=False),
        lambda _: "add any rule that needs connection tracking: one in a nat table, -m conntrack, or nft ct state",
    ),
    Slip(
        lambda _: "the control port alone gets the mark, not the passive range",
        lambda scene: scene.stands.takes_range and _by_ipvs(scene),
        lambda stands: replace(stands, takes_range=False),
    ),
    Slip(
        lambda _: "the virtual server is not persistent",
        lambda scene: scene.stands.takes_range,
        lambda stands: replace(stands, persistent=False),
    ),
    Slip(
        lambda scene: f"{scene.words.ports} of {scene.server.name}: the whole range, and not its slice",
        lambda scene: scene.stands.slices,
        lambda stands: replace(stands, in_slice=False),
    ),
    Slip(
        lambda scene: f"the real server of mark {scene.mark} is written with port {scene.server.port}",
        lambda scene: scene.stands.slices and _by_ipvs(scene) and _by_nat(scene),
        lambda stands: replace(stands, slice_port_kept=False),
    ),
    Slip(
        lambda _: "no rule translates the source of active data connections",
        lambda scene: scene.stands.translates_source,
        lambda stands: replace(stands, translates_source=False),
    ),
    Slip(
        lambda scene: (
            f"{scene.server.name} does not connect from port {scene.data_port} ({scene.words.data_port}), and no rule "
            "translates other source ports"
        ),
        lambda scene: not scene.stands.direct,
        lambda stands: replace(stands, from_data_port=False, translates_any_port=False),
    ),
    Slip(
        lambda scene: f"{scene.server.name} connects from port {scene.server.port - 1}: ftp_data_port is not set",
        lambda scene: scene.stands.direct and scene.stands.slices,
        lambda stands: replace(stands, from_data_port=False),
    ),
    Slip(
        lambda scene: f"port {scene.server.port - 1} of the virtual address does not get the mark",
        lambda scene: scene.stands.takes_data_port,
        lambda stands: replace(stands, takes_data_port=False),
    ),
    Slip(
        lambda scene: f"the default gateway of {scene.server.name} is not the director",
        _by_nat,
        lambda stands: replace(stands, routes_back=False),
    ),
    Slip(
        lambda _: "net.ipv4.vs.conntrack is 0, beside a FORWARD chain that drops what is invalid",
        # What ip_vs_ftp reads is tracked whatever that setting says (Documentation/networking/ipvs-sysctl.rst).
        lambda scene: _by_ipvs(scene) and _by_nat(scene) and not scene.stands.helper,
        lambda stands: replace(stands, let_pass=False),
    ),
    Slip(
        lambda scene: f"{scene.server.name} has no address {scene.address}",
        lambda scene: scene.stands.direct,
        lambda stands: replace(stands, holds_virtual=False),
    ),
    Slip(
        lambda scene: f"{scene.server.name} has {scene.address} on an interface that answers ARP",
        # Neighbour discovery answers for the addresses of its own interface only, so that IPv6 needs no setting.
        lambda scene: scene.stands.forwarding is ForwardingMethod.DR and scene.address.version == 4,
        lambda stands: replace(stands, silent=False),
    ),
    Slip(
        lambda scene: f"the tunnel device of {scene.server.name} is down, or its rp_filter is on",
        lambda scene: scene.stands.forwarding is ForwardingMethod.TUN,
        lambda stands: replace(stands, unpacks=False),
    ),
)
