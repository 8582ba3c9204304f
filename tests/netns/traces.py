"""What the kernel tells of packets under way (`nft monitor trace`), as values: one record a packet.

A table of its own asks for it before any other sees the packet, and sees it last: a record ends there, or at a drop.
"""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from lab.netns.hosts import Host

from tests.nft.flow import Packet
from tests.nft.language import TCP_FLAGS

PATIENCE_S = 10.0
_NAME = "watch"
_TABLE = """
add table inet watch
delete table inet watch
table inet watch {{
	chain start {{
		type filter hook prerouting priority -500; policy accept;
		meta l4proto {{ tcp, udp }} th sport {ports} meta nftrace set 1
		meta l4proto {{ tcp, udp }} th dport {ports} meta nftrace set 1
	}}
	chain end_here {{
		type filter hook input priority 500; policy accept;
	}}
	chain end_there {{
		type filter hook postrouting priority 500; policy accept;
	}}
}}
"""
_LINE = re.compile(r"trace id (\S+) inet (\S+) (\S+) (packet: |rule |unknown rule |verdict |policy )(.*)")
_RULE = re.compile(r"(.*) \(verdict (\w+)[^()]*\)")


@dataclass(slots=True)
class Record:
    """A packet as it came and as it was seen last; the rules that matched by chain and nft's own text.

    Of a rule that came after it began to listen, nft 1.0.6 knows no more than `handle NUMBER`.
    """

    came: Packet
    seen: Packet
    interface: str
    passed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    verdict: str = ""
    is_local: bool = False


class Monitor:
    """Reads until the block of `monitor` ends."""

    def __init__(self, host: Host, process: subprocess.Popen[str]) -> None:
        self._host = host
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ports = range(0)
        self._under_way: dict[str, Record] = {}
        self._records: list[Record] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def watch(self, ports: range) -> None:
        """These from now on, and no others."""
        self._ports = ports
        self._host.nft(_TABLE.format(ports=f"{ports.start}-{ports.stop - 1}"))
        self._under_way.clear()
        self._records.clear()

    def until(self, holds: Callable[[Record], bool]) -> list[Record]:
        """All records that are complete and were not taken yet, in order, once one is among them that is waited for."""
        end = time.monotonic() + PATIENCE_S
        while not any(one.verdict and holds(one) for one in self._records):
            try:
                self._take(self._lines.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                raise TimeoutError(f"not among {self._records}") from None
        done = [one for one in self._records if one.verdict]
        self._records = [one for one in self._records if not one.verdict]
        return done

    def hears(self) -> bool:
        """Whether anything has come at all; what came is forgotten."""
        with contextlib.suppress(queue.Empty):
            self._lines.get(timeout=0.05)
            return True
        return False

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)

    def _take(self, line: str) -> None:
        found = _LINE.match(line)
        if found is None:
            return
        identity, table, chain, kind, rest = found.groups()
        if kind == "packet: ":
            self._packet(identity, rest, is_new=(table, chain) == (_NAME, "start"))
        one = self._under_way.get(identity)
        if one is None:
            return
        if kind in ("rule ", "unknown rule ") and table != _NAME:
            rule = _RULE.match(rest)
            assert rule is not None, line
            one.passed.append((chain, rule[1]))
            if rule[2] == "drop":
                self._end(identity, "drop")
        elif kind == "policy " and chain.startswith("end_"):
            one.is_local = chain == "end_here"
            self._end(identity, "accept")

    def _packet(self, identity: str, text: str, *, is_new: bool) -> None:
        words = _words(text)
        packet = _packet_of(words)
        if packet.sport not in self._ports and packet.dport not in self._ports:
            self._under_way.pop(identity, None)  # of the row before
        elif is_new:
            self._under_way[identity] = Record(packet, packet, words["iif"])
            self._records.append(self._under_way[identity])
        elif identity in self._under_way:
            self._under_way[identity].seen = packet
        else:
            # The number that the kernel gives a packet from a bridge is another one after its route was found.
            pending = [one for one in self._records if not one.verdict and one.interface == words["iif"]]
            same = [one for one in pending if _is_same(one.seen, packet)]
            if same:
                same[-1].seen = packet
                self._under_way[identity] = same[-1]

    def _end(self, identity: str, verdict: str) -> None:
        ended = self._under_way[identity]
        ended.verdict = verdict
        self._under_way = {key: one for key, one in self._under_way.items() if one is not ended}


@contextlib.contextmanager
def monitor(host: Host, provoke: Callable[[], None], port: int) -> Iterator[Monitor]:
    """Listens once it has heard a packet to this port, which `provoke` sends."""
    with host.inside():
        process = subprocess.Popen(
            ["nft", "monitor", "trace"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
    made = Monitor(host, process)
    try:
        made.watch(range(port, port + 1))
        end = time.monotonic() + PATIENCE_S
        while True:
            provoke()
            if made.hears():
                break
            assert time.monotonic() < end
        yield made
    finally:
        made.stop()


def _words(text: str) -> dict[str, str]:
    """`ip saddr 192.0.2.1 tcp flags == 0x12`: by the last word of each name."""
    words = text.replace(" == ", " ").split()
    names = ("iif", "saddr", "daddr", "sport", "dport", "flags")
    # The wire's own addresses come first, so that those of the packet replace them.
    return {word: words[place + 1].strip('"') for place, word in enumerate(words[:-1]) if word in names}


def _packet_of(words: dict[str, str]) -> Packet:
    told = words.get("flags")
    try:
        flags = int(told or "0", 0)
    except ValueError:
        flags = sum(TCP_FLAGS[one] for one in re.split(r"[,|]", str(told)))
    return Packet(
        source=ip_address(words["saddr"]),
        sport=int(words["sport"]),
        destination=ip_address(words["daddr"]),
        dport=int(words["dport"]),
        flags=flags,
        protocol=17 if told is None else 6,
    )


def _is_same(one: Packet, other: Packet) -> bool:
    """The same packet one chain later: where it is to go may have changed in between."""
    return replace(one, destination=other.destination, dport=other.dport) == other
