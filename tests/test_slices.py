"""Who has which part of the passive range."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ftpdirector.model import Cluster, Engine, PortRange, RealServer, VirtualServer
from ftpdirector.slices import moved, slice_marks, slice_of, slices_of

ALPHA = RealServer(name="alpha", address=ip_address("198.51.100.11"))
BRAVO = RealServer(name="bravo", address=ip_address("198.51.100.12"))
CHARLIE = RealServer(name="charlie", address=ip_address("198.51.100.13"))
FTP = VirtualServer(
    name="ftp",
    addresses=(ip_address("192.0.2.10"),),
    passive_ports=PortRange(10000, 10999),
    slices=4,
    real_servers=(ALPHA, BRAVO, CHARLIE),
)


def cluster(*virtuals: VirtualServer) -> Cluster:
    return Cluster(engine=Engine.IPVS, virtual_servers=virtuals)


def table(one: Cluster, virtual: VirtualServer = FTP) -> list[tuple[str, int, str]]:
    return [(each.server.name, each.slot, str(each.ports)) for each in slices_of(one, virtual)]


def test_first_free_slots_in_the_order_of_the_file() -> None:
    assert table(cluster(FTP)) == [
        ("alpha", 0, "10000-10249"), ("bravo", 1, "10250-10499"), ("charlie", 2, "10500-10749"),
    ]  # fmt: skip


def test_a_pinned_slot_is_left_free_by_the_others() -> None:
    pinned = replace(FTP, real_servers=(ALPHA, replace(BRAVO, slice=0), CHARLIE))
    assert [(name, slot) for name, slot, _ in table(cluster(pinned), pinned)] == [
        ("bravo", 0), ("alpha", 1), ("charlie", 2),
    ]  # fmt: skip


def test_two_ports_of_one_address_share_slices() -> None:
    """A real server announces its ports whatever port the client came to."""
    tls = replace(FTP, name="ftps", port=990, firewall_mark=990, real_servers=(CHARLIE, ALPHA))
    both = cluster(FTP, tls)
    assert slices_of(both, tls) == slices_of(both, FTP)
    assert slice_of(both, tls, replace(ALPHA, port=990)).slot == 0


def test_a_server_that_is_nowhere_has_no_slice() -> None:
    with pytest.raises(KeyError):
        slice_of(cluster(FTP), FTP, replace(ALPHA, address=ip_address("198.51.100.99")))


def test_marks_of_slices_are_the_free_ones_after_the_control_mark() -> None:
    other = replace(FTP, name="other", addresses=(ip_address("192.0.2.11"),), firewall_mark=23)
    assert list(slice_marks(cluster(FTP, other)).values()) == [(22, 24, 25, 26), (27, 28, 29, 30)]


def test_adding_at_the_end_moves_nobody_and_taking_from_the_middle_does() -> None:
    without = replace(FTP, real_servers=(ALPHA, CHARLIE))
    assert list(moved(cluster(without), cluster(replace(FTP, real_servers=(ALPHA, CHARLIE, BRAVO))))) == []
    [(virtual, had, will)] = moved(cluster(FTP), cluster(without))
    assert (virtual.name, had.server.name, had.slot, will.slot) == ("ftp", "charlie", 2, 1)


def test_pinning_keeps_a_slice() -> None:
    kept = replace(FTP, real_servers=(ALPHA, replace(CHARLIE, slice=2)))
    assert list(moved(cluster(FTP), cluster(kept))) == []
