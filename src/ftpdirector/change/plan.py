"""What a host is to have, against what it has: the changes between the two, complete before the first is made.

Everything that can change is a resource: a `ResourceId` with a text as its value, or None where it does not exist; so
that undoing a change is the change the other way round. This module touches no host.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ftpdirector.change.saved import block_of
from ftpdirector.change.setup import TABLE, HostSetup


class ResourceKind(StrEnum):
    """What can change, in the order in which it is applied (and, backwards, undone)."""

    MODULE = "module"
    SYSCTL = "sysctl"
    NFT = "nft"
    IPTABLES = "iptables"
    FOLDER = "folder"
    FILE = "file"
    LINE = "line"
    SAVED = "saved"
    LINK = "link"


@dataclass(frozen=True, slots=True, order=True)
class ResourceId:
    """One resource of the host: a file by its path, a setting by its name, a line by file and text."""

    kind: ResourceKind
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What a resource is to be, None where it must not exist; `shown`: as the host prints it, where that differs."""

    value: str | None
    shown: str | None = None
    mode: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What a resource is now; None where it does not exist."""

    value: str | None
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From what is to what is to be."""

    key: ResourceId
    before: str | None
    after: str | None
    shown: str | None = None
    """`after` in the form of `before`, for the diff."""
    mode_before: int | None = None
    mode_after: int | None = None
    reason: str = ""


def desired_resources(setup: HostSetup, *, saved_paths: Mapping[int, str]) -> dict[ResourceId, Desired]:
    """Every resource that a host is to have. `saved_paths` tells where the host keeps its iptables rules, by family."""
    desired_by_id: dict[ResourceId, Desired] = {}
    for module in setup.modules:
        desired_by_id[ResourceId(ResourceKind.MODULE, module.name)] = Desired(
            value=module.options, reason=module.reason
        )
    for module in setup.without:
        desired_by_id[ResourceId(ResourceKind.MODULE, module.name)] = Desired(value=None, reason=module.reason)
    for sysctl in setup.sysctls:
        desired_by_id[ResourceId(ResourceKind.SYSCTL, sysctl.key)] = Desired(value=sysctl.value, reason=sysctl.reason)
    if setup.rules.nft:
        desired_by_id[ResourceId(ResourceKind.NFT, TABLE)] = Desired(value=setup.rules.nft)
    for version, chains in ((4, setup.rules.iptables), (6, setup.rules.ip6tables)):
        if chains:
            desired_by_id[ResourceId(ResourceKind.IPTABLES, str(version))] = Desired(value=block_of(chains))
            if version in saved_paths:
                desired_by_id[ResourceId(ResourceKind.SAVED, saved_paths[version])] = Desired(
                    value=block_of(chains), reason="loaded at boot by the distribution's service"
                )
    for folder in setup.folders:
        desired_by_id[ResourceId(ResourceKind.FOLDER, folder.path)] = Desired(value="", reason=folder.reason)
    for file in setup.files:
        desired_by_id[ResourceId(ResourceKind.FILE, file.path)] = Desired(value=file.text, mode=file.mode)
    for line in setup.lines:
        desired_by_id[ResourceId(ResourceKind.LINE, f"{line.path}\n{line.line}")] = Desired(
            value=line.line, reason=line.reason
        )
    for link in setup.links:
        desired_by_id[ResourceId(ResourceKind.LINK, link.path)] = Desired(value=link.to, reason=link.reason)
    return desired_by_id


def difference(
    desired_by_id: Mapping[ResourceId, Desired],
    actual_by_id: Mapping[ResourceId, Actual],
    originals: Mapping[ResourceId, Actual],
) -> tuple[Change, ...]:
    """The changes from actual to desired; what is ours and no longer desired goes back to its original."""
    changes = [_towards(key, desired, actual_by_id[key]) for key, desired in desired_by_id.items()]
    changes += [
        _back(key, actual_by_id[key], original) for key, original in originals.items() if key not in desired_by_id
    ]
    order = list(ResourceKind)
    return tuple(
        sorted((change for change in changes if change is not None), key=lambda change: order.index(change.key.kind))
    )


def _towards(key: ResourceId, desired: Desired, actual: Actual) -> Change | None:
    same = actual.value == (desired.value if desired.shown is None else desired.shown)
    if same and (desired.mode is None or desired.mode == actual.mode):
        return None
    return Change(
        key=key,
        before=actual.value,
        after=desired.value,
        shown=desired.shown,
        mode_before=actual.mode,
        mode_after=desired.mode,
        reason=desired.reason,
    )


def _back(key: ResourceId, actual: Actual, original: Actual) -> Change | None:
    if actual.value == original.value:
        return None
    return Change(
        key=key,
        before=actual.value,
        after=original.value,
        mode_before=actual.mode,
        mode_after=original.mode,
        reason="as it was before ftpdirector",
    )


def format_change(change: Change) -> Iterator[str]:
    """Lines for a person: a heading, and a diff where the value has lines."""
    target = change.key.target.replace("\n", ": ")
    verb = "add" if change.before is None else "remove" if change.after is None else "change"
    why = f"  # {change.reason}" if change.reason else ""
    match change.key.kind:
        case ResourceKind.MODULE:
            yield f"{verb} module {target} {change.after or ''}".rstrip() + why
        case ResourceKind.SYSCTL:
            yield f"set {target} = {change.after} (was {change.before}){why}"
        case ResourceKind.LINE | ResourceKind.LINK | ResourceKind.FOLDER:
            yield f"{verb} {change.key.kind} {target}{why}"
        case ResourceKind.FILE | ResourceKind.NFT | ResourceKind.IPTABLES | ResourceKind.SAVED:
            yield f"{verb} {change.key.kind} {target}{why}"
            if change.after is not None:  # what goes away is nothing to read again
                yield from _diff(change.before or "", change.after if change.shown is None else change.shown)
            if change.mode_before not in (None, change.mode_after) and change.mode_after is not None:
                yield f"    mode {change.mode_before:04o} -> {change.mode_after:04o}"


def _diff(before: str, after: str) -> Iterator[str]:
    if not before:  # difflib takes a second to find that out of a hundred thousand lines
        yield from (f"    +{line}" for line in after.splitlines())
        return
    lines: Sequence[str] = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1))
    yield from (f"    {line}" for line in lines[2:])
