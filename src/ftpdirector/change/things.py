"""Look at one thing of the host, and make it what it is to be: one pair of functions a kind.

This module knows no plan and no reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ftpdirector.change.plan import Found, Item, Key, Kind
from ftpdirector.change.saved import ours_in, restoring, with_ours
from ftpdirector.host import files, kernel, packetfilter
from ftpdirector.nft.listing import canonical, parse_table, reworded, with_elements_of
from ftpdirector.nft.transaction import transaction

ON_DISK: Final = frozenset({Kind.FILE, Kind.LINE, Kind.SAVED, Kind.LINK})
"""The kinds that outlive a boot; with `--root` there are no others."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where files stand: `/`, or the directory that `--root` names."""

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """An absolute path of the host, below the root."""
        return self.root / name.lstrip("/")


def shown(key: Key, item: Item) -> str | None:
    """How the host would tell the item if it were there. Raises `HostError` when the kernel refuses it."""
    match key.kind:
        case Kind.NFT:
            return canonical(packetfilter.list_as_loaded(item.value or "", key.target))
        case Kind.IPTABLES:
            version = int(key.target)
            return ours_in(packetfilter.save_as_restored(version, restoring(item.value or "", present="")))
        case _:
            return item.value


def look(place: Place, key: Key, item: Item | None) -> Found:
    """What the thing is now; `item` is what it is to be, where that tells what to look at."""
    return _LOOK[key.kind](place, key, item)


def put(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    """Make it so; None removes it. Raises `HostError`."""
    _PUT[key.kind](place, key, value, mode)


def clear(place: Place, key: Key) -> None:
    """Remove what a command that was killed while it put the thing has left beside it. Raises `HostError`."""
    if key.kind in (Kind.FILE, Kind.LINE, Kind.SAVED):
        files.remove_half(place.path(key.target.partition("\n")[0]))


def _look_module(place: Place, key: Key, item: Item | None) -> Found:
    del place
    return Found(value=kernel.module_options(key.target, (item and item.value) or ""))


def _put_module(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del place, mode
    if value is None:
        kernel.unload_module(key.target)
    else:
        kernel.load_module(key.target, value)


def _look_sysctl(place: Place, key: Key, item: Item | None) -> Found:
    del place, item
    return Found(value=kernel.read_sysctl(key.target))


def _put_sysctl(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del place, mode
    if value is not None:  # a setting that came with a module goes with it
        kernel.write_sysctl(key.target, value)


def _look_nft(place: Place, key: Key, item: Item | None) -> Found:
    del place, item
    listed = packetfilter.list_table(key.target)
    return Found(value=None if listed is None else canonical(listed))


def _put_nft(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del place, mode
    present = packetfilter.list_table(key.target)
    if value is None:
        packetfilter.delete_table(key.target)
    elif present is None:
        packetfilter.load_nft(value)
    else:
        # What packets have put into the table stays: persistence, who may open data connections.
        shown = parse_table(packetfilter.list_as_loaded(value, key.target))
        wanted = with_elements_of(shown, parse_table(value))
        packetfilter.load_nft(transaction(reworded(parse_table(present), shown=shown, wanted=wanted), wanted))


def _look_iptables(place: Place, key: Key, item: Item | None) -> Found:
    del place, item
    return Found(value=ours_in(packetfilter.save_iptables(int(key.target))) or None)


def _put_iptables(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del place, mode
    version = int(key.target)
    present = ours_in(packetfilter.save_iptables(version))
    packetfilter.restore_iptables(version, restoring(value or "", present=present))


def _look_folder(place: Place, key: Key, item: Item | None) -> Found:
    del item
    return Found(value="" if place.path(key.target).is_dir() else None)


def _put_folder(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del mode
    files.keep_folder(place.path(key.target), wanted=value is not None)


def _look_file(place: Place, key: Key, item: Item | None) -> Found:
    del item
    path = place.path(key.target)
    return Found(value=files.read_text(path), mode=files.mode_of(path))


def _put_file(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    files.replace_text(place.path(key.target), value, mode=mode)


def _look_line(place: Place, key: Key, item: Item | None) -> Found:
    del item
    name, _, line = key.target.partition("\n")
    text = files.read_text(place.path(name)) or ""
    return Found(value=line if line in text.splitlines() else None)


def _put_line(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del mode
    name, _, line = key.target.partition("\n")
    path = place.path(name)
    lines = [present for present in (files.read_text(path) or "").splitlines() if present != line]
    if value is not None:
        lines.append(line)
    text = "".join(f"{text_line}\n" for text_line in lines)
    files.replace_text(path, text or None)  # a file that held our line alone goes with it


def _look_saved(place: Place, key: Key, item: Item | None) -> Found:
    del item
    return Found(value=ours_in(files.read_text(place.path(key.target)) or "") or None)


def _put_saved(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del mode
    path = place.path(key.target)
    files.replace_text(path, with_ours(files.read_text(path) or "", value or "") or None)


def _look_link(place: Place, key: Key, item: Item | None) -> Found:
    del item
    return Found(value=files.read_link(place.path(key.target)))


def _put_link(place: Place, key: Key, value: str | None, mode: int | None) -> None:
    del mode
    files.replace_link(place.path(key.target), value)


_LOOK: Final[Mapping[Kind, Callable[[Place, Key, Item | None], Found]]] = {
    Kind.MODULE: _look_module,
    Kind.SYSCTL: _look_sysctl,
    Kind.NFT: _look_nft,
    Kind.IPTABLES: _look_iptables,
    Kind.FOLDER: _look_folder,
    Kind.FILE: _look_file,
    Kind.LINE: _look_line,
    Kind.SAVED: _look_saved,
    Kind.LINK: _look_link,
}
_PUT: Final[Mapping[Kind, Callable[[Place, Key, str | None, int | None], None]]] = {
    Kind.MODULE: _put_module,
    Kind.SYSCTL: _put_sysctl,
    Kind.NFT: _put_nft,
    Kind.IPTABLES: _put_iptables,
    Kind.FOLDER: _put_folder,
    Kind.FILE: _put_file,
    Kind.LINE: _put_line,
    Kind.SAVED: _put_saved,
    Kind.LINK: _put_link,
}
