"""A cluster file on this host: what is wrong with it here, beside what the file says. This module serves nobody."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ftpdirector.config.decode import Loaded, load
from ftpdirector.host.addresses import is_local
from ftpdirector.host.files import read_password
from ftpdirector.host.service_user import ServiceUser, may_read, service_user
from ftpdirector.model import IPAddress

_CREDENTIALS = "/run/credentials/"
"""What LoadCredential= hands over is there only while the service runs, and for it alone."""


class ThisHost:
    """What the rules ask of the host (`config.host_rules.HostFacts`).

    `for_service`: the caller asks for the director that the installed unit will start; else it is the director.
    """

    def __init__(self, *, for_service: bool) -> None:
        """Nothing is looked at yet."""
        self._user: ServiceUser | None = service_user() if for_service else None
        self._for_service = for_service

    @property
    def service_user(self) -> str:
        """Empty for the director itself."""
        return self._user.name if self._user else ""

    def has_address(self, address: IPAddress) -> bool:
        """Whether a socket can be bound to it; no for a family that is switched off."""
        try:
            return is_local(address)
        except OSError:
            return False

    def password_trouble(self, path: str) -> str:
        """Why it cannot be used."""
        if self._for_service and path.startswith(_CREDENTIALS):
            return ""
        return password_trouble(path)

    def is_readable_for_service(self, path: str) -> bool:
        """True where it cannot be known."""
        if self._user is None or path.startswith(_CREDENTIALS):
            return True
        return may_read(self._user, path) is not False


def password_trouble(path: str) -> str:
    """Why the caller cannot use a password file, as the end of a sentence about it; empty when it can."""
    try:
        read_password(path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except ValueError as error:
        return str(error)
    return ""


@cache
def _service() -> ThisHost:
    return ThisHost(for_service=True)


def note_for_service(path: Path | None) -> str:
    """A sentence when the service could not read a password file that the caller can; else empty."""
    if path is None or not _service().service_user or _service().is_readable_for_service(str(path.absolute())):
        return ""
    return f'{path} cannot be read by "{_service().service_user}", as which the service runs'


def load_here(path: Path) -> Loaded:
    """`config.decode.load`, with the rules about this host: their problems are a ConfigError, too."""
    return load(path, host=ThisHost(for_service=False))
