"""Kernel settings and modules: sysctl(8), modprobe(8). This module knows no reason to change them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ftpdirector.errors import HostError
from ftpdirector.host.run import run_program

_PROC_SYS: Final = Path("/proc/sys")
_SYS_MODULE: Final = Path("/sys/module")
_PROC_MODULES: Final = Path("/proc/modules")


def read_sysctl(key: str) -> str | None:
    """The value as it stands, blanks made single; None when the kernel has no such setting (yet)."""
    try:
        return " ".join(_sysctl_file(key).read_text().split())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"sysctl {key}: {error.strerror}") from error


def write_sysctl(key: str, value: str) -> None:
    """Set it now. Raises `HostError`."""
    try:
        _sysctl_file(key).write_text(value + "\n")
    except FileNotFoundError:
        raise HostError(f"sysctl {key}: this kernel has no such setting") from None
    except OSError as error:
        raise HostError(f"sysctl {key}: cannot be set to {value}: {error.strerror}") from error


def _sysctl_file(key: str) -> Path:
    return _PROC_SYS / key.replace(".", "/")


def module_options(name: str, wanted: str = "") -> str | None:
    """The options of a loaded module that `wanted` names, in its form (`ports=21,2121`); None when it is not loaded.

    A module that is built into the kernel counts as loaded.
    """
    folder = _SYS_MODULE / name
    if not folder.is_dir() and not _is_built_in(name):
        return None
    found: list[str] = []
    for option in wanted.split():
        key, _, _ = option.partition("=")
        try:
            value = (folder / "parameters" / key).read_text().strip()
        except OSError:
            continue
        values = [part for part in value.split(",") if part not in ("", "0")]
        found.append(f"{key}={','.join(values)}")
    return " ".join(found)


def _is_built_in(name: str) -> bool:
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    try:
        listed = Path(f"/lib/modules/{release}/modules.builtin").read_text()
    except OSError:
        return False
    return any(Path(line).stem.replace("-", "_") == name for line in listed.splitlines())


def load_module(name: str, options: str) -> None:
    """Load it, anew where it is loaded with other options. Raises `HostError`."""
    loaded = module_options(name, options)
    if loaded is not None and loaded != options:
        if _users(name):
            raise HostError(
                f"module {name} is loaded with {loaded}, has to be loaded anew with {options}, and is in use: end the "
                f"connections that it serves (modprobe -r {name} tells when), or reboot"
            )
        unload_module(name)
    run_program("modprobe", name, *options.split())


def is_in_use(name: str) -> bool:
    """Whether connections or other modules hold a loaded module."""
    return _users(name) > 0


def unload_module(name: str) -> None:
    """Unload it; a module that is in use stays. Raises `HostError` for another reason."""
    if not _is_loadable(name) or _users(name):
        return
    run_program("modprobe", "-r", name)


def _is_loadable(name: str) -> bool:
    return any(line.split()[0] == name for line in _PROC_MODULES.read_text().splitlines())


def _users(name: str) -> int:
    for line in _PROC_MODULES.read_text().splitlines():
        words = line.split()
        if words[0] == name:
            return int(words[2])
    return 0
