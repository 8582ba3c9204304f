"""The packet filters: nft(8), conntrack(8), iptables-save(8) and iptables-restore(8), as child processes.

In a process of its own, because libnftables may abort the one that it lives in. This module knows no rule.
"""

from __future__ import annotations

import re
from typing import Final

from ftpdirector.errors import HostError
from ftpdirector.host.run import has_program, run_program

_EMPTY_NETWORK: Final = ("unshare", "--net", "--")
_COUNTED: Final = re.compile(r"([^\s,{}][^,{}]*?) counter packets (\d+) bytes (\d+)")
_COUNTER: Final = re.compile(r"counter (\S+) \{\s+packets (\d+)")


def list_table(table: str) -> str | None:
    """A table as nft prints it, without counters; None when there is none (`table` is family and name)."""
    if table not in [line.removeprefix("table ") for line in run_program("nft", "list", "tables").splitlines()]:
        return None
    return run_program("nft", "--stateless", "list", "table", *table.split())


def list_ruleset() -> str:
    """Every table of everybody, as nft prints it; empty where nft is not installed."""
    return run_program("nft", "--stateless", "list", "ruleset") if has_program("nft") else ""


def load_nft(text: str) -> None:
    """Carry out an nft file as one transaction. Raises `HostError`; nothing has changed then."""
    run_program("nft", "--file", "-", given=text)


def delete_table(table: str) -> None:
    """Delete a table with all that is in it, or nothing when there is none."""
    load_nft(f"add table {table}\ndelete table {table}\n")


def list_as_loaded(text: str, table: str) -> str:
    """A table as nft would print it, had the file been loaded: in a network of its own, which ends with the call.

    Raises `HostError` when the kernel refuses the file.
    """
    script = 'nft --file - && exec nft --stateless list table "$1" "$2"'
    return _tried("nft", script, *table.split(), given=text)


def save_iptables(version: int) -> str:
    """Every rule of iptables (4) or ip6tables (6), as iptables-save prints them."""
    return run_program(_iptables(version, "save"))


def restore_iptables(version: int, text: str) -> None:
    """Carry out an iptables-restore text; one table is one transaction. What it does not name is left alone."""
    run_program(_iptables(version, "restore"), "--noflush", given=text)


def save_as_restored(version: int, text: str) -> str:
    """What iptables-save would print, had the text been restored into empty tables."""
    script = '"$1" --noflush && exec "$2"'
    return _tried("iptables", script, _iptables(version, "restore"), _iptables(version, "save"), given=text)


def test_iptables(version: int, text: str) -> None:
    """Try a file of iptables-restore without carrying it out. Raises `HostError` with what is wrong in it."""
    run_program(*_EMPTY_NETWORK, _iptables(version, "restore"), "--test", given=text)


def _tried(program: str, script: str, *arguments: str, given: str) -> str:
    try:
        return run_program(*_EMPTY_NETWORK, "sh", "-c", script, "sh", *arguments, given=given)
    except HostError as error:
        _, _, said = str(error).partition(": ")
        raise HostError(f"{program} refuses the rules, tried in an empty network: {said.strip() or error}") from error


def _iptables(version: int, verb: str) -> str:
    match version:
        case 4:
            return f"iptables-{verb}"
        case 6:
            return f"ip6tables-{verb}"
        case _:
            raise HostError(f"no packet filter for IPv{version}")


def has_chain(table: str, chain: str) -> bool:
    """Whether the table is there and has this chain."""
    try:
        run_program("nft", "list", "chain", *table.split(), chain)
    except HostError:
        return False
    return True


def list_counters(table: str) -> dict[str, int]:
    """The named counters of a table, in packets. Raises `HostError`, as when there is no table."""
    text = run_program("nft", "list", "counters", "table", *table.split())
    return {name: int(packets) for name, packets in _COUNTER.findall(text)}


def list_counting_set(table: str, name: str) -> dict[str, tuple[int, int]]:
    """What the elements of a set that counts have met: packets and bytes, by key. Raises `HostError`."""
    text = run_program("nft", "list", "set", *table.split(), name)
    elements = text.partition("elements = {")[2]
    return {key: (int(packets), int(size)) for key, packets, size in _COUNTED.findall(elements)}


def list_connections(version: int) -> str:
    """Every TCP connection of one family (4, 6) that the kernel tracks, one a line, as conntrack(8) prints them."""
    return run_program("conntrack", "-L", "-f", f"ipv{version}", "-p", "tcp")
