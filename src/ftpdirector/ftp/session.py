"""One client's session with one real server: what either of them says in, what the engine is to do out.

Every event is a method that returns the actions due, in order. Commands are handled strictly one after the other; what
comes early is held. This module knows no socket, no time, no other session and no scheduling.

Jobs, one at a time, and which may follow (`NEXT`, which a test walks):

    IDLE      -> any command: PASS, FEAT, SETUP, REOPEN, WAIT or TRANSFER, by its handler in `_HANDLERS`
    PASS      a command was passed on as it is; its final reply -> IDLE, TAIL behind an ABOR that overtook it
    FEAT      the same, but the reply is edited
    SETUP     PASV, EPSV, PORT or EPRT is being answered -> IDLE, TAIL where answers are still owed
    REOPEN    server data is announced anew before the held command -> WAIT, TRANSFER; PASS for REST; IDLE when refused
    WAIT      the held transfer command waits for its data connections -> TRANSFER, REOPEN, IDLE
    TRANSFER  -> IDLE, TAIL where more replies may come
    TAIL      replies to something that is over may come; nothing waits -> FENCE as soon as a command does
    FENCE     the director's own command was sent behind such replies, to learn where they end -> IDLE
    ENDED     from everywhere
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, auto
from typing import ClassVar, Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import (
    DATA_READY,
    DROP_CLIENT,
    DROP_SERVER,
    START_ANSWER,
    STOP_ANSWER,
    Action,
    Clock,
    Close,
    Direction,
    Outcome,
    Refused,
    Side,
    StartClock,
    StartRelay,
    StopClock,
    ToClient,
    ToServer,
)
from ftpdirector.ftp.capabilities import PLAIN, REFUSED_MODES, REFUSED_STRUCTURES, Capabilities
from ftpdirector.ftp.command_queue import MOST_HELD_BYTES, CommandQueue
from ftpdirector.ftp.commands import ORDINARY, TRANSFERS, Command, letter, parse_command
from ftpdirector.ftp.data_pair import Data, DataPair, Ready, no_data
from ftpdirector.ftp.endpoints import (
    EpsvArgument,
    parse_eprt_argument,
    parse_epsv_argument,
    parse_port_argument,
    plain_address,
)
from ftpdirector.ftp.lines import LineReader
from ftpdirector.ftp.login import Login
from ftpdirector.ftp.parameters import FOLLOWED, Parameters
from ftpdirector.ftp.pending_replies import STATUS_REPLIES, Fate, PendingReplies, fence, is_fence
from ftpdirector.ftp.replies import Reply, ReplyLine, ReplyReader, format_reply
from ftpdirector.ftp.server_data import LOWEST_DATA_PORT, PASSIVE_REPLIES
from ftpdirector.ftp.transfer import Transfer, abor, transfer_ended
from ftpdirector.model import DataToServer, Endpoint

__all__ = ["MOST_HELD_BYTES", "Job", "Session", "Side"]

_MOST_STAT: Final = 16
_NOT_OF_A_TRANSFER: Final = frozenset({500, 501, 502, 503, 504, 530})
"""After 1xx no transfer ends with these (RFC 959 section 5.4): they answer a STAT."""
NOOP_REPLY: Final = b"200 NOOP command successful.\r\n"


class Job(IntEnum):
    """What is under way with the real server; see the head of this module."""

    IDLE = auto()
    PASS = auto()
    FEAT = auto()
    SETUP = auto()
    REOPEN = auto()
    WAIT = auto()
    TRANSFER = auto()
    TAIL = auto()
    FENCE = auto()
    ENDED = auto()


_IDLE: Final = Job.IDLE
_PASS: Final = Job.PASS
_TRANSFER: Final = Job.TRANSFER
_ENDED: Final = Job.ENDED
_OF_A_TRANSFER: Final = frozenset({Job.REOPEN, Job.WAIT, Job.TRANSFER})
_AWAITS_SERVER: Final = frozenset({Job.PASS, Job.FEAT, Job.SETUP, Job.REOPEN, Job.FENCE})

NEXT: Final = {
    Job.IDLE: {Job.PASS, Job.FEAT, Job.SETUP, Job.REOPEN, Job.WAIT, Job.TRANSFER, Job.ENDED},
    Job.PASS: {Job.IDLE, Job.TAIL, Job.FENCE, Job.TRANSFER, Job.ENDED},
    Job.FEAT: {Job.IDLE, Job.TAIL, Job.ENDED},
    Job.SETUP: {Job.IDLE, Job.TAIL, Job.ENDED},
    Job.REOPEN: {Job.IDLE, Job.WAIT, Job.TRANSFER, Job.PASS, Job.TAIL, Job.ENDED},
    Job.WAIT: {Job.IDLE, Job.TRANSFER, Job.REOPEN, Job.ENDED},
    Job.TRANSFER: {Job.IDLE, Job.TAIL, Job.ENDED},
    Job.TAIL: {Job.IDLE, Job.FENCE, Job.ENDED},
    Job.FENCE: {Job.IDLE, Job.ENDED},
    Job.ENDED: set[Job](),
}


class Session:
    """The sans-I/O control connection; begins after the real server's greeting was given to the client."""

    __slots__ = (
        "_actions", "_capabilities", "_client", "_client_gone", "_data", "_doubt", "_epsv_all", "_farewell", "_fenced",
        "_held", "_is_ending", "_job", "_lines", "_login", "_overtook", "_parameters", "_pending", "_queue", "_replies", "_route",
        "_server_gone", "_shutting_down", "_stat_due", "_transfer", "_verb", "_virtual",
    )  # fmt: skip

    def __init__(
        self,
        *,
        client: Endpoint,
        virtual: Endpoint,
        server: Endpoint,
        data_to_server: DataToServer = DataToServer.PASSIVE,
        refused: frozenset[str] = frozenset(),
        capabilities: Capabilities = PLAIN,
    ) -> None:
        """`virtual` is the local address that the client connected to, `refused` the verbs this server refuses."""
        self._actions: list[Action] = []
        self._client = plain_address(client.address)
        self._virtual = plain_address(virtual.address)
        self._capabilities = capabilities
        self._lines = LineReader()
        self._replies = ReplyReader()
        self._queue = CommandQueue()
        self._login = Login(self._actions)
        self._parameters = Parameters()
        self._pending = PendingReplies()
        self._data = DataPair(self._actions, plain_address(server.address), data_to_server, refused)
        self._job = _IDLE
        self._verb = b""
        self._route: Job | None = None
        self._doubt = 0
        self._held: Command | None = None
        self._transfer: Transfer | None = None
        self._stat_due = 0
        self._overtook = 0
        self._fenced = False
        self._epsv_all = False
        self._farewell = False
        self._is_ending = False
        self._client_gone = False
        self._server_gone = False
        self._shutting_down = False

    @property
    def reading_client(self) -> bool:
        """False while too much is held back: the engine stops reading the client."""
        return self._queue.has_room

    @property
    def transferring(self) -> bool:
        """Whether a transfer is under way or waits for its data connection."""
        return self._job in _OF_A_TRANSFER

    @property
    def awaits_server(self) -> bool | None:
        """Whether something is due from the real server, so that the session is not idle; None: ask the relay."""
        if self._client_gone:
            return False  # Nobody is left to wait for it.
        if self._transfer is not None:
            return self._transfer.awaits_server
        return self._job in _AWAITS_SERVER

    @property
    def may_be_stuck(self) -> bool:
        """Whether a command waits for a reply that may never come: `silence` is due when nobody says anything."""
        if not self._queue:
            return False
        if self._job is _PASS:
            return not self._fenced
        return self._transfer is not None and self._transfer.is_lost

    # -- the control connections ------------------------------------------------------------------------------------

    def client_bytes(self, data: bytes) -> list[Action]:
        """The client said this."""
        for line in self._lines.feed(data):
            if self._job is _IDLE and not self._queue.count:
                self._begin(line)
            elif self._job is not _ENDED:
                self._hold(line)
        return self._take()

    def server_bytes(self, data: bytes) -> list[Action]:
        """The real server said this."""
        if self._job is _ENDED:
            return []
        if self._doubt:
            self._doubt = 0
            self._actions.append(StopClock(Clock.HALF_REPLY))
        for line in self._replies.lines(data):
            self._reply_line(line)
        if self._doubt:
            self._actions.append(StartClock(Clock.HALF_REPLY))
        return self._take()

    def client_lost(self, *, reset: bool = False) -> list[Action]:
        """The client's control connection ended: its sending half, or by RST altogether.

        Behind a FIN it is still due the answers to what it said. But behind an upload that is not at its end, without a
        QUIT, it was killed: the two look alike, and a file cut short must not be taken for whole.
        """
        self._client_gone = self._is_ending = True
        if not self._said_quit() and (reset or self._has_open_upload()):
            self._end("the client is gone")
        return self._take()

    def server_lost(self) -> list[Action]:
        """The real server's control connection ended."""
        if self._job is _ENDED:
            return []
        for line in self._replies.flush():
            self._reply_line(line)
        if self._transfer is not None and self._transfer.final is not None:
            self._server_gone = self._is_ending = True  # its last word is here, only data is still on the way
            return self._take()
        asked = self._data.asks
        if asked is not None:
            asked.lost(logged_in=self._login.is_done)
        self._end("the real server is gone", say="Service not available, the real server closed the connection")
        return self._take()

    # -- what the engine did ----------------------------------------------------------------------------------------

    def listening(self, side: Side, endpoint: Endpoint) -> list[Action]:
        """`Listen` was done; `endpoint` is what the client, or the real server, is told."""
        if side is Side.SERVER:
            if self._data.asks is not None:
                self._data.asks.listening(endpoint)
        elif self._job is Job.SETUP and self._data.awaits_lease:
            self._data.leased(endpoint)
            self._settle_setup()
        return self._take()

    def listen_failed(self, side: Side, text: str) -> list[Action]:
        """`Listen` could not be done."""
        if side is Side.SERVER:
            if self._data.asks is not None:
                self._data.asks.listen_failed(text)
                self._after_announcement()
        elif self._job is Job.SETUP and self._data.awaits_lease:
            self._data.not_leased(text)
            self._settle_setup()
        return self._take()

    def data_open(self, side: Side) -> list[Action]:
        """A data connection stands."""
        if self._data.opened(side):
            if self._job is Job.WAIT:
                self._await_data()
            elif self._transfer is not None and self._data.both_stand:
                self._actions.append(StopClock(Clock.DATA_CONNECTION))
        return self._take()

    def data_failed(self, side: Side, text: str) -> list[Action]:
        """A data connection could not be opened."""
        text = self._data.failed(side, text, logged_in=self._login.is_done)
        if text:
            self._data_failed(side, text)
        return self._take()

    def data_ended(self, direction: Direction, *, whole: bool = True, empty: bool = False) -> list[Action]:
        """The sender sent FIN, and all its bytes were handed to the receiver's socket; `empty`: there were none.

        `whole` is false where the stream itself says that it was cut (TLS without close_notify, RFC 8446 section 6.1).
        """
        transfer = self._transfer
        if transfer is not None:
            if whole:
                over = transfer.data_ended(direction, empty=empty)
            else:
                sender = Side.CLIENT if direction is Direction.UPLOAD else Side.SERVER
                over = transfer.data_broken(sender, "the stream was cut", empty=False)
            if over:
                self._transfer_over()
        return self._take()

    def data_broken(self, side: Side, text: str, *, empty: bool = False) -> list[Action]:
        """That data connection failed in mid-transfer, or while it waited for one; `empty`: before the first byte."""
        transfer = self._transfer
        if transfer is not None:
            if transfer.data_broken(side, text, empty=empty):
                self._transfer_over()
        else:
            why = self._data.failed(side, text, logged_in=self._login.is_done, was_open=True)
            if why and self._job is Job.WAIT:
                self._await_data()
        return self._take()

    def clock_ran_out(self, clock: Clock) -> list[Action]:
        """The time of `StartClock` is over."""
        match clock:
            case Clock.LOGIN:
                if not self._login.is_done:
                    self._end("no login in time", say="Login timed out, closing control connection")
            case Clock.ANSWER:
                self._not_answered()
            case Clock.EARLY_COMMAND:
                if self._job is Job.WAIT and self._data.server is not Data.FAILED:
                    self._send_transfer()
            case Clock.DATA_CONNECTION:
                self._no_data_connection()
            case Clock.LATE_END:
                if self._transfer is not None:
                    stands = self._data.server is Data.OPEN
                    if self._transfer.end_is_late(server_stands=stands):
                        self._transfer_over()
            case Clock.HALF_REPLY:
                code, self._doubt = self._doubt, 0
                if code:
                    self._replies.end_here()
                    self._reply_line(ReplyLine(b"", code, last=True))
        return self._take()

    def silence(self) -> list[Action]:
        """Neither side has said anything for a while, and a command waits; see `may_be_stuck`.

        Pure-FTPd has no final word for a transfer that its client ended early, and none for TAB before a verb.
        """
        if self.may_be_stuck:
            if self._job is _PASS:
                self._fenced = True
                self._actions += (START_ANSWER, ToServer(fence(self._verb)))
            else:
                self._give_transfer_up()
        return self._take()

    def not_replied(self) -> list[Action]:
        """The real server owes a reply for longer than it may."""
        self._end("the real server did not reply in time", say="Service not available, the real server does not reply")
        return self._take()

    def idle_timed_out(self) -> list[Action]:
        """Nothing was due from the real server, nothing was said and nothing was moved for too long."""
        self._end("idle for too long", say="Timeout, closing control connection")
        return self._take()

    def shutting_down(self) -> list[Action]:
        """The director ends: at once if no transfer runs, else behind it."""
        self._shutting_down = self._is_ending = True
        return self._take()

    # -- commands ---------------------------------------------------------------------------------------------------

    def _take(self) -> list[Action]:
        """The actions of an event; first go on with what was held, or end if that is due."""
        if self._queue.count or (self._is_ending and self._job is not _PASS):
            self._settle()
        actions = self._actions[:]
        self._actions.clear()
        return actions

    def _settle(self) -> None:
        if self._job is _IDLE and self._server_gone:
            self._end("the real server is gone", say="Service not available, the real server is gone")
        if self._shutting_down and self._job is not _ENDED and self._job not in _OF_A_TRANSFER:
            self._end("the director is shutting down", say="Service not available, shutting down")
        queue = self._queue
        while queue and self._job is _IDLE:
            self._begin(queue.take())
        if queue:
            if self._transfer is not None and self._transfer.had_further_word:
                self._give_transfer_up()
            if self._job is Job.TAIL:
                self._job = Job.FENCE
                self._pending.due += 1
                self._actions += (START_ANSWER, ToServer(b"NOOP\r\n"))
        elif self._client_gone and self._job in (_IDLE, Job.TAIL):
            self._end("the client is gone")

    def _hold(self, line: bytes | None) -> None:
        """Keep a command until those before it are done; some may overtake (RFC 959 section 4.1.3)."""
        if line is not None and len(line) <= 8:
            word = line.rstrip().upper()
            if not word or (word == b"ABOR" and self._abort(line)):
                return
            if not self._queue and self._overtakes(word):
                return
        self._queue.hold(line)

    def _overtakes(self, word: bytes) -> bool:
        transfer = self._transfer
        if word == b"STAT" and transfer is not None and self._stat_due < _MOST_STAT:
            self._stat_due += 1
            self._actions.append(ToServer(b"STAT\r\n"))
            return True
        if word == b"NOOP" and self._job in _OF_A_TRANSFER and not (transfer is not None and transfer.is_lost):
            # Clients keep the control connection alive so; few real servers answer before the transfer is over.
            self._actions.append(ToClient(NOOP_REPLY))
            return True
        return False

    def _begin(self, line: bytes | None) -> None:
        if not line:
            if line is None:
                self._refuse("", 500, "Line too long")
            return  # An empty line is no command: real servers pass over it in silence.
        try:
            command = parse_command(line)
            handler = self._HANDLERS.get(command.verb)
            if handler is not None:
                handler(self, command)
            elif command.verb in self._capabilities.refused_verbs:
                self._refuse(command.verb.decode(), 502, self._capabilities.refused_verbs[command.verb])
            else:
                self._pass(command)
        except ProtocolError as error:
            self._refuse(line.partition(b" ")[0].decode("latin-1"), error.reply_code, str(error))

    def _refuse(self, verb: str, code: int, text: str) -> None:
        """The director's own no: to the client, and for the log."""
        self._actions += (ToClient(format_reply(code, text)), Refused(verb, f"{code} {text}"))

    def _pass(self, command: Command) -> None:
        self._verb = command.verb
        self._held = command
        self._job = _PASS
        self._actions.append(ToServer(command.line + b"\r\n"))

    def _pass_abor(self, command: Command) -> None:
        self._pass(command)
        self._actions[-1:] = abor(command.line)

    def _feat(self, command: Command) -> None:
        self._job = Job.FEAT
        self._actions += (START_ANSWER, ToServer(command.line + b"\r\n"))

    def _mode(self, command: Command) -> None:
        if letter(command) in REFUSED_MODES:
            why = "block and compressed mode hide the end of a file inside the stream"
            raise ProtocolError(f"Only stream mode (MODE S) is offered here: {why}", reply_code=504)
        self._pass(command)

    def _stru(self, command: Command) -> None:
        if letter(command) in REFUSED_STRUCTURES:
            why = "records and pages hide the end of a file inside the stream"
            raise ProtocolError(f"Only file structure (STRU F) is offered here: {why}", reply_code=504)
        self._pass(command)

    def _user_name(self, command: Command) -> None:
        """USER changes no transfer parameter, so PORT stays in force (RFC 959 section 4.1.1)."""
        self._login.named(command)
        self._pass(command)

    def _rest(self, command: Command) -> None:
        """Nothing may stand between REST and its transfer (RFC 959 section 4.1.3): open server data before it."""
        data = self._data
        self._held = command
        if data.server is Data.FAILED and data.ask_again():
            self._reopening()
        elif data.active_endpoint is not None and data.server in (Data.NONE, Data.FAILED):
            self._reopen()
        else:
            self._pass(command)

    # -- PASV, EPSV, PORT, EPRT -------------------------------------------------------------------------------------

    def _pasv(self, command: Command) -> None:
        self._check_epsv_all(command)
        if self._virtual.version == 6:
            raise ProtocolError("Can't open data connection: PASV knows no IPv6, use EPSV", reply_code=425)
        self._set_up(command, None)

    def _epsv(self, command: Command) -> None:
        asked = parse_epsv_argument(command.argument)
        if asked is EpsvArgument.ALL:  # RFC 2428 section 4: from now on nothing else
            self._epsv_all = True
            self._actions.append(ToClient(b"200 EPSV ALL command successful.\r\n"))
            return
        own = EpsvArgument.IPV4 if self._virtual.version == 4 else EpsvArgument.IPV6
        if asked is not EpsvArgument.PLAIN and asked is not own:
            self._refuse_protocol()
        self._set_up(command, None)

    def _port(self, command: Command) -> None:
        self._check_epsv_all(command)
        endpoint = parse_port_argument(command.argument)
        self._check_own(command, endpoint)
        self._set_up(command, endpoint)

    def _eprt(self, command: Command) -> None:
        self._check_epsv_all(command)
        endpoint = parse_eprt_argument(command.argument)
        if plain_address(endpoint.address).version != self._client.version:
            self._refuse_protocol()
        self._check_own(command, endpoint)
        self._set_up(command, endpoint)

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

    def _set_up(self, command: Command, active: Endpoint | None) -> None:
        self._job = Job.SETUP
        self._data.set_up(command.verb, active)
        self._settle_setup()

    def _after_announcement(self) -> None:
        """Go on if server data is announced, or will never be."""
        self._data.follow()
        if self._data.asks is None:
            if self._job is Job.SETUP:
                self._settle_setup()
            elif self._job is Job.REOPEN:
                self._settle_reopen()

    def _settle_setup(self) -> None:
        """Answer the client once both sides are announced."""
        data = self._data
        if not data.is_ready():
            return
        reply, is_good = data.answer()
        self._announcement_over()
        if is_good:
            self._actions += (ToClient(reply), DATA_READY)
        else:
            data.refuse(keep_port=False)
            self._say(reply)
            self._actions.append(Refused("data connection", Reply(425, reply).text))

    def _announcement_over(self) -> None:
        """Answers that are late would be taken for those to what comes next."""
        owed = self._data.announcement.owed if self._data.announcement is not None else 0
        self._job = Job.TAIL if owed else _IDLE
        if owed:
            self._pending.expect(owed, Fate.MUTE)

    def _not_answered(self) -> None:
        asked = self._data.asks
        if asked is not None and self._job in (Job.SETUP, Job.REOPEN):
            asked.silent(logged_in=self._login.is_done)
            self._after_announcement()
        elif self._job is Job.FEAT:
            self._refuse("FEAT", 502, "The real server does not answer")
            self._pending.expect(1, Fate.MUTE)
            self._job = Job.TAIL
        elif self._job is _PASS and self._fenced and self._route is not None:
            self._actions.append(START_ANSWER)  # its reply has begun
        elif self._job is Job.FENCE or (self._job is _PASS and self._fenced):
            self._fenced = False
            self._job = _IDLE

    # -- transfers --------------------------------------------------------------------------------------------------

    def _begin_transfer(self, command: Command) -> None:
        if self._client_gone and TRANSFERS[command.verb] is Direction.UPLOAD and not self._said_quit():
            self._end("the client is gone")
            return
        self._held = command
        if not self._data.is_set_up:
            if self._login.is_done:
                # The default port of RFC 959 section 3.2 is nobody's today; some servers say 150 and wait for ever.
                self._refuse_transfer(no_data("use PASV or PORT first"))
            else:
                self._send_transfer()  # the real server says what is wrong
        elif self._data.server is Data.NONE:
            self._reopen()
        else:
            self._await_data()

    def _reopen(self) -> None:
        self._job = Job.REOPEN
        self._data.reopen()
        self._after_announcement()

    def _reopening(self) -> None:
        """The real server is asked another way for its data connection."""
        self._stop_waiting()
        self._job = Job.REOPEN
        self._after_announcement()

    def _settle_reopen(self) -> None:
        announcement = self._data.announcement
        answer = announcement.answer if announcement is not None else b""
        command = self._held
        self._announcement_over()
        if command is None:  # aborted meanwhile
            self._data.drop()
        elif answer and command.verb == b"REST":
            self._actions.append(DROP_SERVER)
            self._say(answer)
        elif answer:
            self._refuse_transfer(answer)
        elif command.verb == b"REST":
            self._pass(command)
        else:
            self._await_data()

    def _await_data(self) -> None:
        """The real server hears of the transfer once its data connections stand, or when the client lets it wait.

        Clients that connect only when they have read 150 exist, and get it so.
        """
        data = self._data
        match data.ready():
            case Ready.READY:
                self._send_transfer()
            case Ready.REFUSED:
                may_ask = data.server is Data.FAILED and data.client is not Data.FAILED and self._verb != b"REST"
                if may_ask and data.ask_again():
                    self._reopening()
                else:
                    self._refuse_transfer(no_data(data.why or "it failed"))
            case Ready.WAITING:
                data.connect_client()
                if self._job is not Job.WAIT:
                    self._job = Job.WAIT
                    self._actions += (StartClock(Clock.EARLY_COMMAND), StartClock(Clock.DATA_CONNECTION))

    def _stop_waiting(self) -> None:
        if self._job is Job.WAIT:
            self._actions += (StopClock(Clock.EARLY_COMMAND), StopClock(Clock.DATA_CONNECTION))

    def _send_transfer(self) -> None:
        command = self._held
        if command is None:
            return
        if self._data.ready() is Ready.READY:
            self._stop_waiting()
        direction = TRANSFERS[command.verb]
        self._actions.append(ToServer(command.line + b"\r\n"))
        self._job = _TRANSFER
        self._verb = b""
        broken = "" if self._data.is_set_up else "no data connection, use PASV or PORT first"
        relaying = direction is Direction.DOWNLOAD and not broken
        self._transfer = Transfer(self._actions, command, self._parameters, direction, relaying=relaying, broken=broken)
        if relaying:
            self._actions.append(StartRelay(direction))

    def _refuse_transfer(self, reply: bytes) -> None:
        """The held transfer ends before the real server heard of it."""
        command, self._held = self._held, None
        self._stop_waiting()
        if self._job is not Job.TAIL:
            self._job = _IDLE
        self._data.refuse(keep_port=True)
        self._say(reply)
        if command is not None:
            self._log_end(command, Outcome.FAILED, Reply(425, reply).text)

    def _abort(self, line: bytes) -> bool:
        """ABOR is not held behind what is to be aborted; False leaves it to its turn."""
        transfer, command = self._transfer, self._held
        if transfer is not None:
            if transfer.aborted:
                return False
            if transfer.abort(line):
                self._transfer_over()
                self._queue.hold_first(line)  # the real server has ended it: ABOR finds it idle
        elif self._job in _OF_A_TRANSFER and command is not None and command.verb != b"REST":
            self._held = None
            if self._job is Job.WAIT:
                self._stop_waiting()
                self._job = _IDLE
                self._data.drop()
            self._actions.append(ToClient(b"426 Transfer aborted.\r\n226 ABOR command successful.\r\n"))
            self._log_end(command, Outcome.ABORTED, "aborted by the client")
        elif self._job is _PASS and not self._queue and not self._fenced:
            self._overtook += 1
            self._actions += abor(line)
        else:
            return False
        return True

    def _data_failed(self, side: Side, text: str) -> None:
        transfer = self._transfer
        if self._job is Job.WAIT:
            self._await_data()
        elif transfer is None:
            return
        elif side is Side.CLIENT and not transfer.is_lost:
            self._nobody_connected(transfer, text)
        elif transfer.data_broken(side, text, empty=True):
            self._transfer_over()

    def _no_data_connection(self) -> None:
        """Nobody connected in time."""
        client_is_due = self._data.client is not Data.OPEN
        if not client_is_due and self._data.server is Data.DUE:
            text = self._data.failed(Side.SERVER, "it does not answer", logged_in=self._login.is_done)
        else:
            text = "nobody connected in time"
        if self._job is Job.WAIT:
            self._refuse_transfer(no_data(text))
        elif self._transfer is not None and not self._data.both_stand and not self._transfer.is_lost:
            self._nobody_connected(self._transfer, text)

    def _nobody_connected(self, transfer: Transfer, text: str) -> None:
        """The real server has the command: what it says of it is not for the client any more."""
        due = self._stat_due + (transfer.final is None)
        transfer.nobody_connected(text)
        self._transfer_over()
        self._pending.expect(due, Fate.MUTE)
        self._job = Job.TAIL if due else _IDLE

    def _give_transfer_up(self) -> None:
        """It is broken, the real server has no final word for it, and the next command waits: the fence tells."""
        transfer = self._transfer
        if transfer is None:
            return
        fate = Fate.SAY if transfer.aborted else Fate.FAIL
        transfer.end(Outcome.ABORTED if transfer.aborted else Outcome.FAILED, "the real server said nothing final")
        due = self._stat_due + transfer.aborted + 1
        self._transfer_over()
        self._pending.expect(due, fate)
        self._job = Job.TAIL

    def _transfer_over(self) -> None:
        """Both data connections are used up; PORT stays in force (RFC 959 section 3.2)."""
        transfer = self._transfer
        due = self._stat_due + (transfer is not None and transfer.aborted)
        self._pending.expect(due)
        if not self._data.both_stand:
            self._actions.append(StopClock(Clock.DATA_CONNECTION))
        self._stat_due = 0
        self._transfer = None
        self._held = None
        self._data.used_up()
        self._job = Job.TAIL if due else _IDLE

    # -- replies ----------------------------------------------------------------------------------------------------

    def _reply_line(self, line: ReplyLine) -> None:
        """A reply belongs to what was under way when its first line came; a passed command's goes line by line."""
        data, code, last, self._doubt = line
        if not code:
            if self._job is not _ENDED:
                self._actions.append(ToClient(data))  # no reply at all: clients skip it, as directly
            return
        route = self._route or self._job
        self._route = None if last else route
        if route is _PASS and code not in PASSIVE_REPLIES and not (self._fenced and is_fence(self._verb, code)):
            if data:
                self._actions.append(ToClient(data))
            if last:
                self._passed(code, data)
        elif route is not _ENDED:
            reply = self._pending.collect(line)
            if reply is not None:
                self._replied(reply, route)

    def _passed(self, code: int, data: bytes) -> None:
        """The passed command's reply went to the client as it came."""
        if code >= 200:
            if self._fenced or self._overtook:
                self._pass_over()
            else:
                self._job = _IDLE
            if code == 421:
                self._farewell = True
            learn = self._LEARN.get(self._verb)
            if learn is not None:
                learn(self, code, data)
        else:
            self._maybe_transfer()

    def _pass_over(self) -> None:
        if self._fenced:
            self._fenced = False
            self._pending.expect(1 + self._overtook, Fate.MUTE)
            self._job = Job.FENCE
        else:
            self._pending.expect(self._overtook)
            self._job = Job.TAIL
        self._overtook = 0

    def _learn_quit(self, code: int, _: bytes) -> None:
        self._farewell = self._farewell or code == 221

    def _learn_login(self, code: int, _: bytes) -> None:
        self._login.learn(code)
        if self._verb == b"USER":
            self._parameters.forget()

    def _learn_rein(self, code: int, _: bytes) -> None:
        """RFC 959 section 4.1.1: all parameters are as at the beginning."""
        if 200 <= code < 300:
            self._data.drop()
            self._data.active_endpoint = None
            self._login.forget()
            self._parameters.forget()
            self._epsv_all = False

    def _learn_parameter(self, code: int, data: bytes) -> None:
        if self._held is not None:
            self._parameters.learn(self._verb, self._held.argument, code, data)

    def _maybe_transfer(self) -> None:
        """A preliminary reply to an unknown command: it uses the data connections, if they are set up."""
        command, data = self._held, self._data
        if command is None or command.verb in ORDINARY or data.server not in (Data.DUE, Data.OPEN):
            return
        data.connect_client()
        if data.client not in (Data.DUE, Data.OPEN):
            return
        self._transfer = Transfer(self._actions, command, self._parameters, Direction.BOTH, relaying=True)
        self._transfer.preliminary = True
        self._stat_due += self._overtook
        self._overtook = 0
        self._fenced = False
        self._job = _TRANSFER
        self._actions.append(StartRelay(Direction.BOTH))

    def _replied(self, reply: Reply, route: Job) -> None:
        """A reply is whole that the director asked for itself, or must judge."""
        job = self._job
        asked = self._data.asks
        if asked is not None and job is route and job in (Job.SETUP, Job.REOPEN):
            asked.replied(reply, logged_in=self._login.is_done)
            self._after_announcement()
        elif reply.code in PASSIVE_REPLIES:
            self._unasked(route)
        elif job is _PASS and route is _PASS:  # the fence's, and none to the command
            self._fenced = False
            self._job = _IDLE
            self._actions.append(STOP_ANSWER)
        elif job is not route and route is not Job.TAIL:
            self._stray(reply)
        elif job is _TRANSFER and self._transfer is not None:
            self._transfer_replied(self._transfer, reply)
        elif job is Job.FENCE:
            self._fence_replied(reply)
        elif job is Job.TAIL:
            self._tail_replied(reply)
        elif job is Job.FEAT:
            self._featured(reply)
        else:
            self._stray(reply)

    def _unasked(self, route: Job) -> None:
        """A data port of the real server that the director did not ask for: no client may hear of it.

        Some server took a command for PASV that the director did not; where nothing was passed on it is a late answer.
        """
        if route is self._job and route in (_PASS, Job.FEAT):
            self._job = _IDLE
            self._fenced = False
            self._refuse(self._verb.decode("latin-1"), 502, "Not offered here; use PASV or EPSV")

    def _transfer_replied(self, transfer: Transfer, reply: Reply) -> None:
        code = reply.code
        if code == 421:
            self._farewell = True
        if code < 200:
            transfer.began(reply)
        elif self._stat_due and _answers_stat(transfer, code):
            self._stat_due -= 1
            # A 2xx that is no status would pass for the end of the transfer.
            looks_final = 200 <= code < 300 and code not in STATUS_REPLIES
            self._actions.append(ToClient(format_reply(211, "Transfer under way.") if looks_final else reply.data))
        elif transfer.final is not None:
            if code == 421:
                self._actions.append(ToClient(reply.data))
        elif transfer.answered(
            reply, client_stands=self._data.client is Data.OPEN, server_stands=self._data.server is Data.OPEN
        ):
            self._transfer_over()
        elif not self._data.both_stand:
            self._actions.append(StartClock(Clock.DATA_CONNECTION))

    def _featured(self, reply: Reply) -> None:
        self._say(self._capabilities.edit_features(reply.data) if reply.code == 211 else reply.data)
        if reply.code >= 200:
            self._actions.append(STOP_ANSWER)
            self._job = _IDLE

    def _stray(self, reply: Reply) -> None:
        """What it answered is over, or nothing was asked; in a transfer a stray 2xx would pass for its end."""
        if not (self._job in _OF_A_TRANSFER and 200 <= reply.code < 300):
            self._say(reply.data)

    def _tail_replied(self, reply: Reply) -> None:
        self._say(self._pending.tail(reply))
        if self._pending.due <= 0:
            self._job = _IDLE

    def _fence_replied(self, reply: Reply) -> None:
        """Replies to what is over come before the fence's own, if they come at all; that one is kept back."""
        if self._pending.fence_ended(reply.code):
            self._pending.expect(0)
            self._job = _IDLE
            self._actions.append(STOP_ANSWER)
        else:
            self._say(self._pending.tail(reply))

    def _say(self, reply: bytes) -> None:
        if reply:
            self._farewell = self._farewell or reply.startswith(b"421")
            self._actions.append(ToClient(reply))

    # -- ends -------------------------------------------------------------------------------------------------------

    def _said_quit(self) -> bool:
        return (self._job is _PASS and self._verb == b"QUIT") or self._queue.has_quit

    def _has_open_upload(self) -> bool:
        if self._transfer is not None:
            return self._transfer.is_open_upload
        command = self._held
        return self._job in _OF_A_TRANSFER and command is not None and TRANSFERS.get(command.verb) is Direction.UPLOAD

    def _log_end(self, command: Command, outcome: Outcome, reply: str) -> None:
        self._actions.append(transfer_ended(command, self._parameters, outcome, reply))

    def _end(self, reason: str, *, say: str = "") -> None:
        """Close, whatever is under way; data that is not whole is reset."""
        if self._job is _ENDED:
            return
        transfer = self._transfer
        if transfer is not None:
            transfer.end(Outcome.FAILED, reason)
        elif self._job in _OF_A_TRANSFER and self._held is not None:
            self._log_end(self._held, Outcome.FAILED, reason)
        self._actions.append(DROP_CLIENT)
        if transfer is None or not transfer.upload_ended:
            self._actions.append(DROP_SERVER)
        if say and not self._farewell:
            self._actions.append(ToClient(format_reply(421, say)))
        # Whoever closes first after QUIT and its 221, nobody was lost.
        self._actions.append(Close("the client said QUIT" if self._farewell and self._verb == b"QUIT" else reason))
        self._job = _ENDED
        self._transfer = self._held = None
        self._doubt = 0
        self._data.forget()
        self._queue.clear()

    _HANDLERS: ClassVar[dict[bytes, Callable[[Session, Command], None]]] = {
        **dict.fromkeys(TRANSFERS, _begin_transfer),
        b"PASV": _pasv,
        b"EPSV": _epsv,
        b"PORT": _port,
        b"EPRT": _eprt,
        b"REST": _rest,
        b"FEAT": _feat,
        b"MODE": _mode,
        b"STRU": _stru,
        b"USER": _user_name,
        b"ABOR": _pass_abor,
    }
    """The verbs that the director looks at; every other one passes, unless it is refused."""

    _LEARN: ClassVar[dict[bytes, Callable[[Session, int, bytes], None]]] = {
        **dict.fromkeys((b"USER", b"PASS", b"ACCT"), _learn_login),
        **dict.fromkeys(FOLLOWED, _learn_parameter),
        b"QUIT": _learn_quit,
        b"REIN": _learn_rein,
    }
    """The verbs whose final replies say something of the session."""


def _answers_stat(transfer: Transfer, code: int) -> bool:
    if code in STATUS_REPLIES or transfer.final is not None:
        return True
    return transfer.preliminary and code in _NOT_OF_A_TRANSFER
