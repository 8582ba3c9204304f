"""Read one resource of the host, and write it: one pair of functions a kind.

This module knows no plan and no reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ftpdirector.change.plan import Actual, Desired, ResourceId, ResourceKind
from ftpdirector.change.saved import ours_in, restoring, with_ours
from ftpdirector.host import files, kernel, packetfilter
from ftpdirector.nft.listing import canonical, parse_table, reworded, with_elements_of
from ftpdirector.nft.objects import Table, format_table
from ftpdirector.nft.transaction import transaction

ON_DISK: Final = frozenset({ResourceKind.FILE, ResourceKind.LINE, ResourceKind.SAVED, ResourceKind.LINK})
"""The kinds that outlive a boot; with `--root` there are no others."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where files stand: `/`, or the directory that `--root` names."""

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """An absolute path of the host, below the root."""
        return self.root / name.lstrip("/")


def shown(key: ResourceId, desired: Desired) -> str | None:
    """How the host would print the resource if it had it. Raises `HostError` when the kernel refuses it."""
    match key.kind:
        case ResourceKind.NFT:
            return canonical(packetfilter.list_as_loaded(desired.value or "", key.target))
        case ResourceKind.IPTABLES:
            version = int(key.target)
            return ours_in(packetfilter.save_as_restored(version, restoring(desired.value or "", present="")))
        case _:
            return desired.value


def read_actual(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    """What the resource is now; `desired` tells which options of a module matter. Raises `HostError`."""
    return _READERS[key.kind](place, key, desired)


def write_value(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    """Write the value; None removes the resource. Raises `HostError`.

    `mode` are the permission bits of a file of ours; of a file of someone else it says, when our part is removed,
    whether there was one before (None: there was none).
    """
    _WRITERS[key.kind](place, key, value, mode)


def remove_leftovers(place: Place, key: ResourceId) -> None:
    """Remove what a command that was killed while it wrote has left beside a file. Raises `HostError`."""
    if key.kind in (ResourceKind.FILE, ResourceKind.LINE, ResourceKind.SAVED):
        files.remove_half(place.path(key.target.partition("\n")[0]))


def _read_module(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del place
    return Actual(value=kernel.module_options(key.target, (desired and desired.value) or ""))


def _write_module(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    del place, mode
    if value is None:
        kernel.unload_module(key.target)
    else:
        kernel.load_module(key.target, value)


def _read_sysctl(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del place, desired
    return Actual(value=kernel.read_sysctl(key.target))


def _write_sysctl(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    del place, mode
    if value is not None:  # a setting that came with a module goes with it
        kernel.write_sysctl(key.target, value)


def _read_nft(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del place, desired
    listed = packetfilter.list_table(key.target)
    return Actual(value=None if listed is None else canonical(listed))


def _write_nft(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    del place, mode
    if value is None:  # removing needs no reading: whatever is in it goes with it
        packetfilter.delete_table(key.target)
        return
    listed = packetfilter.list_table(key.target)
    if listed is None:
        packetfilter.load_nft(value)
        return
    present, given = parse_table(listed), parse_table(value)
    if _has_foreign(present) or _has_foreign(given):
        # What others have put into our table may be tied to anything in it, and goes or comes with the whole.
        packetfilter.load_nft(f"add table {key.target}\ndelete table {key.target}\n{format_table(given)}")
        return
    # What packets have put into the table stays: persistence, who may open data connections.
    as_shown = parse_table(packetfilter.list_as_loaded(value, key.target))
    wanted = with_elements_of(as_shown, given)
    packetfilter.load_nft(transaction(reworded(present, shown=as_shown, wanted=wanted), wanted))


def _has_foreign(table: Table) -> bool:
    return bool(table.foreign or table.options)


def _read_iptables(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del place, desired
    return Actual(value=ours_in(packetfilter.save_iptables(int(key.target))) or None)


def _write_iptables(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    del place, mode
    version = int(key.target)
    present = ours_in(packetfilter.save_iptables(version))
    packetfilter.restore_iptables(version, restoring(value or "", present=present))


def _read_folder(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del desired
    return Actual(value="" if place.path(key.target).is_dir() else None)


def _write_folder(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    del mode
    files.keep_folder(place.path(key.target), wanted=value is not None)


def _read_file(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del desired
    path = place.path(key.target)
    return Actual(value=files.read_text(path), mode=files.mode_of(path))


def _write_file(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    files.replace_text(place.path(key.target), value, mode=mode)


def _read_line(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del desired
    name, _, line = key.target.partition("\n")
    path = place.path(name)
    is_there = any(_is_line(present, line) for present in (files.read_text(path) or "").split("\n"))
    return Actual(value=line if is_there else None, mode=files.mode_of(path))


def _write_line(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    name, _, line = key.target.partition("\n")
    path = place.path(name)
    lines = [present for present in (files.read_text(path) or "").split("\n") if not _is_line(present, line)] or [""]
    if value is not None:
        # Last; but first before a last line that has no end, which would need one else.
        lines.insert(len(lines) - 1 if lines[-1] == "" else 0, line)
    _write_foreign(path, "\n".join(lines), is_ours=value is None and mode is None)


def _is_line(present: str, line: str) -> bool:
    return present.rstrip("\r") == line


def _write_foreign(path: Path, text: str, *, is_ours: bool) -> None:
    """Write a file of someone else; one that was made for us is removed when nothing is left in it."""
    if text or path.exists():
        files.replace_text(path, None if is_ours and not text else text)


def _read_saved(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del desired
    path = place.path(key.target)
    return Actual(value=ours_in(files.read_text(path) or "") or None, mode=files.mode_of(path))


def _write_saved(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    path = place.path(key.target)
    text = saved_text(place, key, value)
    _write_foreign(path, text, is_ours=value is None and mode is None)


def saved_text(place: Place, key: ResourceId, value: str | None) -> str:
    """What a file of saved iptables rules is to hold with `value` as our part. Raises `HostError`."""
    return with_ours(files.read_text(place.path(key.target)) or "", value or "")


def _read_link(place: Place, key: ResourceId, desired: Desired | None) -> Actual:
    del desired
    return Actual(value=files.read_link(place.path(key.target)))


def _write_link(place: Place, key: ResourceId, value: str | None, mode: int | None) -> None:
    del mode
    files.replace_link(place.path(key.target), value)


_READERS: Final[Mapping[ResourceKind, Callable[[Place, ResourceId, Desired | None], Actual]]] = {
    ResourceKind.MODULE: _read_module,
    ResourceKind.SYSCTL: _read_sysctl,
    ResourceKind.NFT: _read_nft,
    ResourceKind.IPTABLES: _read_iptables,
    ResourceKind.FOLDER: _read_folder,
    ResourceKind.FILE: _read_file,
    ResourceKind.LINE: _read_line,
    ResourceKind.SAVED: _read_saved,
    ResourceKind.LINK: _read_link,
}
_WRITERS: Final[Mapping[ResourceKind, Callable[[Place, ResourceId, str | None, int | None], None]]] = {
    ResourceKind.MODULE: _write_module,
    ResourceKind.SYSCTL: _write_sysctl,
    ResourceKind.NFT: _write_nft,
    ResourceKind.IPTABLES: _write_iptables,
    ResourceKind.FOLDER: _write_folder,
    ResourceKind.FILE: _write_file,
    ResourceKind.LINE: _write_line,
    ResourceKind.SAVED: _write_saved,
    ResourceKind.LINK: _write_link,
}
