"""The steps of a row of packet flows on real hosts: connections that stay open, and packets of no connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.netns.hosts import Host, Network

from tests.engines.nftables.flows import SERVERS, Names
from tests.nft.flow import Packet

_PATIENCE_S = 5.0
_OPEN = {"01", "02", "04", "05", "08", "09", "0B"}
"""States of include/net/tcp_states.h in which a socket still sends: not SYN_RECV, which ends with its listener."""
_CHECKSUM_AT = 16


class Wires:
    """Sockets of one row."""

    def __init__(
        self, hosts: Network, names: Names, opened: contextlib.ExitStack, listening: contextlib.ExitStack
    ) -> None:
        self._hosts = hosts
        self._by_address = {
            names.address(name): hosts.servers[SERVERS[name] - 1] if name in SERVERS else hosts.client
            for name in ("client", "stranger", "third", "silent", *SERVERS)
        }
        self._family = socket.AF_INET if names.version == 4 else socket.AF_INET6
        self._opened = opened
        self._listening = listening
        self._connections: dict[tuple[object, ...], socket.socket] = {}

    def listen(self, host: Host, ports: Sequence[int]) -> None:
        """The kernel answers; nobody has to accept."""
        for port in ports:
            with host.inside():
                self._listening.enter_context(socket.create_server(("", port), family=self._family))

    def connect(self, packet: Packet) -> bool:
        """False where it is reset."""
        with self._by_address[packet.source].inside():
            made = socket.socket(self._family)
        self._opened.enter_context(made)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # It ends by a reset: nothing of it is left on the wire when the next row begins.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.settimeout(_PATIENCE_S)
        made.bind((str(packet.source), packet.sport))
        try:
            made.connect((str(packet.destination), packet.dport))
        except ConnectionRefusedError:
            return False
        self._connections[packet.tuple] = made
        return True

    def is_open(self, packet: Packet) -> bool:
        """Whether the packet's connection came about."""
        return packet.tuple in self._connections

    def say(self, packet: Packet) -> None:
        self._connections[packet.tuple].sendall(b"NOOP\r\n")

    def stray(self, packet: Packet) -> None:
        """One packet, from nowhere."""
        is_raw = packet.protocol == socket.IPPROTO_TCP
        with self._by_address[packet.source].inside():
            if is_raw:
                sender = socket.socket(self._family, socket.SOCK_RAW, socket.IPPROTO_TCP)
            else:
                sender = socket.socket(self._family, socket.SOCK_DGRAM)
        with sender:
            # A raw socket has no ports.
            sender.bind((str(packet.source), 0 if is_raw else packet.sport))
            sender.sendto(_segment(packet) if is_raw else b"", (str(packet.destination), 0 if is_raw else packet.dport))

    def settle(self) -> None:
        """Wait until nobody holds a connection: then the resets that ended them all have passed the director."""
        end = time.monotonic() + _PATIENCE_S
        while any(map(_has_connections, self._by_address.values())):
            if time.monotonic() > end:
                raise TimeoutError("connections are left")
            time.sleep(0.002)


@contextlib.contextmanager
def wires(hosts: Network, names: Names, *, forgets: bool = False) -> Iterator[Wires]:
    """`forgets`: the director knows no connection at some time, and the reset that ends it does not pass."""
    with contextlib.ExitStack() as listening, contextlib.ExitStack() as opened:
        made = Wires(hosts, names, opened, listening)
        if not forgets:
            opened.callback(made.settle)  # the first to be entered is the last to be left
        yield made


def _has_connections(host: Host) -> bool:
    with host.inside():
        listed = [Path("/proc/thread-self/net", name).read_text() for name in ("tcp", "tcp6")]
    states = {line.split()[3] for text in listed for line in text.splitlines()[1:]}
    return bool(states & _OPEN)


def _segment(packet: Packet) -> bytes:
    head = struct.pack("!HHIIBBHHH", packet.sport, packet.dport, 1, 1, 5 << 4, packet.flags, 1_024, 0, 0)
    ends = packet.source.packed + packet.destination.packed
    total = sum(struct.unpack(f"!{(len(ends) + len(head)) // 2}H", ends + head)) + socket.IPPROTO_TCP + len(head)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:_CHECKSUM_AT] + struct.pack("!H", ~total & 0xFFFF) + head[_CHECKSUM_AT + 2 :]
