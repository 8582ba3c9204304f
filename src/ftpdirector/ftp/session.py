"""One client's session with one real server: what either of them says in, what the engine is to do out.

Every event is a method that returns the actions due, in order. Commands are handled strictly one after the other; what
comes early is held. This module knows no socket, no clock, no other session and no scheduling.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, IntEnum, auto
from typing import ClassVar, Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import (
    Action,
    Close,
    ConnectToClient,
    DataReady,
    Direction,
    DropClientData,
    DropServerData,
    Listen,
    LoggedIn,
    Outcome,
    StartRelay,
    StopWaiting,
    ToClient,
    ToServer,
    TransferEnded,
    WaitForData,
)
from ftpdirector.ftp.commands import (
    ORDINARY,
    REFUSED_MODES,
    REFUSED_STRUCTURES,
    REFUSED_VERBS,
    TRANSFERS,
    Command,
    edit_features,
    letter,
    parse_command,
    printable,
)
from ftpdirector.ftp.endpoints import (
    EpsvArgument,
    format_epsv_reply,
    format_pasv_reply,
    parse_eprt_argument,
    parse_epsv_argument,
    parse_port_argument,
    plain_address,
)
from ftpdirector.ftp.lines import LineReader
from ftpdirector.ftp.opening import LOWEST_DATA_PORT, Opening
from ftpdirector.ftp.replies import LARGEST_REPLY_BYTES, Reply, ReplyLine, ReplyReader, format_reply
from ftpdirector.ftp.transfer import Side, Transfer
from ftpdirector.model import DataToServer, Endpoint

__all__ = ["Session", "Side"]

MOST_HELD_BYTES: Final = 65536
_HELD_LINE_BYTES: Final = 64
"""What a held line costs besides its bytes: a flood of empty lines is a flood too."""
_MOST_STAT: Final = 16

_PASSIVE_REPLIES: Final = frozenset({227, 228, 229})
_STATUS_REPLIES: Final = frozenset({211, 212, 213})
_ABOR_REPLIES: Final = frozenset({225, 226})
_NOT_OF_A_TRANSFER: Final = frozenset({500, 501, 502, 503, 504, 530})
"""After 1xx no transfer ends with these (RFC 959 section 5.4): they answer a STAT."""


class _Job(IntEnum):
    """What is under way with the real server; one thing at a time."""

    IDLE = auto()
    PASS = auto()
    """A command was passed on as it is."""
    FEAT = auto()
    SETUP = auto()
    """PASV, EPSV, PORT or EPRT is being answered."""
    REOPEN = auto()
    """Server data is being announced anew before the held command (several transfers after one PORT)."""
    WAIT = auto()
    """The held transfer command waits for client data."""
    TRANSFER = auto()
    TAIL = auto()
    """A transfer is over, replies to its ABOR or STAT are due."""
    FENCE = auto()
    """The director's own NOOP was sent behind such replies, to learn where they end."""
    ENDED = auto()


class _Data(Enum):
    """A data connection: none, announced or connecting, standing, or failed."""

    NONE = auto()
    DUE = auto()
    OPEN = auto()
    FAILED = auto()


_IDLE: Final = _Job.IDLE
_PASS: Final = _Job.PASS
_TRANSFER: Final = _Job.TRANSFER
_ENDED: Final = _Job.ENDED
_OF_A_TRANSFER: Final = frozenset({_Job.REOPEN, _Job.WAIT, _Job.TRANSFER})


class Session:
    """The sans-I/O control connection; begins after the real server's greeting was given to the client."""

    __slots__ = (
        "_active_endpoint",
        "_client",
        "_client_data",
        "_client_gone",
        "_due",
        "_epsv_all",
        "_farewell",
        "_held",
        "_held_bytes",
        "_job",
        "_leased",
        "_lines",
        "_logged_in",
        "_opening",
        "_parts",
        "_policy",
        "_queue",
        "_refused",
        "_replies",
        "_route",
        "_server",
        "_server_data",
        "_server_gone",
        "_setup",
        "_shutting_down",
        "_size",
        "_stat_due",
        "_transfer",
        "_user",
        "_verb",
        "_virtual",
    )

    def __init__(
        self,
        *,
        client: Endpoint,
        virtual: Endpoint,
        server: Endpoint,
        data_to_server: DataToServer = DataToServer.PASSIVE,
        refused: frozenset[str] = frozenset(),
    ) -> None:
        """`virtual` is the local address that the client connected to, `refused` the verbs this server refuses."""
        self._client = plain_address(client.address)
        self._virtual = plain_address(virtual.address)
        self._server = plain_address(server.address)
        self._policy = data_to_server
        self._refused = set(refused)
        self._lines = LineReader()
        self._replies = ReplyReader()
        self._queue: deque[bytes | None] = deque()
        self._held_bytes = 0
        self._job = _IDLE
        self._verb = b""
        self._route: _Job | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._client_data = _Data.NONE
        self._server_data = _Data.NONE
        self._active_endpoint: Endpoint | None = None
        self._leased: Endpoint | None = None
        self._setup = b""
        self._held: Command | None = None
        self._opening: Opening | None = None
        self._transfer: Transfer | None = None
        self._stat_due = 0
        self._due = 0
        self._user = ""
        self._logged_in = False
        self._epsv_all = False
        self._farewell = False
        self._client_gone = False
        self._server_gone = False
        self._shutting_down = False

    @property
    def reading_client(self) -> bool:
        """False while too much is held back: the engine stops reading the client."""
        return self._held_bytes <= MOST_HELD_BYTES

    @property
    def transferring(self) -> bool:
        """Whether a transfer is under way or waits for its data connection."""
        return self._job in _OF_A_TRANSFER

    # -- the control connections ------------------------------------------------------------------------------------

    def client_bytes(self, data: bytes) -> list[Action]:
        """The client said this."""
        out: list[Action] = []
        for line in self._lines.feed(data):
            if self._job is _IDLE and not self._queue:
                self._begin(line, out)
            elif self._job is not _ENDED:
                self._hold(line, out)
        return self._settle(out)

    def server_bytes(self, data: bytes) -> list[Action]:
        """The real server said this."""
        out: list[Action] = []
        if self._job is _ENDED:
            return out
        try:
            for line in self._replies.lines(data):
                self._reply_line(line, out)
        except ProtocolError as error:
            self._end(str(error), out, say="Service not available, the real server broke the protocol")
        return self._settle(out)

    def client_lost(self) -> list[Action]:
        """The client's control connection ended; behind a QUIT only its sending half did, and work goes on."""
        out: list[Action] = []
        if self._said_quit():
            self._client_gone = True
            return self._settle(out)
        self._end("the client is gone", out)
        return out

    def server_lost(self) -> list[Action]:
        """The real server's control connection ended."""
        out: list[Action] = []
        if self._job is _TRANSFER and self._transfer is not None and self._transfer.final is not None:
            self._server_gone = True  # its 2xx is here, only data is still on the way
            return out
        self._end("the real server is gone", out, say="Service not available, the real server closed the connection")
        return out

    # -- what the engine did ----------------------------------------------------------------------------------------

    def listening(self, endpoint: Endpoint) -> list[Action]:
        """`Listen` was done; `endpoint` is what the client is told."""
        out: list[Action] = []
        if self._job is _Job.SETUP and self._awaits_lease():
            self._leased = endpoint
            self._settle_setup(out)
        return self._settle(out)

    def listen_failed(self, text: str) -> list[Action]:
        """`Listen` could not be done."""
        del text  # the engine's log has it; a client can do nothing with it
        out: list[Action] = []
        if self._job is _Job.SETUP and self._awaits_lease():
            self._client_data = _Data.FAILED
            self._settle_setup(out)
        return self._settle(out)

    def listening_for_server(self, endpoint: Endpoint) -> list[Action]:
        """`ListenForServer` was done; `endpoint` is what the real server is told."""
        out: list[Action] = []
        if self._opening is not None:
            self._opening.listening(endpoint, out)
        return out

    def listen_for_server_failed(self, text: str) -> list[Action]:
        """`ListenForServer` could not be done."""
        out: list[Action] = []
        if self._opening is not None:
            self._opening.listen_failed(text)
            self._after_opening(out)
        return self._settle(out)

    def client_data_open(self) -> list[Action]:
        """Client data stands."""
        out: list[Action] = []
        if self._client_data is _Data.DUE:
            self._client_data = _Data.OPEN
            if self._job is _Job.WAIT:
                out.append(StopWaiting())
                self._send_transfer(out)
        return out

    def client_data_failed(self, text: str) -> list[Action]:
        """Client data could not be opened."""
        out: list[Action] = []
        if self._client_data is _Data.DUE:
            self._client_data = _Data.FAILED
            self._data_failed(Side.CLIENT, text, out)
            if self._job is _Job.SETUP:
                self._settle_setup(out)
        return self._settle(out)

    def server_data_open(self) -> list[Action]:
        """Server data stands."""
        if self._server_data is _Data.DUE:
            self._server_data = _Data.OPEN
        return []

    def server_data_failed(self, text: str) -> list[Action]:
        """Server data could not be opened."""
        out: list[Action] = []
        if self._server_data is _Data.DUE:
            self._server_data = _Data.FAILED
            self._data_failed(Side.SERVER, text, out)
        return self._settle(out)

    def data_ended(self, direction: Direction) -> list[Action]:
        """The sender sent FIN, and all its bytes were handed to the receiver's socket."""
        out: list[Action] = []
        if self._transfer is not None and self._transfer.data_ended(direction, out):
            self._transfer_over()
        return self._settle(out)

    def data_broken(self, side: Side, text: str) -> list[Action]:
        """That data connection failed in mid-transfer, or while it waited for one."""
        out: list[Action] = []
        if self._transfer is not None:
            if self._transfer.data_broken(side, text, out):
                self._transfer_over()
        elif side is Side.CLIENT and self._client_data is _Data.OPEN:
            self._client_data = _Data.FAILED
        elif side is Side.SERVER and self._server_data is _Data.OPEN:
            self._server_data = _Data.FAILED
            self._data_failed(side, text, out)
        return self._settle(out)

    def data_timed_out(self) -> list[Action]:
        """The clock of `WaitForData` ran out."""
        out: list[Action] = []
        if self._transfer is not None:
            if self._transfer.timed_out(out):
                self._transfer_over()
        elif self._job is _Job.WAIT:
            self._refuse_transfer(_no_data("nobody connected in time"), out)
        return self._settle(out)

    def idle_timed_out(self) -> list[Action]:
        """Nothing was said and nothing was moved for too long."""
        out: list[Action] = []
        self._end("idle for too long", out, say="Timeout, closing control connection")
        return out

    def shutting_down(self) -> list[Action]:
        """The director ends: at once if no transfer runs, else behind it."""
        self._shutting_down = True
        return self._settle([])

    # -- commands ---------------------------------------------------------------------------------------------------

    def _hold(self, line: bytes | None, out: list[Action]) -> None:
        """Keep a command until those before it are done; ABOR and STAT may overtake a transfer (RFC 959 4.1.3)."""
        if line is not None and not self._queue and self._job in _OF_A_TRANSFER:
            word = line.rstrip().upper()
            if word == b"ABOR" and self._abort(line, out):
                return
            if word == b"STAT" and self._job is _TRANSFER and self._stat_due < _MOST_STAT:
                self._stat_due += 1
                out.append(ToServer(line + b"\r\n"))
                return
        self._queue.append(line)
        self._held_bytes += len(line or b"") + _HELD_LINE_BYTES

    def _settle(self, out: list[Action]) -> list[Action]:
        """After an event: go on with what was held, or end if that is due."""
        if self._job is _IDLE and self._server_gone:
            self._end("the real server is gone", out, say="Service not available, the real server is gone")
        if self._shutting_down and self._job is not _ENDED and self._job not in _OF_A_TRANSFER:
            self._end("the director is shutting down", out, say="Service not available, shutting down")
        queue = self._queue
        while queue and self._job is _IDLE:
            line = queue.popleft()
            self._held_bytes -= len(line or b"") + _HELD_LINE_BYTES
            self._begin(line, out)
        if queue and self._job is _Job.TAIL:
            self._job = _Job.FENCE
            self._due += 1
            out.append(ToServer(b"NOOP\r\n"))
        if self._client_gone and self._job is _IDLE:
            self._end("the client is gone", out)
        return out

    def _begin(self, line: bytes | None, out: list[Action]) -> None:
        if not line:
            if line is None:
                out.append(ToClient(format_reply(500, "Line too long")))
            return  # An empty line is no command: real servers pass over it in silence.
        try:
            command = parse_command(line)
            handler = self._HANDLERS.get(command.verb)
            if handler is None:
                self._pass(command, out)
            else:
                handler(self, command, out)
        except ProtocolError as error:
            out.append(ToClient(format_reply(error.reply_code, str(error))))

    def _pass(self, command: Command, out: list[Action]) -> None:
        self._verb = command.verb
        self._held = command
        self._job = _PASS
        out.append(ToServer(command.line + b"\r\n"))

    def _feat(self, command: Command, out: list[Action]) -> None:
        self._job = _Job.FEAT
        out.append(ToServer(command.line + b"\r\n"))

    def _refuse_verb(self, command: Command, out: list[Action]) -> None:
        out.append(ToClient(format_reply(502, REFUSED_VERBS[command.verb])))

    def _mode(self, command: Command, out: list[Action]) -> None:
        if letter(command) in REFUSED_MODES:
            raise ProtocolError("Only stream mode is offered here: MODE S", reply_code=504)
        self._pass(command, out)

    def _stru(self, command: Command, out: list[Action]) -> None:
        """Records and pages mark the end of a file inside the stream (RFC 959 section 3.1.2)."""
        if letter(command) in REFUSED_STRUCTURES:
            raise ProtocolError("Only file structure is offered here: STRU F", reply_code=504)
        self._pass(command, out)

    def _user_name(self, command: Command, out: list[Action]) -> None:
        """USER changes no transfer parameter, so PORT stays in force (RFC 959 section 4.1.1)."""
        self._user = printable(command.argument)
        self._pass(command, out)

    def _rest(self, command: Command, out: list[Action]) -> None:
        """Nothing may stand between REST and its transfer (RFC 959 section 4.1.3): open server data before it."""
        if self._active_endpoint is not None and self._server_data in (_Data.NONE, _Data.FAILED):
            self._held = command
            self._reopen(out)
        else:
            self._pass(command, out)

    # -- PASV, EPSV, PORT, EPRT -------------------------------------------------------------------------------------

    def _pasv(self, command: Command, out: list[Action]) -> None:
        self._check_epsv_all(command)
        if self._virtual.version == 6:
            raise ProtocolError("Can't open data connection: PASV knows no IPv6, use EPSV", reply_code=425)
        self._set_up(command, None, out)

    def _epsv(self, command: Command, out: list[Action]) -> None:
        asked = parse_epsv_argument(command.argument)
        if asked is EpsvArgument.ALL:  # RFC 2428 section 4: from now on nothing else
            self._epsv_all = True
            out.append(ToClient(b"200 EPSV ALL command successful.\r\n"))
            return
        own = EpsvArgument.IPV4 if self._virtual.version == 4 else EpsvArgument.IPV6
        if asked is not EpsvArgument.PLAIN and asked is not own:
            self._refuse_protocol()
        self._set_up(command, None, out)

    def _port(self, command: Command, out: list[Action]) -> None:
        self._check_epsv_all(command)
        endpoint = parse_port_argument(command.argument)
        self._check_own(command, endpoint)
        self._set_up(command, endpoint, out)

    def _eprt(self, command: Command, out: list[Action]) -> None:
        self._check_epsv_all(command)
        endpoint = parse_eprt_argument(command.argument)
        if plain_address(endpoint.address).version != self._client.version:
            self._refuse_protocol()
        self._check_own(command, endpoint)
        self._set_up(command, endpoint, out)

    def _check_epsv_all(self, command: Command) -> None:
        if self._epsv_all:
            raise ProtocolError(f"{command.verb.decode()} is not allowed after EPSV ALL", reply_code=503)

    def _check_own(self, command: Command, endpoint: Endpoint) -> None:
        """A third party's address, or another service's port, is not served (RFC 2577 section 3: bounce attack)."""
        verb = command.verb.decode()
        if plain_address(endpoint.address) != self._client:
            raise ProtocolError(f"Illegal {verb} command: the address is not yours", reply_code=500)
        if endpoint.port < LOWEST_DATA_PORT:
            raise ProtocolError(f"Illegal {verb} command: the port is below {LOWEST_DATA_PORT}", reply_code=500)

    def _refuse_protocol(self) -> None:
        """RFC 2428 section 2: 522 lists the protocols that work."""
        own = 1 if self._virtual.version == 4 else 2
        raise ProtocolError(f"Network protocol not supported, use ({own})", reply_code=522)

    def _set_up(self, command: Command, active: Endpoint | None, out: list[Action]) -> None:
        self._drop_data(out)
        self._setup = command.verb
        self._active_endpoint = active
        self._leased = None
        self._job = _Job.SETUP
        if active is None:
            self._client_data = _Data.DUE
            out.append(Listen())
        self._open(out)

    def _awaits_lease(self) -> bool:
        return self._client_data is _Data.DUE and self._leased is None

    def _open(self, out: list[Action]) -> None:
        policy = self._policy
        active = policy is DataToServer.ACTIVE or (policy is DataToServer.CLIENT and self._active_endpoint is not None)
        self._opening = Opening(ipv4=self._server.version == 4, active=active, refused=self._refused)
        self._opening.start(out)
        self._after_opening(out)

    def _after_opening(self, out: list[Action]) -> None:
        """Go on if server data is announced, or will never be."""
        opening = self._opening
        if opening is None or not (opening.announced or opening.answer):
            return
        if opening.announced and self._server_data is _Data.NONE:
            self._server_data = _Data.DUE
        if self._job is _Job.SETUP:
            self._settle_setup(out)
        elif self._job is _Job.REOPEN:
            self._settle_reopen(opening, out)

    def _settle_setup(self, out: list[Action]) -> None:
        """Answer the client once both sides are announced; nobody waits for server data to stand."""
        opening = self._opening
        if opening is None or self._awaits_lease() or not (opening.announced or opening.answer):
            return
        self._opening = None
        self._job = _IDLE
        if opening.answer:
            self._refuse_setup(opening.answer, out)
        elif self._client_data is _Data.FAILED:
            self._refuse_setup(_no_data("no port is free"), out)
        elif self._server_data is _Data.FAILED:
            self._refuse_setup(_no_data("the real server does not accept it"), out)
        else:
            out.append(ToClient(self._setup_reply()))
            out.append(DataReady())

    def _setup_reply(self) -> bytes:
        leased = self._leased
        if leased is None:
            return f"200 {self._setup.decode()} command successful.\r\n".encode()
        if self._setup == b"PASV":
            return format_pasv_reply(Endpoint(plain_address(leased.address), leased.port))
        return format_epsv_reply(leased.port)

    def _refuse_setup(self, reply: bytes, out: list[Action]) -> None:
        self._active_endpoint = None
        self._drop_client_data(out)
        self._server_data = _Data.NONE
        out.append(DropServerData())
        self._say(reply, out)

    # -- transfers --------------------------------------------------------------------------------------------------

    def _begin_transfer(self, command: Command, out: list[Action]) -> None:
        self._held = command
        if self._client_data is _Data.NONE and self._active_endpoint is None:
            if self._logged_in:
                # The default port of RFC 959 section 3.2 is nobody's today; some servers say 150 and wait for ever.
                self._refuse_transfer(_no_data("use PASV or PORT first"), out)
            else:
                self._send_transfer(out)  # the real server says what is wrong
        elif self._server_data is _Data.NONE:
            self._reopen(out)
        else:
            self._await_client_data(out)

    def _reopen(self, out: list[Action]) -> None:
        if self._server_data is not _Data.NONE:
            self._server_data = _Data.NONE
            out.append(DropServerData())
        self._job = _Job.REOPEN
        self._open(out)

    def _settle_reopen(self, opening: Opening, out: list[Action]) -> None:
        self._opening = None
        command = self._held
        if command is None:  # aborted meanwhile
            self._job = _IDLE
            self._drop_data(out)
        elif opening.answer and command.verb == b"REST":
            self._job = _IDLE
            out.append(DropServerData())
            self._say(opening.answer, out)
        elif opening.answer:
            self._refuse_transfer(opening.answer, out)
        elif command.verb == b"REST":
            self._pass(command, out)
        else:
            self._await_client_data(out)

    def _await_client_data(self, out: list[Action]) -> None:
        """Only once client data stands may the real server hear of the transfer."""
        if _Data.FAILED in (self._client_data, self._server_data):
            self._refuse_transfer(_no_data("it failed"), out)
        elif self._client_data is _Data.OPEN:
            self._send_transfer(out)
        else:
            if self._client_data is _Data.NONE and self._active_endpoint is not None:
                self._client_data = _Data.DUE
                out.append(ConnectToClient(self._active_endpoint))
            self._job = _Job.WAIT
            out.append(WaitForData())

    def _send_transfer(self, out: list[Action]) -> None:
        command = self._held
        if command is None:
            return
        direction = TRANSFERS[command.verb]
        out.append(ToServer(command.line + b"\r\n"))
        self._job = _TRANSFER
        if self._client_data is _Data.NONE:
            self._transfer = Transfer(command, direction, broken="no data connection, use PASV or PORT first")
        elif direction is Direction.DOWNLOAD:
            self._transfer = Transfer(command, direction, relaying=True)
            out.append(StartRelay(direction))
        else:
            self._transfer = Transfer(command, direction)

    def _refuse_transfer(self, reply: bytes, out: list[Action]) -> None:
        """The held transfer ends before the real server heard of it."""
        command, self._held = self._held, None
        if self._job is _Job.WAIT:
            out.append(StopWaiting())
        self._job = _IDLE
        self._drop_client_data(out)
        self._server_data = _Data.NONE
        out.append(DropServerData())
        self._say(reply, out)
        if command is not None:
            out.append(_held_ended(command, Outcome.FAILED, Reply(425, reply).text))

    def _abort(self, line: bytes, out: list[Action]) -> bool:
        """ABOR in front of which only a transfer stands; False leaves it to its turn."""
        transfer = self._transfer
        if transfer is not None:
            if transfer.aborted:
                return False
            if transfer.abort(line, out):
                self._transfer_over()
                return False  # the real server has ended it: ABOR finds it idle
            return True
        command = self._held
        if command is None or command.verb == b"REST":
            return False
        self._held = None
        if self._job is _Job.WAIT:
            out.append(StopWaiting())
            self._job = _IDLE
            self._drop_data(out)
        out.append(ToClient(b"426 Transfer aborted.\r\n226 ABOR command successful.\r\n"))
        out.append(_held_ended(command, Outcome.ABORTED, "aborted by the client"))
        return True

    def _data_failed(self, side: Side, text: str, out: list[Action]) -> None:
        if self._job is _Job.WAIT:
            self._refuse_transfer(_no_data(text), out)
        elif self._transfer is not None and self._transfer.data_broken(side, text, out):
            self._transfer_over()

    def _transfer_over(self) -> None:
        """Both data connections are used up; PORT stays in force (RFC 959 section 3.2)."""
        aborted = self._transfer is not None and self._transfer.aborted
        self._due = self._stat_due + aborted
        self._stat_due = 0
        self._transfer = None
        self._held = None
        self._client_data = self._server_data = _Data.NONE
        self._job = _Job.TAIL if self._due else _IDLE

    # -- replies ----------------------------------------------------------------------------------------------------

    def _reply_line(self, line: ReplyLine, out: list[Action]) -> None:
        """A reply belongs to what was under way when its first line came; a passed command's goes line by line."""
        data, code, last = line
        route = self._route or self._job
        if route is _ENDED:
            return
        self._route = None if last else route
        if code in _PASSIVE_REPLIES and self._opening is None:
            if last:
                self._unasked(route, out)
        elif route is _PASS:
            out.append(ToClient(data))
            if last:
                self._passed(code, out)
        elif last and not self._parts:
            self._replied(Reply(code, data), route, out)
        else:
            self._collect(line, route, out)

    def _unasked(self, route: _Job, out: list[Action]) -> None:
        """A data port of the real server that the director did not ask for: no client may hear of it.

        Some server took a command for PASV that the director did not; where nothing was passed on it is a late answer.
        """
        if route is _PASS or route is _Job.FEAT:
            self._job = _IDLE
            out.append(ToClient(format_reply(502, "Not offered here; use PASV or EPSV")))

    def _collect(self, line: ReplyLine, route: _Job, out: list[Action]) -> None:
        self._parts.append(line.data)
        self._size += len(line.data)
        if self._size > LARGEST_REPLY_BYTES:
            raise ProtocolError("The real server sent a reply that is too long", reply_code=421)
        if line.last:
            whole = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._replied(Reply(line.code, whole), route, out)

    def _passed(self, code: int, out: list[Action]) -> None:
        """The passed command's reply went to the client as it came."""
        if code == 421:
            self._farewell = True
        if code >= 200:
            self._job = _IDLE
            self._learn(code, out)
        else:
            self._maybe_transfer(out)

    def _learn(self, code: int, out: list[Action]) -> None:
        """What a passed command's final reply says of the session."""
        verb = self._verb
        if verb == b"QUIT" and code == 221:
            self._farewell = True
        elif code in (230, 232) and verb in (b"USER", b"PASS", b"ACCT"):
            self._logged_in = True
            out.append(LoggedIn(self._user))
        elif verb == b"REIN" and 200 <= code < 300:  # RFC 959 section 4.1.1: all parameters are as at the beginning
            self._drop_data(out)
            self._active_endpoint = None
            self._logged_in = self._epsv_all = False

    def _maybe_transfer(self, out: list[Action]) -> None:
        """A preliminary reply to an unknown command: it uses the data connections, if they are set up."""
        command = self._held
        if command is None or command.verb in ORDINARY or self._server_data not in (_Data.DUE, _Data.OPEN):
            return
        if self._client_data is _Data.NONE and self._active_endpoint is not None:
            self._client_data = _Data.DUE
            out.append(ConnectToClient(self._active_endpoint))
        if self._client_data not in (_Data.DUE, _Data.OPEN):
            return
        self._transfer = Transfer(command, Direction.BOTH, relaying=True)
        self._transfer.preliminary = True
        self._job = _TRANSFER
        out.append(StartRelay(Direction.BOTH))

    def _replied(self, reply: Reply, route: _Job, out: list[Action]) -> None:
        """A reply is whole that the director asked for itself, or must judge."""
        if self._job is not route and route is not _Job.TAIL:
            self._stray(reply, out)
        elif self._opening is not None and not (self._opening.announced or self._opening.answer):
            self._opening.replied(reply, out, logged_in=self._logged_in)
            self._after_opening(out)
        elif self._transfer is not None:
            self._transfer_replied(self._transfer, reply, out)
        elif self._job is _Job.FENCE:
            self._fence_replied(reply, out)
        elif self._job is _Job.TAIL:
            self._tail_replied(reply, out)
        else:
            self._say(edit_features(reply.data) if route is _Job.FEAT and reply.code == 211 else reply.data, out)
            if route is _Job.FEAT and reply.code >= 200:
                self._job = _IDLE

    def _transfer_replied(self, transfer: Transfer, reply: Reply, out: list[Action]) -> None:
        code = reply.code
        if code == 421:
            self._farewell = True
        if code < 200:
            transfer.began(reply, out)
        elif self._stat_due and _answers_stat(transfer, code):
            self._stat_due -= 1
            # A 2xx that is no status would pass for the end of the transfer.
            looks_final = 200 <= code < 300 and code not in _STATUS_REPLIES
            out.append(ToClient(format_reply(211, "Transfer under way.") if looks_final else reply.data))
        elif transfer.final is not None:
            if code == 421:
                out.append(ToClient(reply.data))
        elif transfer.answered(reply, out):
            self._transfer_over()

    def _stray(self, reply: Reply, out: list[Action]) -> None:
        """What it answered is over, or nothing was asked; in a transfer a stray 2xx would pass for its end."""
        if not (self._job in _OF_A_TRANSFER and 200 <= reply.code < 300):
            self._say(reply.data, out)

    def _tail_replied(self, reply: Reply, out: list[Action]) -> None:
        self._say(reply.data, out)
        self._due -= reply.code >= 200
        if not self._due:
            self._job = _IDLE

    def _fence_replied(self, reply: Reply, out: list[Action]) -> None:
        """Replies to ABOR and STAT come before the one to NOOP, if they come at all: NOOP's is kept back."""
        code = reply.code
        self._due -= code >= 200
        if not self._due or (200 <= code < 300 and code not in _STATUS_REPLIES and code not in _ABOR_REPLIES):
            self._due = 0
            self._job = _IDLE
        else:
            self._say(reply.data, out)

    def _say(self, reply: bytes, out: list[Action]) -> None:
        if reply.startswith(b"421"):
            self._farewell = True
        out.append(ToClient(reply))

    # -- ends -------------------------------------------------------------------------------------------------------

    def _drop_client_data(self, out: list[Action]) -> None:
        if self._client_data is not _Data.NONE:
            self._client_data = _Data.NONE
            out.append(DropClientData())

    def _drop_data(self, out: list[Action]) -> None:
        self._drop_client_data(out)
        if self._server_data is not _Data.NONE:
            self._server_data = _Data.NONE
            out.append(DropServerData())

    def _said_quit(self) -> bool:
        if self._job is _PASS and self._verb == b"QUIT":
            return True
        return any(line is not None and line.rstrip().upper() == b"QUIT" for line in self._queue)

    def _end(self, reason: str, out: list[Action], *, say: str = "") -> None:
        """Close, whatever is under way; data that is not whole is reset."""
        if self._job is _ENDED:
            return
        if self._transfer is not None:
            self._transfer.end(out, Outcome.FAILED, reason)
        elif self._job in _OF_A_TRANSFER and self._held is not None:
            out.append(_held_ended(self._held, Outcome.FAILED, reason))
        out.append(DropClientData())
        if self._transfer is None or not self._transfer.upload_ended:
            out.append(DropServerData())
        if say and not self._farewell:
            out.append(ToClient(format_reply(421, say)))
        # Whoever closes first after QUIT and its 221, nobody was lost.
        out.append(Close("the client said QUIT" if self._farewell and self._verb == b"QUIT" else reason))
        self._job = _ENDED
        self._transfer = self._held = self._opening = None
        self._queue.clear()
        self._held_bytes = 0

    _HANDLERS: ClassVar[dict[bytes, Callable[[Session, Command, list[Action]], None]]] = {
        **dict.fromkeys(TRANSFERS, _begin_transfer),
        **dict.fromkeys(REFUSED_VERBS, _refuse_verb),
        b"PASV": _pasv,
        b"EPSV": _epsv,
        b"PORT": _port,
        b"EPRT": _eprt,
        b"REST": _rest,
        b"FEAT": _feat,
        b"MODE": _mode,
        b"STRU": _stru,
        b"USER": _user_name,
    }
    """The verbs that the director looks at; every other one passes."""


def _answers_stat(transfer: Transfer, code: int) -> bool:
    if code in _STATUS_REPLIES or transfer.final is not None:
        return True
    return transfer.preliminary and code in _NOT_OF_A_TRANSFER


def _no_data(text: str) -> bytes:
    return format_reply(425, f"Can't open data connection: {text}")


def _held_ended(command: Command, outcome: Outcome, reply: str) -> TransferEnded:
    direction = TRANSFERS.get(command.verb, Direction.BOTH)
    return TransferEnded(command.verb.decode("latin-1"), printable(command.argument), direction, outcome, reply)
