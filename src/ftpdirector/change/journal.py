"""What is remembered of a host between two commands: what is ours, how it was before, and a change that is under way.

Kept in one directory, each file replaced atomically, so that a power cut at any moment leaves something to go on from.
This module changes nothing of the host but its own files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from ftpdirector.change.plan import Change, Found, Key
from ftpdirector.change.setup import Service
from ftpdirector.errors import EngineError
from ftpdirector.host.files import read_text, replace_text

DIRECTORY: Final = "/var/lib/ftpdirector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A thing that is ours, and how it was before."""

    key: Key
    before: Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was applied: the cluster file's text, and everything that is ours."""

    cluster: str = ""
    originals: tuple[Original, ...] = ()
    services: tuple[Service, ...] = ()

    def by_key(self) -> Mapping[Key, Found]:
        """How each thing was before."""
        return {original.key: original.before for original in self.originals}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A change that is under way, or done and not confirmed: enough to undo it, whoever began it."""

    changes: tuple[Change, ...]
    tells: tuple[Service, ...]
    confirm_by_s: float = 0.0
    """Seconds since the epoch; 0 while it is under way."""
    previous: Manifest = Manifest()
    """What was remembered before."""


_T = TypeVar("_T")
_MANIFEST: Final = TypeAdapter(Manifest)
_JOURNAL: Final = TypeAdapter(Journal)


class Memory:
    """The directory."""

    def __init__(self, directory: Path) -> None:
        """Nothing is read yet."""
        self._manifest = directory / "manifest.json"
        self._journal = directory / "journal.json"
        self._lock = directory / "lock"

    @contextlib.contextmanager
    def locked(self) -> Generator[None, None, None]:
        """One command at a time; an `EngineError` when another one is at it."""
        self._lock.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise EngineError("another ftpdirector command is changing this host; wait until it has ended") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def manifest(self) -> Manifest:
        """What was applied last; empty when nothing was."""
        return _read(self._manifest, _MANIFEST) or Manifest()

    def remember(self, manifest: Manifest) -> None:
        """Nothing of ours is left when it holds nothing: the file goes then."""
        keep = bool(manifest.originals)
        replace_text(self._manifest, _MANIFEST.dump_json(manifest).decode() if keep else None, mode=0o600)

    def journal(self) -> Journal | None:
        """A change that is under way or not confirmed."""
        return _read(self._journal, _JOURNAL)

    def write_journal(self, journal: Journal | None) -> None:
        """None: it is over."""
        replace_text(self._journal, None if journal is None else _JOURNAL.dump_json(journal).decode(), mode=0o600)


def _read(path: Path, kind: TypeAdapter[_T]) -> _T | None:
    text = read_text(path)
    if text is None:
        return None
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        raise EngineError(f"{path} is not what ftpdirector wrote: {error.error_count()} problems") from None
