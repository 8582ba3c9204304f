"""The two data connections of a session: opened in either way, joined for a transfer, finished or reset.

The sender's FIN is answered at once; the receiver hears FIN only from `finish`, and RST from `drop`. RST is also what
either hears when this process dies: every socket is set to be reset on close from the moment it stands, until a finish
was decided or a sender's FIN is answered. What happens is told to an `Observer`, in the words of
`ftpdirector.ftp.session.Session`. This module knows no command and no reply.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Final, Protocol

from ftpdirector.engines.proxy.closing import finish_on_close
from ftpdirector.engines.proxy.data_end import DataEnd, ServerListener, connect, connect_from
from ftpdirector.engines.proxy.ports import Lease, family_of
from ftpdirector.engines.proxy.relay import Flow, Progress
from ftpdirector.engines.proxy.runtime import Runtime
from ftpdirector.ftp.actions import Direction, Side
from ftpdirector.model import Endpoint, IPAddress

_MOVES_A_TURN: Final = 3
_DISCARD_BYTES: Final = 1 << 16


class Observer(Protocol):
    """Who is told what happens on the data connections."""

    def data_open(self, side: Side) -> None:
        """This side's data connection stands."""

    def data_failed(self, side: Side, text: str) -> None:
        """It could not be opened."""

    def stranger_connected(self, address: str) -> None:
        """Somebody else than the client connected to its port, and was reset."""

    def data_moves(self) -> None:
        """Bytes were moved: the session is not idle."""

    def data_ended(self, direction: Direction) -> None:
        """The sender sent FIN, and all its bytes were handed over."""

    def data_broken(self, side: Side, text: str) -> None:
        """This side's data connection failed in mid-transfer."""


class DataConnections:
    """Both sides, and the flow of bytes between them."""

    __slots__ = ("_client", "_direction", "_flows", "_joined", "_moved", "_observer", "_resuming", "_server", "runtime")

    def __init__(self, runtime: Runtime, observer: Observer) -> None:
        """Nothing is open yet."""
        self.runtime = runtime
        self._observer = observer
        self._client = DataEnd(self, Side.CLIENT)
        self._server = DataEnd(self, Side.SERVER)
        self._flows: tuple[Flow, ...] = ()
        self._direction: Direction | None = None
        self._joined = False
        self._resuming = False
        self._moved = 0

    @property
    def moved(self) -> bool:
        """Whether bytes were moved that nobody has taken note of yet."""
        return self._moved > 0 or bool(self._flows)

    @property
    def is_empty(self) -> bool:
        """Whether not one byte of this transfer was handed over."""
        return not self._moved and not any(flow.bytes for flow in self._flows)

    @property
    def owing(self) -> Side | None:
        """Whose turn it is while bytes flow: the receiver's while it does not take what is there, else the sender's."""
        if len(self._flows) != 1:
            return None
        return self._side_of(self._flows[0], sends=not self._flows[0].holds)

    @property
    def idle(self) -> bool:
        """Whether nothing is open, opening or leased, so that this object need not be kept."""
        ends = (self._client, self._server)
        return self._direction is None and not any(end.stream or end.lease or end.listener for end in ends)

    def take_moved(self) -> int:
        """Bytes handed over in the transfer that ended; counted from zero again."""
        moved = self._moved + sum(flow.bytes for flow in self._flows)
        self._moved = 0
        for flow in self._flows:
            flow.bytes = 0
        return moved

    def lease(self, take: Callable[[Callable[[socket.socket], None]], Lease]) -> int:
        """Lease a port for the client by `take`; its number. Raises `HostError` when none is free."""
        self._client.reset()
        self._client.lease = take(self._client.took)
        self._client.lease.on_stranger = self._observer.stranger_connected
        return self._client.lease.port

    def connect_to_client(self, peer: Endpoint, source: IPAddress, source_port: int) -> None:
        """Connect from `source_port` where this process may, else from any port."""
        self._client.reset()
        self._connect(self._client, lambda: connect_from(peer, source, source_port))

    def connect_to_server(self, address: IPAddress, text: str, port: int) -> None:
        """Connect to the real server's data port; `text` is the address once more, as it is written."""
        self._server.reset()
        self._connect(self._server, lambda: connect(address, text, port, None, 0))

    def listen_for_server(self, local: IPAddress, peer: IPAddress) -> Endpoint:
        """Listen for the real server; where it shall connect to. Raises `OSError` when that is not possible."""
        self._server.reset()
        sock = socket.socket(family_of(local), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.bind((str(local), 0))
            sock.listen(4)
        except OSError:
            sock.close()
            raise
        self._server.listener = ServerListener(self._server, sock, str(peer))
        return Endpoint(local, int(sock.getsockname()[1]))

    def start(self, direction: Direction) -> None:
        """Relay as soon as both sides stand."""
        self._direction = direction
        self._join()

    def finish(self, side: Side, patience_s: float) -> None:
        """FIN behind the last byte, then close once the peer has acknowledged all, or nothing for `patience_s`."""
        end = self._end(side)
        end.release()
        sock = end.take()
        if sock is not None:
            self.runtime.closings.finish(sock, self.runtime.now_s, patience_s)
        self._unjoin()

    def drop(self, side: Side) -> None:
        """RST, whatever the state."""
        self._end(side).reset()
        self._unjoin()

    def close(self) -> None:
        """RST on both sides."""
        self.drop(Side.CLIENT)
        self.drop(Side.SERVER)

    def dismiss(self) -> None:
        """Nobody needs this any more: without the circle of references no collector of garbage is needed either."""
        del self._client.data, self._server.data

    def pump(self, end: DataEnd, events: int) -> None:
        """A side may be readable, writable or broken."""
        if not self._joined:
            return
        if self._move() and events & (select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLIN):
            self._look_at_receiver(end)

    def tell_open(self, side: Side) -> None:
        """A side stands."""
        self._observer.data_open(side)
        self._join()

    def tell_failed(self, side: Side, text: str) -> None:
        """A side could not be opened."""
        self._observer.data_failed(side, text)

    def _end(self, side: Side) -> DataEnd:
        return self._client if side is Side.CLIENT else self._server

    def _connect(self, end: DataEnd, begin: Callable[[], socket.socket]) -> None:
        try:
            sock = begin()
        except OSError as error:
            text = error.strerror or str(error)
            self.runtime.readiness.soon(lambda: self.tell_failed(end.side, text))
            return
        end.connects(sock)

    def _join(self) -> None:
        client, server, direction = self._client, self._server, self._direction
        if self._joined or direction is None or client.stream is None or server.stream is None:
            return
        if client.connecting or server.connecting:
            return
        self._joined = True
        pipes = self.runtime.pipes
        down = Flow(server.stream, client.stream, pipes, lambda: self._sender_ended(server))
        match direction:
            case Direction.DOWNLOAD:
                self._flows = (down,)
            case Direction.UPLOAD:
                self._flows = (Flow(client.stream, server.stream, pipes, lambda: self._sender_ended(client)),)
            case Direction.BOTH:
                self._flows = (down, Flow(client.stream, server.stream, pipes, lambda: self._sender_ended(client)))
        self._move()

    def _unjoin(self) -> None:
        """A transfer ends with the first side that is finished or dropped."""
        for flow in self._flows:
            self._moved += flow.bytes
            flow.close()
        self._flows = ()
        self._direction = None
        self._joined = False

    def _sender_ended(self, end: DataEnd) -> None:
        """Answer the sender's FIN at once; it may wait for that before it says 226."""
        if self._direction is Direction.BOTH:
            if end.stream is not None:
                sock = end.stream.sock
                finish_on_close(sock)
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
            return
        end.close()

    def _resume(self) -> None:
        self._resuming = False
        if self._joined:
            self._move()

    def _move(self) -> bool:
        """Move bytes; False when the transfer is over."""
        self._observer.data_moves()
        for flow in self._flows:
            progress = Progress.ENDED
            for _ in range(_MOVES_A_TURN):
                progress = flow.move()
                if progress is not Progress.AGAIN:
                    break
            match progress:
                case Progress.WAITS:
                    pass
                case Progress.AGAIN:
                    self._again()
                case Progress.ENDED:
                    self._end_of(flow)
                    return False
                case Progress.SENDER_BROKE:
                    self._break(self._side_of(flow, sends=True), flow.why)
                    return False
                case Progress.RECEIVER_BROKE:
                    self._break(self._side_of(flow, sends=False), flow.why)
                    return False
        return True

    def _again(self) -> None:
        if not self._resuming:
            self._resuming = True
            self.runtime.readiness.soon(self._resume)

    def _side_of(self, flow: Flow, *, sends: bool) -> Side:
        """The last flow of an upload, and of BOTH, is the client's."""
        from_client = self._direction is Direction.UPLOAD or (len(self._flows) == 2 and flow is self._flows[1])
        return Side.CLIENT if from_client == sends else Side.SERVER

    def _end_of(self, flow: Flow) -> None:
        direction = Direction.UPLOAD if self._side_of(flow, sends=True) is Side.CLIENT else Direction.DOWNLOAD
        self._stop_moving()
        self._observer.data_ended(direction)

    def _break(self, side: Side, text: str) -> None:
        self._stop_moving()
        self._observer.data_broken(side, text)

    def _stop_moving(self) -> None:
        for flow in self._flows:
            self._moved += flow.bytes
            flow.close()
        self._flows = ()

    def _look_at_receiver(self, end: DataEnd) -> None:
        """The receiver's side had an event that is no invitation to send: broken, closed, or talking out of turn."""
        stream = end.stream
        receiving = Side.CLIENT if self._direction is Direction.DOWNLOAD else Side.SERVER
        if stream is None or self._direction is Direction.BOTH or end.side is not receiving:
            return
        try:
            data = stream.recv(_DISCARD_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(end.side, error.strerror or str(error))
            return
        if not data and end.side is Side.SERVER:
            # A real server that closes before the upload's end will not store it; its reply tells why.
            self._break(end.side, "closed early")
        elif data:
            self.runtime.readiness.soon(lambda: self._look_at_receiver(end))
