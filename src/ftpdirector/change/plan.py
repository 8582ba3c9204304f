"""What a host is to have, against what it has: the changes between the two, complete before the first is made.

Everything that can change is a `Key` with a text as its value, or None where it is not there; so that undoing a change
is the change the other way round. This module touches no host.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ftpdirector.change.saved import block_of
from ftpdirector.change.setup import TABLE, HostSetup


class Kind(StrEnum):
    """What can change, in the order in which it is put in place (and, backwards, undone)."""

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
class Key:
    """One thing of the host: a file by its path, a setting by its name, a line by file and text."""

    kind: Kind
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What a thing is to be, None where it must not be there; `shown`: in the host's words, where they are others."""

    value: str | None
    shown: str | None = None
    mode: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a thing is now; None where it is not there."""

    value: str | None
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From what is to what is to be."""

    key: Key
    before: str | None
    after: str | None
    shown: str | None = None
    """`after` in the form of `before`, for the diff."""
    mode_before: int | None = None
    mode_after: int | None = None
    reason: str = ""


def items_of(setup: HostSetup, *, saved_paths: Mapping[int, str]) -> dict[Key, Item]:
    """Every thing that a host is to have. `saved_paths` tells where the host keeps its iptables rules, by family."""
    items: dict[Key, Item] = {}
    for module in setup.modules:
        items[Key(Kind.MODULE, module.name)] = Item(value=module.options, reason=module.reason)
    for module in setup.without:
        items[Key(Kind.MODULE, module.name)] = Item(value=None, reason=module.reason)
    for sysctl in setup.sysctls:
        items[Key(Kind.SYSCTL, sysctl.key)] = Item(value=sysctl.value, reason=sysctl.reason)
    if setup.rules.nft:
        items[Key(Kind.NFT, TABLE)] = Item(value=setup.rules.nft)
    for version, chains in ((4, setup.rules.iptables), (6, setup.rules.ip6tables)):
        if chains:
            items[Key(Kind.IPTABLES, str(version))] = Item(value=block_of(chains))
            if version in saved_paths:
                items[Key(Kind.SAVED, saved_paths[version])] = Item(
                    value=block_of(chains), reason="loaded at boot by the distribution's service"
                )
    for folder in setup.folders:
        items[Key(Kind.FOLDER, folder.path)] = Item(value="", reason=folder.reason)
    for file in setup.files:
        items[Key(Kind.FILE, file.path)] = Item(value=file.text, mode=file.mode)
    for line in setup.lines:
        items[Key(Kind.LINE, f"{line.path}\n{line.line}")] = Item(value=line.line, reason=line.reason)
    for link in setup.links:
        items[Key(Kind.LINK, link.path)] = Item(value=link.to, reason=link.reason)
    return items


def difference(
    items: Mapping[Key, Item], found: Mapping[Key, Found], originals: Mapping[Key, Found]
) -> tuple[Change, ...]:
    """The changes that make `found` what `items` say; what is ours and no longer wanted goes back to what it was."""
    changes = [_towards(key, item, found[key]) for key, item in items.items()]
    changes += [_back(key, found[key], original) for key, original in originals.items() if key not in items]
    order = list(Kind)
    return tuple(
        sorted((change for change in changes if change is not None), key=lambda change: order.index(change.key.kind))
    )


def _towards(key: Key, item: Item, found: Found) -> Change | None:
    same = found.value == (item.value if item.shown is None else item.shown)
    if same and (item.mode is None or item.mode == found.mode):
        return None
    return Change(
        key=key,
        before=found.value,
        after=item.value,
        shown=item.shown,
        mode_before=found.mode,
        mode_after=item.mode,
        reason=item.reason,
    )


def _back(key: Key, found: Found, original: Found) -> Change | None:
    if found.value == original.value:
        return None
    return Change(
        key=key,
        before=found.value,
        after=original.value,
        mode_before=found.mode,
        mode_after=original.mode,
        reason="as it was before ftpdirector",
    )


def format_change(change: Change) -> Iterator[str]:
    """Lines for a person: a heading, and a diff where the value has lines."""
    target = change.key.target.replace("\n", ": ")
    verb = "add" if change.before is None else "remove" if change.after is None else "change"
    why = f"  # {change.reason}" if change.reason else ""
    match change.key.kind:
        case Kind.MODULE:
            yield f"{verb} module {target} {change.after or ''}".rstrip() + why
        case Kind.SYSCTL:
            yield f"set {target} = {change.after} (was {change.before}){why}"
        case Kind.LINE | Kind.LINK | Kind.FOLDER:
            yield f"{verb} {change.key.kind} {target}{why}"
        case Kind.FILE | Kind.NFT | Kind.IPTABLES | Kind.SAVED:
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
