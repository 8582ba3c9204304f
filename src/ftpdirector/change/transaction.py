"""Carry a plan out as one transaction: all of it, or the host as it was, also when this process is killed in between.

The journal is on disk before the first change and gone after the last one. This module decides nothing about what is
desired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ftpdirector.change.journal import Journal, Manifest, Original, StateStore
from ftpdirector.change.plan import Actual, Change, Desired, ResourceId, ResourceKind, desired_resources, difference
from ftpdirector.change.resources import ON_DISK, Place, read_actual, remove_leftovers, saved_text, shown, write_value
from ftpdirector.change.setup import HostService, HostSetup
from ftpdirector.errors import EngineError, HostError
from ftpdirector.host import files, kernel, packetfilter, services
from ftpdirector.host.run import has_program, run_program

SAVED_IPTABLES = (
    ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6"),
    ("/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables"),
)
"""Where distributions keep rules: netfilter-persistent (Debian), the iptables service (Red Hat)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host to change: where its files are, and the state that is kept of it between two commands."""

    place: Place
    store: StateStore

    @property
    def is_live(self) -> bool:
        """Whether more than files may be changed."""
        return self.place.root == Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All changes, in order, and the services to notify of them; complete before the first one is made."""

    changes: tuple[Change, ...]
    notifies: tuple[HostService, ...]
    manifest: Manifest

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changes or self.notifies)


def plan(host: Host, setup: HostSetup, *, cluster: str, named: HostSetup | None = None) -> Plan:
    """What would make the host agree. Raises `HostError` when the kernel refuses a rule, tried in an empty network.

    `named` is everything that may be ours by its name alone. Without a manifest, as when the state directory is lost,
    it is taken for ours, and for something that was not there before.
    """
    before = host.store.manifest()
    desired_by_id = _desired(host, setup)
    originals = before.originals_by_id()
    if not originals and named is not None:
        originals = _by_name(host, named)
        before = replace(before, services=named.services if originals else ())
    actual = {
        key: read_actual(host.place, key, desired_by_id.get(key)) for key in dict.fromkeys((*desired_by_id, *originals))
    }
    changes = difference(desired_by_id, actual, originals)
    manifest = Manifest(
        cluster=cluster,
        originals=tuple(Original(key=key, before=originals.get(key, actual[key])) for key in desired_by_id),
        services=setup.services,
    )
    known = {service.unit: service for service in (*before.services, *setup.services)}
    notifies = tuple(_services_to_notify(known.values(), changes, setup.services)) if host.is_live else ()
    return Plan(changes=changes, notifies=notifies, manifest=manifest)


def _desired(host: Host, setup: HostSetup) -> dict[ResourceId, Desired]:
    desired_by_id = desired_resources(setup, saved_paths=_saved_paths(host.place))
    if not host.is_live:
        return {key: desired for key, desired in desired_by_id.items() if key.kind in ON_DISK}
    return {
        key: replace(desired, shown=shown(key, desired))
        if key.kind in (ResourceKind.NFT, ResourceKind.IPTABLES)
        else desired
        for key, desired in desired_by_id.items()
    }


def _by_name(host: Host, named: HostSetup) -> dict[ResourceId, Actual]:
    keys = dict.fromkeys(
        key for v4, v6 in SAVED_IPTABLES for key in desired_resources(named, saved_paths={4: v4, 6: v6})
    )
    found: dict[ResourceId, Actual] = {}
    for key in keys:
        if _may_be_read(host, key):
            actual = read_actual(host.place, key, None)
            if actual.value is not None:
                # Nobody knows whether there was a file of saved rules before: an empty one does no harm.
                found[key] = Actual(value=None, mode=actual.mode if key.kind is ResourceKind.SAVED else None)
    return found


def _may_be_read(host: Host, key: ResourceId) -> bool:
    match key.kind:
        case ResourceKind.NFT:
            return host.is_live and has_program("nft")
        case ResourceKind.IPTABLES:
            return host.is_live and has_program("iptables-save" if key.target == "4" else "ip6tables-save")
        case kind:
            return host.is_live or kind in ON_DISK


def _saved_paths(place: Place) -> Mapping[int, str]:
    for v4, v6 in SAVED_IPTABLES:
        if place.path(v4).parent.is_dir():
            return {4: v4, 6: v6}
    return {4: SAVED_IPTABLES[0][0], 6: SAVED_IPTABLES[0][1]}


def _services_to_notify(
    known: Iterable[HostService], changes: Sequence[Change], wanted: Sequence[HostService]
) -> Iterator[HostService]:
    changed = {change.key.target.partition("\n")[0] for change in changes}
    for service in known:
        runs = services.is_running(service.unit, service.pid_file)
        if (runs and changed.intersection((service.main_file, *service.reads))) or (not runs and service in wanted):
            yield service


def apply(host: Host, planned: Plan, *, confirm_by_s: float = 0.0) -> None:
    """Carry the plan out. Raises `EngineError` that says what failed; the host is as it was then.

    With `confirm_by_s` the journal stays: `undo` takes everything back until `confirm` is called.
    """
    for service in planned.notifies:
        _refuse_broken(host, service)
    for change in planned.changes:
        if change.key.kind is ResourceKind.SAVED and host.is_live:
            _refuse_unloadable(host, change)
    journal = Journal(
        changes=planned.changes,
        notifies=planned.notifies,
        previous=host.store.manifest(),
    )
    host.store.write_journal(journal)
    try:
        wanted = {original.key for original in planned.manifest.originals}
        # A module of ours that is needed no longer is in use until the services have let go of it.
        late = [change for change in planned.changes if _is_unload(change) and change.key not in wanted]
        for change in planned.changes:
            if _is_unload(change) and change.key in wanted:
                _refuse_in_use(change)
            if change not in late:
                write_value(host.place, change.key, change.after, change.mode_after)
        if any(
            change.key.kind is ResourceKind.LINK or change.key.target.endswith(".service") for change in planned.changes
        ):
            _units_changed(host)
        for service in planned.notifies:
            _notify(host, service)
        for change in late:
            write_value(host.place, change.key, change.after, change.mode_after)
    except HostError as error:
        undo(host)
        raise EngineError(f"{error}\nnothing has changed: everything was put back") from error
    host.store.remember(planned.manifest)
    host.store.write_journal(replace(journal, confirm_by_s=confirm_by_s) if confirm_by_s else None)


def _refuse_broken(host: Host, service: HostService) -> None:
    """Its program must be there, and what others wrote must be good, before ours is added to it."""
    if service.needs and not has_program(service.needs):
        raise EngineError(f"{service.needs} is not installed ({service.reason}); nothing has changed")
    if service.test and files.read_text(host.place.path(service.main_file)) is not None:
        try:
            run_program(*service.test)
        except HostError as error:
            raise EngineError(f"{error}\nthat is so before any change: mend {service.main_file} first") from error


def _refuse_unloadable(host: Host, change: Change) -> None:
    """Saved rules must load at boot: they are tried with our part and, where that fails, without this change.

    What others have broken does not keep us from taking our part out.
    """
    version = 6 if any(change.key.target == v6 for _, v6 in SAVED_IPTABLES) else 4
    try:
        packetfilter.test_iptables(version, saved_text(host.place, change.key, change.after))
    except HostError as error:
        try:
            packetfilter.test_iptables(version, files.read_text(host.place.path(change.key.target)) or "")
        except HostError as before:
            if change.after is None:
                return
            raise EngineError(f"{before}\nthat is so before any change: mend {change.key.target} first") from before
        raise EngineError(f"{change.key.target} would not load at boot: {error}\nnothing has changed") from error


def _is_unload(change: Change) -> bool:
    return change.key.kind is ResourceKind.MODULE and change.after is None


def _refuse_in_use(change: Change) -> None:
    name = change.key.target
    if kernel.is_in_use(name):
        raise HostError(
            f"module {name} must go ({change.reason}), and is in use: end the connections that it serves (modprobe -r "
            f"{name} tells when), or reboot"
        )


def confirm(host: Host) -> bool:
    """Keep what was applied; false when nothing waits for it."""
    journal = host.store.journal()
    if journal is None or not journal.confirm_by_s:
        return False
    host.store.write_journal(None)
    return True


def undo(host: Host) -> bool:
    """Take back what the journal says, done or half done; false when there is nothing to take back.

    Raises `EngineError` with what could not be put back; the journal stays then.
    """
    journal = host.store.journal()
    if journal is None:
        return False
    failed: list[str] = []
    for change in reversed(journal.changes):
        if read_actual(host.place, change.key, None).value != change.before or change.mode_before != change.mode_after:
            _try(failed, partial(write_value, host.place, change.key, change.before, change.mode_before))
        _try(failed, partial(remove_leftovers, host.place, change.key))
    _try(failed, partial(_units_changed, host))
    for service in journal.notifies:
        _try(failed, partial(_notify_if_running, host, service))
    if failed:
        raise EngineError("could not be put back:\n" + "\n".join(failed) + "\nmend it and try again")
    host.store.remember(journal.previous)
    host.store.write_journal(None)
    return True


def _try(failed: list[str], work: Callable[[], None]) -> None:
    try:
        work()
    except HostError as error:
        failed.append(str(error))


def _units_changed(host: Host) -> None:
    if host.is_live:
        services.daemon_reload()


def _notify(host: Host, service: HostService) -> None:
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


def _notify_if_running(host: Host, service: HostService) -> None:
    if services.is_running(service.unit, service.pid_file):
        _notify(host, service)
