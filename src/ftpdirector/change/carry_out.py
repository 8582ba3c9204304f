"""Carry a plan out as one transaction: all of it, or the host as it was, also when this process is killed in between.

The journal is on disk before the first change and gone after the last one. This module decides nothing about what is
wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ftpdirector.change.journal import Journal, Manifest, Memory, Original
from ftpdirector.change.plan import Change, Item, Key, Kind, difference, items_of
from ftpdirector.change.setup import HostSetup, Service
from ftpdirector.change.things import ON_DISK, Place, clear, look, put, shown
from ftpdirector.errors import EngineError, HostError
from ftpdirector.host import files, kernel, services
from ftpdirector.host.run import has_program, run_program

SAVED_IPTABLES = (
    ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6"),
    ("/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables"),
)
"""Where distributions keep rules: netfilter-persistent (Debian), the iptables service (Red Hat)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host to change: where its files stand, and what is remembered of it."""

    place: Place
    memory: Memory

    @property
    def is_live(self) -> bool:
        """Whether more than files may be changed."""
        return self.place.root == Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All changes, in order, and the services that are told of them; complete before the first one is made."""

    changes: tuple[Change, ...]
    tells: tuple[Service, ...]
    manifest: Manifest

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changes or self.tells)


def plan(host: Host, setup: HostSetup, *, cluster: str) -> Plan:
    """What would make the host agree; raises `HostError` when the kernel refuses a rule already."""
    before = host.memory.manifest()
    items = _items(host, setup)
    originals = before.by_key()
    found = {key: look(host.place, key, items.get(key)) for key in dict.fromkeys((*items, *originals))}
    changes = difference(items, found, originals)
    manifest = Manifest(
        cluster=cluster,
        originals=tuple(Original(key=key, before=originals.get(key, found[key])) for key in items),
        services=setup.services,
    )
    known = {service.unit: service for service in (*before.services, *setup.services)}
    tells = tuple(_tells(known.values(), changes, setup.services)) if host.is_live else ()
    return Plan(changes=changes, tells=tells, manifest=manifest)


def _items(host: Host, setup: HostSetup) -> dict[Key, Item]:
    items = items_of(setup, saved_paths=_saved_paths(host.place))
    if not host.is_live:
        return {key: item for key, item in items.items() if key.kind in ON_DISK}
    return {
        key: replace(item, shown=shown(key, item)) if key.kind in (Kind.NFT, Kind.IPTABLES) else item
        for key, item in items.items()
    }


def _saved_paths(place: Place) -> Mapping[int, str]:
    for v4, v6 in SAVED_IPTABLES:
        if place.path(v4).parent.is_dir():
            return {4: v4, 6: v6}
    return {4: SAVED_IPTABLES[0][0], 6: SAVED_IPTABLES[0][1]}


def _tells(known: Iterable[Service], changes: Sequence[Change], wanted: Sequence[Service]) -> Iterator[Service]:
    changed = {change.key.target.partition("\n")[0] for change in changes}
    for service in known:
        runs = services.is_running(service.unit, service.pid_file)
        if (runs and changed.intersection((service.main_file, *service.reads))) or (not runs and service in wanted):
            yield service


def apply(host: Host, planned: Plan, *, confirm_by_s: float = 0.0) -> None:
    """Carry it out. Raises `EngineError` that says what failed; the host is as it was then.

    With `confirm_by_s` the journal stays: `undo` takes everything back until `confirm` is called.
    """
    for service in planned.tells:
        _refuse_broken(host, service)
    journal = Journal(
        changes=planned.changes,
        tells=planned.tells,
        previous=host.memory.manifest(),
    )
    host.memory.write_journal(journal)
    try:
        wanted = {original.key for original in planned.manifest.originals}
        # A module of ours that is needed no longer is in use until the services have let go of it.
        late = [change for change in planned.changes if _goes(change) and change.key not in wanted]
        for change in planned.changes:
            if _goes(change) and change.key in wanted:
                _refuse_in_use(change)
            if change not in late:
                put(host.place, change.key, change.after, change.mode_after)
        if any(change.key.kind is Kind.LINK or change.key.target.endswith(".service") for change in planned.changes):
            _units_changed(host)
        for service in planned.tells:
            _tell(host, service)
        for change in late:
            put(host.place, change.key, change.after, change.mode_after)
    except HostError as error:
        undo(host)
        raise EngineError(f"{error}\nnothing has changed: everything was put back") from error
    host.memory.remember(planned.manifest)
    host.memory.write_journal(replace(journal, confirm_by_s=confirm_by_s) if confirm_by_s else None)


def _refuse_broken(host: Host, service: Service) -> None:
    """Its program must be there, and what others wrote must be good, before ours is added to it."""
    if service.needs and not has_program(service.needs):
        raise EngineError(f"{service.needs} is not installed ({service.reason}); nothing has changed")
    if service.test and files.read_text(host.place.path(service.main_file)) is not None:
        try:
            run_program(*service.test)
        except HostError as error:
            raise EngineError(f"{error}\nthat is so before any change: mend {service.main_file} first") from error


def _goes(change: Change) -> bool:
    return change.key.kind is Kind.MODULE and change.after is None


def _refuse_in_use(change: Change) -> None:
    name = change.key.target
    if kernel.is_in_use(name):
        raise HostError(
            f"module {name} must go ({change.reason}), and is in use: end the connections that it serves (modprobe -r "
            f"{name} tells when), or reboot"
        )


def confirm(host: Host) -> bool:
    """Keep what was applied; false when nothing waits for it."""
    journal = host.memory.journal()
    if journal is None or not journal.confirm_by_s:
        return False
    host.memory.write_journal(None)
    return True


def undo(host: Host) -> bool:
    """Take back what the journal says, done or half done; false when there is nothing to take back.

    Raises `EngineError` with what could not be put back; the journal stays then.
    """
    journal = host.memory.journal()
    if journal is None:
        return False
    failed: list[str] = []
    for change in reversed(journal.changes):
        if look(host.place, change.key, None).value != change.before or change.mode_before != change.mode_after:
            _try(failed, partial(put, host.place, change.key, change.before, change.mode_before))
        _try(failed, partial(clear, host.place, change.key))
    _try(failed, partial(_units_changed, host))
    for service in journal.tells:
        _try(failed, partial(_tell_of_old, host, service))
    if failed:
        raise EngineError("could not be put back:\n" + "\n".join(failed) + "\nmend it and try again")
    host.memory.remember(journal.previous)
    host.memory.write_journal(None)
    return True


def _try(failed: list[str], work: Callable[[], None]) -> None:
    try:
        work()
    except HostError as error:
        failed.append(str(error))


def _units_changed(host: Host) -> None:
    if host.is_live:
        services.read_units_anew()


def _tell(host: Host, service: Service) -> None:
    runs = services.is_running(service.unit, service.pid_file)
    if files.read_text(host.place.path(service.main_file)) is None:
        services.stop_service(service.unit, service.pid_file)
        return
    if service.test:
        run_program(*service.test)
    if runs and service.restarts:
        services.restart_service(service.unit, service.program, service.pid_file)
    elif runs:
        services.reload_service(service.unit, service.pid_file)
    else:
        services.start_service(service.unit, service.program)


def _tell_of_old(host: Host, service: Service) -> None:
    if services.is_running(service.unit, service.pid_file):
        _tell(host, service)
