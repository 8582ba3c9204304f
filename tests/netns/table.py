"""Cluster files for the hosts of lab.netns, and their tables put into the director's kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lab.netns.hosts import PASSIVE, VIRTUAL, Host, address_of

from ftpdirector.config.decode import decode
from ftpdirector.engines.nftables.compile import compile_table
from ftpdirector.model import Cluster
from ftpdirector.nft.objects import Table
from ftpdirector.nft.transaction import boot_file, transaction
from ftpdirector.state import Override
from ftpdirector.wanted import want

_SETTINGS = {"slices": 8, "scheduler": "rr", "passive_ports": f"{PASSIVE[0]}-{PASSIVE[1]}"}


def cluster_of(numbers: Sequence[int], versions: Sequence[int] = (4, 6), **settings: object) -> Cluster:
    """One virtual server `ftp` before the real servers of these numbers, named `real-NUMBER-VERSION`."""
    return decode(text_of(numbers, versions, **settings), source="test")


def text_of(numbers: Sequence[int], versions: Sequence[int] = (4, 6), **settings: object) -> str:
    """Its file. `weights`, `real_port`, `most`, `sorry` (a number) go to real servers, `check` to the health check."""
    addresses = ", ".join(f'"{VIRTUAL[version]}"' for version in versions)
    text = f'engine = "nftables"\n[[virtual_server]]\nname = "ftp"\naddress = [{addresses}]\n'
    weights = settings.pop("weights", {})
    assert isinstance(weights, Mapping)
    port = settings.pop("real_port", 21)
    check = settings.pop("check", "")
    most = settings.pop("most", 0)
    sorry = settings.pop("sorry", 0)
    for key, value in {**_SETTINGS, **settings}.items():
        text += f"{key} = {value}\n" if isinstance(value, int) else f'{key} = "{value}"\n'
    if check:
        text += f"[virtual_server.health_check]\n{check}\n"
    for version in versions:
        for number in numbers:
            text += (
                f'[[virtual_server.real_server]]\nname = "real-{number}-{version}"\n'
                f'address = "{address_of(number, version)}"\nweight = {weights.get(number, 1)}\nport = {port}\n'
                f"max_sessions = {most}\nsorry = {str(number == sorry).lower()}\n"
            )
    return text


def table_of(cluster: Cluster, *drained: str) -> Table:
    """Its table, with these real servers drained."""
    overrides = {(one.name, name): Override.DRAIN for one in cluster.virtual_servers for name in drained}
    return compile_table(want(cluster, {}, overrides))


def boot(host: Host, table: Table) -> Table:
    """The table, from nothing."""
    host.nft(boot_file(table))
    return table


def change(host: Host, before: Table, after: Table) -> Table:
    """From one table to the next."""
    host.nft(transaction(before, after))
    return after


def count_of(host: Host, counter: str) -> int:
    """How many packets a counter of the table has seen."""
    words = host.run("nft", "list", "counter", "inet", "ftpdirector", counter).stdout.split()
    return int(words[words.index("packets") + 1])


def counted(host: Host, name: str) -> int:
    """How many packets the elements of a set that counts have met."""
    text = host.run("nft", "list", "set", "inet", "ftpdirector", name).stdout
    return sum(map(int, re.findall(r"counter packets (\d+)", text)))


def listed(host: Host) -> list[str]:
    """The table as the kernel has it: one entry an object, its lines and elements in one order."""
    text = host.run("nft", "--stateless", "list", "table", "inet", "ftpdirector").stdout
    text = re.sub(r"elements = \{(.*?)\}", _in_order, text, flags=re.DOTALL)
    return sorted(block.strip() for block in text.partition("{")[2].rstrip().removesuffix("}").split("\n\n"))


def _in_order(elements: re.Match[str]) -> str:
    return "elements = " + ", ".join(sorted(one.strip() for one in elements[1].split(",")))
