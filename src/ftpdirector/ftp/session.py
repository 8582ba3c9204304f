"""One client's session with one real server: what either of them says in, what the engine is to do out.

Every event is a method that returns the actions due, in order. Commands are handled strictly one after the other; what
comes early is held. This module knows no socket, no time, no other session and no scheduling.

Jobs, one at a time, and which may follow (`job.NEXT`, which a test walks):

    IDLE      -> any command: PASS, FEAT, SETUP, REOPEN, WAIT or TRANSFER, by its handler in `_HANDLERS`
    PASS      a command was passed on as it is; its final reply -> IDLE, TAIL behind an ABOR that overtook it
    FEAT      the same, but the reply is edited
    SETUP     PASV, EPSV, PORT or EPRT is being answered -> IDLE, TAIL where answers are still owed
    REOPEN    server data is announced anew before the held command -> IDLE, and the command is begun or refused; TAIL
    WAIT      the held transfer command waits for its data connections -> TRANSFER, REOPEN, IDLE
    TRANSFER  -> IDLE, TAIL where more replies may come
    TAIL      replies to something that is over may come; nothing waits -> FENCE as soon as a command does
    FENCE     the director's own command was sent behind such replies, to learn where they end -> IDLE
    ENDED     from everywhere
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import (
    START_ANSWER,
    STOP_ANSWER,
    Action,
    Clock,
    Side,
    StartClock,
    StopClock,
    ToClient,
    ToServer,
)
from ftpdirector.ftp.command_queue import MOST_HELD_BYTES
from ftpdirector.ftp.commands import ADDRESSES, TRANSFERS, Command, parse_command
from ftpdirector.ftp.data_pair import Data
from ftpdirector.ftp.job import OF_A_TRANSFER, Job
from ftpdirector.ftp.passing_session import PassingSession
from ftpdirector.ftp.pending_replies import STATUS_REPLIES, Fate, fence, is_fence
from ftpdirector.ftp.replies import Reply, ReplyLine, code_of, format_reply
from ftpdirector.ftp.server_data import PASSIVE_REPLIES
from ftpdirector.ftp.transfer import Transfer

__all__ = ["MOST_HELD_BYTES", "Job", "Session", "Side"]

_MOST_STAT: Final = 16
_NOT_OF_A_TRANSFER: Final = frozenset({500, 501, 502, 503, 504, 530})
"""After 1xx no transfer ends with these (RFC 959 section 5.4): they answer a STAT."""
NOOP_REPLY: Final = b"200 NOOP command successful.\r\n"
_IDLE: Final = Job.IDLE
_PASS: Final = Job.PASS
_TRANSFER: Final = Job.TRANSFER
_ENDED: Final = Job.ENDED


class Session(PassingSession):
    """The sans-I/O control connection; begins after the real server's greeting was given to the client."""

    __slots__ = ()

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

    def clock_ran_out(self, clock: Clock, *, unread: bool = False) -> list[Action]:
        """The time of `StartClock` is over; `unread`: the real server sent data that nobody has taken."""
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
                self._no_data_connection(unread=unread)
            case Clock.STRANGER:
                if self._data.client is Data.DUE:
                    self._no_data_connection(unread=unread)
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
            if self._client_gone and not self._queue:
                self._end("the client is gone")  # as a killed one is: with its data connection, in mid-transfer
            elif self._job is _PASS:
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

    def _settle(self) -> None:
        if self._job is _IDLE and self._server_gone:
            self._end("the real server is gone", say="Service not available, the real server is gone")
        if self._shutting_down and self._job is not _ENDED and self._job not in OF_A_TRANSFER:
            self._end("the director is shutting down", say="Service not available, shutting down")
        queue = self._queue
        while queue and self._job is _IDLE:
            self._begin(queue.take())
        if queue and self._transfer is not None and self._transfer.had_further_word:
            self._give_transfer_up()
        if self._job is Job.TAIL and (queue or (self._client_gone and self._pending.fate is not Fate.MUTE)):
            self._job = Job.FENCE
            self._pending.due += 1
            self._actions += (START_ANSWER, ToServer(b"NOOP\r\n"))
        elif self._client_gone and not queue and self._job in (_IDLE, Job.TAIL):
            self._end("the client is gone")

    def _hold(self, line: bytes | None) -> None:
        """Keep a command until those before it are done; some may overtake (RFC 959 section 4.1.3)."""
        if line is not None and len(line) <= 8:
            word = line.rstrip(b" ").upper()
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
        if word == b"NOOP" and transfer is not None and transfer.preliminary and not transfer.is_lost:
            # Clients keep the control connection alive so; few real servers answer before the transfer is over.
            # Not before 150: the 200 would pass for the reply to the transfer command.
            self._actions.append(ToClient(NOOP_REPLY))
            return True
        return False

    def _begin(self, line: bytes | None) -> None:
        if not line:
            if line is None:
                self._refuse("", 500, "Line too long")
            return  # An empty line is no command: vsftpd and Pure-FTPd pass over it in silence too.
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

    def _not_answered(self) -> None:
        asked = self._data.asks
        if asked is not None and self._job in (Job.SETUP, Job.REOPEN):
            asked.silent(logged_in=self._login.is_done)
            self._after_announcement()
        elif self._job is Job.FEAT:
            self._refuse("FEAT", 502, "The real server does not answer")
            self._pending.expect(1, Fate.MUTE)
            self._job = Job.TAIL
        elif self._job is Job.FENCE or (self._job is _PASS and self._fenced):
            # It works, on either command: what is asked next would get the answer to this one.
            self._actions.append(START_ANSWER)

    def _reply_line(self, line: ReplyLine) -> None:
        """A reply belongs to what was under way when its first line came; a passed command's goes line by line."""
        data, code, last, self._doubt = line
        if not code:
            if self._job is not _ENDED:
                self._actions.append(ToClient(data))  # no reply at all: clients skip it, as directly
            return
        route = self._route or self._job
        if self._route is not None and self._names_port(line, route):
            data = b""
            line = line._replace(data=data)
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

    @staticmethod
    def _names_port(line: ReplyLine, route: Job) -> bool:
        """Whether a line inside another reply looks like a data port: some clients take any code for the end of one."""
        if line.code in PASSIVE_REPLIES or (route in (Job.SETUP, Job.REOPEN) and line.code < 400):
            return False
        return code_of(line.data) in PASSIVE_REPLIES

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

    def _transfer_replied(self, transfer: Transfer, reply: Reply) -> None:
        code = reply.code
        if code == 421:
            self._farewell = True
        if code < 200:
            transfer.began(reply)
            while self._queue.has_first(b"NOOP") and self._overtakes(b"NOOP"):
                self._queue.take()
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

    def _stray(self, reply: Reply) -> None:
        """What it answered is over, or nothing was asked; in a transfer a stray 2xx would pass for its end."""
        if not (self._job in OF_A_TRANSFER and 200 <= reply.code < 300):
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

    _HANDLERS: ClassVar[dict[bytes, Callable[[Session, Command], None]]] = {
        **dict.fromkeys(TRANSFERS, PassingSession.handle_transfer),
        **dict.fromkeys(ADDRESSES, PassingSession.handle_setup),
        b"REST": PassingSession.handle_rest,
        b"FEAT": PassingSession.handle_feat,
        b"MODE": PassingSession.handle_mode,
        b"STRU": PassingSession.handle_stru,
        b"USER": PassingSession.handle_user,
        b"ABOR": PassingSession.handle_abor,
    }
    """The verbs that the director looks at; every other one passes, unless it is refused."""


def _answers_stat(transfer: Transfer, code: int) -> bool:
    if code in STATUS_REPLIES or transfer.final is not None:
        return True
    return transfer.preliminary and code in _NOT_OF_A_TRANSFER
