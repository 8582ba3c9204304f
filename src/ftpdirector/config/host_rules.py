"""The rules that a cluster file keeps on one host and may break on another: files that can be read, addresses that are.

`check` and `run` ask them where they run; `check --no-host` does not. This module looks at nothing: it is given facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from ftpdirector.config.finding import Finding, place_of
from ftpdirector.model import Cluster, IPAddress


class HostFacts(Protocol):
    """What must be known of the host."""

    @property
    def service_user(self) -> str:
        """As whom the service of this host runs, where that is somebody else than the caller; else empty."""
        ...

    def has_address(self, address: IPAddress) -> bool:
        """Whether an interface has it."""
        ...

    def password_trouble(self, path: str) -> str:
        """Why the caller cannot use a password file; empty when it can."""
        ...

    def is_readable_for_service(self, path: str) -> bool:
        """Whether `service_user` may read a file."""
        ...


@dataclass(frozen=True, slots=True)
class HostRule:
    """One rule: as `finding.Rule`, with the host beside the cluster."""

    name: str
    is_problem: bool
    sentence: str
    look: Callable[[Cluster, HostFacts], Iterator[Finding]]


def _password_files(cluster: Cluster) -> Iterator[tuple[str, str]]:
    for virtual in cluster.virtual_servers:
        check = virtual.health_check
        if check.password_file is not None and check.probe.logs_in:
            yield f"{place_of(virtual)}: health_check: password_file", check.password_file


def _unusable_password(cluster: Cluster, host: HostFacts) -> Iterator[Finding]:
    for where, path in _password_files(cluster):
        trouble = host.password_trouble(path)
        if trouble:
            yield (
                where,
                f"{path} {trouble}: every probe would fail for the director's own reason",
                "write the password into its first line, and let the user that runs the director read it",
            )


def _password_of_others(cluster: Cluster, host: HostFacts) -> Iterator[Finding]:
    for where, path in _password_files(cluster):
        if host.service_user and not host.password_trouble(path) and not host.is_readable_for_service(path):
            yield (
                where,
                f'{path} cannot be read by "{host.service_user}", as which the service runs',
                "let that user or its group read it, or hand it over with LoadCredential= in the unit",
            )


def _address_nowhere(cluster: Cluster, host: HostFacts) -> Iterator[Finding]:
    if cluster.directors:
        return  # it floats: the director that is active has it
    for virtual in cluster.virtual_servers:
        for address in virtual.addresses:
            if not host.has_address(address):
                yield (
                    f"{place_of(virtual)}: address",
                    f"no interface of this host has {address}: no client can reach it here",
                    f"add it (ip address add {address}/{address.max_prefixlen} dev ...)",
                )


HOST_RULES: Final[tuple[HostRule, ...]] = (
    HostRule(
        "password-file",
        is_problem=True,
        sentence="The password file of a probe that logs in is there, not empty, and can be read.",
        look=_unusable_password,
    ),
    HostRule(
        "password-file-of-service",
        is_problem=False,
        sentence="The user that the installed unit names can read it, too.",
        look=_password_of_others,
    ),
    HostRule(
        "address-nowhere",
        is_problem=False,
        sentence="An interface of this host has each virtual address, unless directors take turns.",
        look=_address_nowhere,
    ),
)
