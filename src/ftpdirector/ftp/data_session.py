"""The data of a session: PASV, EPSV, PORT and EPRT are answered, and transfers begin, wait, break and end.

This module knows no reply but those to announcements, and no line of a client.
"""

from __future__ import annotations

from typing import Final

from ftpdirector.ftp.actions import (
    DATA_READY,
    DROP_SERVER,
    Action,
    Clock,
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
from ftpdirector.ftp.commands import ORDINARY, TRANSFERS, Command
from ftpdirector.ftp.data_pair import Data, Ready, no_data
from ftpdirector.ftp.job import OF_A_TRANSFER, Job
from ftpdirector.ftp.pending_replies import Fate
from ftpdirector.ftp.replies import Reply
from ftpdirector.ftp.session_base import SessionBase
from ftpdirector.ftp.setup_commands import asked_endpoint, is_epsv_all
from ftpdirector.ftp.transfer import Transfer, abor
from ftpdirector.model import Endpoint

_IDLE: Final = Job.IDLE
_PASS: Final = Job.PASS
_TRANSFER: Final = Job.TRANSFER


class DataSession(SessionBase):
    """A session that can set up data connections and use them."""

    __slots__ = ()

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
            if side is Side.CLIENT and self._data.stranger:
                self._actions.append(StopClock(Clock.STRANGER))
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

    def stranger_connected(self, address: str) -> list[Action]:
        """Somebody else than the client connected to its data port, and was reset (RFC 2577 section 4)."""
        if self._data.client is Data.DUE:
            self._data.stranger = address
            if self._job is Job.WAIT or self._transfer is not None:
                self._actions.append(StartClock(Clock.STRANGER))
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

    def handle_setup(self, command: Command) -> None:
        """PASV, EPSV, PORT or EPRT: both data connections are announced anew."""
        if is_epsv_all(command):
            self._epsv_all = True
            self._actions.append(ToClient(b"200 EPSV ALL command successful.\r\n"))
            return
        active = asked_endpoint(command, self._client, self._virtual, epsv_all=self._epsv_all)
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

    def handle_transfer(self, command: Command) -> None:
        """A transfer command: it waits for its data connections."""
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
                    if data.stranger:
                        self._actions.append(StartClock(Clock.STRANGER))
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
        elif self._job in OF_A_TRANSFER and command is not None and command.verb != b"REST":
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
        if client_is_due and self._data.stranger:
            text = f"Security: bad IP connecting, {self._data.stranger} is not the address of this session"
        elif not client_is_due and self._data.server is Data.DUE:
            text = self._data.failed(Side.SERVER, "it does not answer", logged_in=self._login.is_done)
        else:
            text = "nobody connected in time"
        if self._job is Job.WAIT:
            self._refuse_transfer(no_data(text))
        elif self._transfer is not None and not self._data.both_stand and not self._transfer.is_lost:
            self._nobody_connected(self._transfer, text)

    def _nobody_connected(self, transfer: Transfer, text: str) -> None:
        """The real server has the command: what it says of it is not for the client any more."""
        owed = transfer.final is None
        transfer.nobody_connected(text)
        self._transfer_over(owed=owed, fate=Fate.MUTE)

    def _give_transfer_up(self) -> None:
        """It is broken, the real server has no final word for it, and the next command waits: the fence tells."""
        transfer = self._transfer
        if transfer is None:
            return
        fate = Fate.SAY if transfer.aborted else Fate.FAIL
        if transfer.aborted:
            transfer.drop_aborted()
        transfer.end(Outcome.ABORTED if transfer.aborted else Outcome.FAILED, "the real server said nothing final")
        self._transfer_over(owed=1, fate=fate)

    def _transfer_over(self, *, owed: int = 0, fate: Fate = Fate.SAY) -> None:
        """Both data connections are used up; PORT stays in force (RFC 959 section 3.2)."""
        transfer = self._transfer
        due = owed + self._stat_due + (transfer is not None and transfer.aborted)
        self._pending.expect(due, fate)
        if not self._data.both_stand:
            self._actions.append(StopClock(Clock.DATA_CONNECTION))
        self._stat_due = 0
        self._transfer = None
        self._held = None
        self._data.used_up()
        self._job = Job.TAIL if due else _IDLE

    def handle_rest(self, command: Command) -> None:
        """Nothing may stand between REST and its transfer (RFC 959 section 4.1.3): open server data before it."""
        data = self._data
        self._held = command
        if data.server is Data.FAILED and data.ask_again():
            self._reopening()
        elif data.active_endpoint is not None and data.server in (Data.NONE, Data.FAILED):
            self._reopen()
        else:
            self._pass(command)

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
