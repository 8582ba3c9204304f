"""A conversation written down: what happens to a session, and exactly which actions follow.

    Playbook().client("NOOP").expect(to_server("NOOP")).server("200 Ok").expect(to_client("200 Ok"))

This module knows no socket and no rule of FTP; it only compares.
"""

from __future__ import annotations

from ipaddress import ip_address

from ftpdirector.ftp.actions import (
    Action,
    Clock,
    Direction,
    Refused,
    RememberRefused,
    Side,
    StartClock,
    StopClock,
    ToClient,
    ToServer,
)
from ftpdirector.ftp.session import Session
from ftpdirector.model import DataToServer, Endpoint

CLIENT = Endpoint(ip_address("203.0.113.5"), 40000)
VIRTUAL = Endpoint(ip_address("192.0.2.10"), 21)
SERVER = Endpoint(ip_address("198.51.100.11"), 21)
CLIENT_6 = Endpoint(ip_address("2001:db8:1::5"), 40000)
VIRTUAL_6 = Endpoint(ip_address("2001:db8:2::10"), 21)
SERVER_6 = Endpoint(ip_address("2001:db8:3::11"), 21)

_APART = (StartClock, StopClock, Refused, RememberRefused)


def to_client(line: str) -> ToClient:
    """A line to the client, CRLF added."""
    return ToClient(f"{line}\r\n".encode())


def to_server(line: str) -> ToServer:
    """A line to the real server, CRLF added."""
    return ToServer(f"{line}\r\n".encode())


class Playbook:
    """A session with its script: each event is followed by the actions that must come, no more and no fewer.

    Clocks and what is only for the log stand apart, in `clocks`, `refused` and `remembered`.
    """

    def __init__(
        self,
        *,
        client: Endpoint = CLIENT,
        virtual: Endpoint = VIRTUAL,
        server: Endpoint = SERVER,
        data_to_server: DataToServer = DataToServer.PASSIVE,
        refused: frozenset[str] = frozenset(),
    ) -> None:
        """The addresses of the whole repository's plan unless told otherwise."""
        self.session = Session(
            client=client, virtual=virtual, server=server, data_to_server=data_to_server, refused=refused
        )
        self.last: list[Action] = []
        self.all: list[Action] = []
        self.clocks: set[Clock] = set()
        """Those that run."""
        self.refused: list[str] = []
        """What the director itself refused, as the log has it."""
        self.remembered: list[str] = []
        """Verbs that later sessions do not ask for, with the reasons."""

    def client(self, line: str) -> Playbook:
        """The client says a line."""
        return self._after(self.session.client_bytes(f"{line}\r\n".encode()))

    def server(self, line: str) -> Playbook:
        """The real server says a line, or several with their CRLF between them."""
        return self._after(self.session.server_bytes(f"{line}\r\n".encode()))

    def listening(self, endpoint: str, side: Side = Side.CLIENT) -> Playbook:
        """The lease is done, or the director listens for the real server: `192.0.2.10:10001`."""
        return self._after(self.session.listening(side, _endpoint(endpoint)))

    def listen_failed(self, side: Side = Side.CLIENT) -> Playbook:
        """No port is free."""
        return self._after(self.session.listen_failed(side, "no port"))

    def data_open(self, side: Side) -> Playbook:
        """A data connection stands."""
        return self._after(self.session.data_open(side))

    def data_failed(self, side: Side, text: str = "refused") -> Playbook:
        """A data connection could not be opened."""
        return self._after(self.session.data_failed(side, text))

    def data_ended(self, direction: Direction, *, whole: bool = True, empty: bool = False) -> Playbook:
        """The sender's end, all handed over."""
        return self._after(self.session.data_ended(direction, whole=whole, empty=empty))

    def data_broken(self, side: Side, text: str = "reset", *, empty: bool = False) -> Playbook:
        """A data connection failed."""
        return self._after(self.session.data_broken(side, text, empty=empty))

    def ran_out(self, clock: Clock) -> Playbook:
        """A clock that runs is over."""
        if clock not in self.clocks:
            raise AssertionError(f"{clock} does not run: {self.clocks}")
        self.clocks.discard(clock)
        return self._after(self.session.clock_ran_out(clock))

    def silence(self) -> Playbook:
        """Nobody has said anything for a while."""
        return self._after(self.session.silence())

    def client_lost(self, *, reset: bool = False) -> Playbook:
        """The client's control connection ended."""
        return self._after(self.session.client_lost(reset=reset))

    def server_lost(self) -> Playbook:
        """The real server's control connection ended."""
        return self._after(self.session.server_lost())

    def idle_timed_out(self) -> Playbook:
        """The idle clock ran out."""
        return self._after(self.session.idle_timed_out())

    def shutting_down(self) -> Playbook:
        """The director ends."""
        return self._after(self.session.shutting_down())

    def expect(self, *actions: Action) -> Playbook:
        """These actions came, in this order, and no other."""
        wanted = list(actions)
        if self.last != wanted:
            raise AssertionError(f"\nexpected:\n{_shown(wanted)}\ncame:\n{_shown(self.last)}")
        return self

    def expect_some(self, *actions: Action) -> Playbook:
        """These came, in this order, perhaps among others."""
        rest = iter(self.last)
        missing = [action for action in actions if action not in rest]
        if missing:
            raise AssertionError(f"\nmissing, or out of order:\n{_shown(missing)}\ncame:\n{_shown(self.last)}")
        return self

    def said(self) -> str:
        """What the last event made the client read."""
        data = b"".join(action.data for action in self.last if isinstance(action, ToClient))
        return data.decode("utf-8", "surrogateescape")

    def logged_in(self) -> Playbook:
        """Go through USER and PASS."""
        self.client("USER ann").server("331 Password").client("PASS secret")
        return self.server("230 In")

    def passive(self, *, port: int = 30001) -> Playbook:
        """Go through EPSV until both data connections stand."""
        self.client("EPSV").listening("192.0.2.10:10001").server(f"229 Ok (|||{port}|)")
        return self.data_open(Side.SERVER).data_open(Side.CLIENT)

    def _after(self, actions: list[Action]) -> Playbook:
        self.all = actions
        self.last = [action for action in actions if not isinstance(action, _APART)]
        for action in actions:
            if isinstance(action, StartClock):
                self.clocks.add(action.clock)
            elif isinstance(action, StopClock):
                self.clocks.discard(action.clock)
            elif isinstance(action, Refused):
                self.refused.append(action.reply)
            elif isinstance(action, RememberRefused):
                self.remembered.append(f"{action.verb} {action.reason}")
        return self


def _endpoint(text: str) -> Endpoint:
    address, _, port = text.rpartition(":")
    return Endpoint(ip_address(address.strip("[]")), int(port))


def _shown(actions: list[Action]) -> str:
    return "\n".join(f"  {action!r}" for action in actions) or "  nothing"
