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
from typing import Annotated, Final, TypeVar

from pydantic import AliasChoices, Field, TypeAdapter, ValidationError

from ftpdirector.change.plan import Actual, Change, ResourceId
from ftpdirector.change.setup import HostService
from ftpdirector.errors import EngineError
from ftpdirector.host.files import read_text, replace_text

DIRECTORY: Final = "/var/lib/ftpdirector"

_T = TypeVar("_T")
_OR_TELLS: Final = Field(validation_alias=AliasChoices("notifies", "tells"))
"""A journal of version 0.1 says `tells`: an upgrade must not lose the way back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A resource that is ours, and what it was before."""

    key: ResourceId
    before: Actual


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was applied: the cluster file's text, and everything that is ours."""

    cluster: str = ""
    originals: tuple[Original, ...] = ()
    services: tuple[HostService, ...] = ()

    def originals_by_id(self) -> Mapping[ResourceId, Actual]:
        """What each resource was before it was ours."""
        return {original.key: original.before for original in self.originals}


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """A change that is under way, or done and not confirmed: enough to undo it, whoever began it."""

    changes: tuple[Change, ...]
    notifies: Annotated[tuple[HostService, ...], _OR_TELLS]
    confirm_by_s: float = 0.0
    """Seconds since the epoch; 0 while it is under way."""
    previous: Manifest = Manifest()
    """What was remembered before."""


_MANIFEST: Final = TypeAdapter(Manifest)
_JOURNAL: Final = TypeAdapter(Journal)


class StateStore:
    """The directory where the state is kept: manifest, journal, lock."""

    def __init__(self, directory: Path) -> None:
        """`directory` is made when the lock is first taken."""
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
        """What was applied last; empty when nothing was. Raises `EngineError` for a file that is not ours."""
        return _read(self._manifest, _MANIFEST) or Manifest()

    def remember(self, manifest: Manifest) -> None:
        """Keep the manifest; the file is removed when nothing of ours is left. Raises `HostError`."""
        keep = bool(manifest.originals)
        replace_text(self._manifest, _MANIFEST.dump_json(manifest).decode() if keep else None, mode=0o600)

    def journal(self) -> Journal | None:
        """A change that is under way or not confirmed. Raises `EngineError` for a file that is not ours."""
        return _read(self._journal, _JOURNAL)

    def write_journal(self, journal: Journal | None) -> None:
        """Keep the journal; None: the change is over. Raises `HostError`."""
        replace_text(self._journal, None if journal is None else _JOURNAL.dump_json(journal).decode(), mode=0o600)


def _read(path: Path, kind: TypeAdapter[_T]) -> _T | None:
    text = read_text(path)
    if text is None:
        return None
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        raise EngineError(f"{path} is not what ftpdirector wrote: {error.error_count()} problems") from None
