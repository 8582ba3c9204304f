"""Files of the host: read, replace atomically, raise the limit of open files. This module knows no cluster."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import stat
from pathlib import Path

from ftpdirector.errors import HostError


def read_first_line(path: str) -> str:
    """The first line of a small file, without its end; OSError when it cannot be read."""
    with Path(path).open(encoding="utf-8", errors="surrogateescape") as file:
        return file.readline(4096).rstrip("\r\n")


def read_password(path: str) -> str:
    """The first line of a regular file, not empty; OSError when it cannot be read, ValueError for what is none.

    A pipe or a device is not opened: nobody may write to it for ever.
    """
    if "\0" in path:
        raise ValueError("is not a path")
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError("is not a regular file")
    line = read_first_line(path)
    if not line:
        raise ValueError("has no password in its first line")
    return line


def read_text(path: Path) -> str | None:
    """The whole file, any bytes in it kept, ends of lines too; None when there is none. Raises `HostError`."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"{path}: cannot be read: {error.strerror}") from error


def mode_of(path: Path) -> int | None:
    """The permission bits; None when there is no file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def replace_text(path: Path, text: str | None, *, mode: int | None = None) -> None:
    """Put the whole text in the place of the file, or remove it (None): a reader sees the old one or the new one.

    `mode` None keeps the permission bits that the file has (0644 where there is none). A link is followed: what it
    points to is replaced. Directories are made. One writer a file at a time: what one that was killed has left beside
    it goes with the next, or with `remove_half`. Raises `HostError`.
    """
    try:
        real = path.resolve()
        if text is None:
            real.unlink(missing_ok=True)
        else:
            real.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _write(real, text, mode if mode is not None else mode_of(real) or 0o644)
        _sync_directory(real.parent)
    except OSError as error:
        raise HostError(f"{path}: cannot be written: {error.strerror}") from error


def remove_half(path: Path) -> None:
    """Remove what a writer that was killed has left beside the file. Raises `HostError`."""
    try:
        _half_of(path.resolve()).unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error


def _write(path: Path, text: str, mode: int) -> None:
    half = _half_of(path)
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        half.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            half.unlink()
        raise


def _half_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.ftpdirector")


def _sync_directory(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_folder(path: Path, *, wanted: bool) -> None:
    """Make a directory, or remove it with the files in it. Raises `HostError`."""
    try:
        if wanted:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif path.is_dir():
            shutil.rmtree(path)
    except OSError as error:
        raise HostError(f"{path}: {error.strerror}") from error


def read_link(path: Path) -> str | None:
    """Where a symbolic link points; None when there is none."""
    try:
        return str(path.readlink())
    except (FileNotFoundError, OSError):
        return None


def replace_link(path: Path, target: str | None) -> None:
    """Make, replace or remove (None) a symbolic link. Raises `HostError`."""
    try:
        if path.is_symlink():
            path.unlink()
        if target is not None:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.symlink_to(target)
    except OSError as error:
        raise HostError(f"{path}: cannot be linked: {error.strerror}") from error


def raise_open_files_limit() -> int:
    """Raise the soft limit of open files to the hard one; the limit now in force."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def open_files_limit() -> int:
    """How many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
