"""Commands that are passed on as they are, and what their replies say of the session.

This module knows no line of a client, and of transfers only that an unknown command may begin one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.actions import START_ANSWER, STOP_ANSWER, ToServer
from ftpdirector.ftp.capabilities import REFUSED_MODES, REFUSED_STRUCTURES
from ftpdirector.ftp.commands import Command, letter
from ftpdirector.ftp.data_session import DataSession
from ftpdirector.ftp.job import Job
from ftpdirector.ftp.parameters import FOLLOWED
from ftpdirector.ftp.pending_replies import Fate
from ftpdirector.ftp.replies import Reply
from ftpdirector.ftp.transfer import abor

_IDLE: Final = Job.IDLE
_PASS: Final = Job.PASS


class PassingSession(DataSession):
    """A session that can pass commands on."""

    __slots__ = ()

    def handle_abor(self, command: Command) -> None:
        """ABOR where nothing is under way."""
        self._pass(command)
        self._actions[-1:] = abor(command.line)

    def handle_feat(self, command: Command) -> None:
        """FEAT: its reply is edited."""
        self._job = Job.FEAT
        self._actions += (START_ANSWER, ToServer(command.line + b"\r\n"))

    def handle_mode(self, command: Command) -> None:
        """MODE: the end of a file must be the end of its stream."""
        if letter(command) in REFUSED_MODES:
            why = "block and compressed mode hide the end of a file inside the stream"
            raise ProtocolError(f"Only stream mode (MODE S) is offered here: {why}", reply_code=504)
        self._pass(command)

    def handle_stru(self, command: Command) -> None:
        """STRU: the same."""
        if letter(command) in REFUSED_STRUCTURES:
            why = "records and pages hide the end of a file inside the stream"
            raise ProtocolError(f"Only file structure (STRU F) is offered here: {why}", reply_code=504)
        self._pass(command)

    def handle_user(self, command: Command) -> None:
        """USER changes no transfer parameter, so PORT stays in force (RFC 959 section 4.1.1)."""
        self._login.named(command)
        self._pass(command)

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

    def _featured(self, reply: Reply) -> None:
        self._say(self._capabilities.edit_features(reply.data) if reply.code == 211 else reply.data)
        if reply.code >= 200:
            self._actions.append(STOP_ANSWER)
            self._job = _IDLE

    def _unasked(self, route: Job) -> None:
        """A data port of the real server that the director did not ask for: no client may hear of it.

        Some server took a command for PASV that the director did not; where nothing was passed on it is a late answer.
        """
        if route is self._job and route in (_PASS, Job.FEAT):
            self._job = _IDLE
            self._fenced = False
            self._refuse(self._verb.decode("latin-1"), 502, "Not offered here; use PASV or EPSV")

    _LEARN: ClassVar[dict[bytes, Callable[[PassingSession, int, bytes], None]]] = {
        **dict.fromkeys((b"USER", b"PASS", b"ACCT"), _learn_login),
        **dict.fromkeys(FOLLOWED, _learn_parameter),
        b"QUIT": _learn_quit,
        b"REIN": _learn_rein,
    }
    """The verbs whose final replies say something of the session."""
