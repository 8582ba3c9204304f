"""What every part of a session stands on: its state, its end, and what it says.

This module knows no command and no transfer; `data_session` and `session` add them.
"""

from __future__ import annotations

from typing import Final

from ftpdirector.ftp.actions import (
    DROP_CLIENT,
    DROP_SERVER,
    Action,
    Close,
    Direction,
    Outcome,
    Refused,
    ToClient,
    ToServer,
)
from ftpdirector.ftp.capabilities import PLAIN, Capabilities
from ftpdirector.ftp.command_queue import CommandQueue
from ftpdirector.ftp.commands import TRANSFERS, Command
from ftpdirector.ftp.data_pair import DataPair
from ftpdirector.ftp.endpoints import plain_address
from ftpdirector.ftp.job import AWAITS_SERVER, OF_A_TRANSFER, Job
from ftpdirector.ftp.lines import LineReader
from ftpdirector.ftp.login import Login
from ftpdirector.ftp.parameters import Parameters
from ftpdirector.ftp.pending_replies import PendingReplies
from ftpdirector.ftp.replies import ReplyReader, format_reply
from ftpdirector.ftp.transfer import Transfer, transfer_ended
from ftpdirector.model import DataToServer, Endpoint

_IDLE: Final = Job.IDLE
_PASS: Final = Job.PASS
_ENDED: Final = Job.ENDED


class SessionBase:
    """The state of one session, and the actions that are due."""

    __slots__ = (
        "_actions", "_capabilities", "_client", "_client_gone", "_data", "_doubt", "_epsv_all", "_farewell", "_fenced",
        "_held", "_is_ending", "_job", "_lines", "_login", "_overtook", "_parameters", "_pending", "_queue", "_replies",
        "_route", "_server_gone", "_shutting_down", "_stat_due", "_transfer", "_verb", "_virtual",
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
        return self._job in OF_A_TRANSFER

    @property
    def awaits_server(self) -> bool | None:
        """Whether something is due from the real server, so that the session is not idle; None: ask the relay."""
        if self._client_gone:
            return False  # Nobody is left to wait for it.
        if self._transfer is not None:
            return self._transfer.awaits_server
        return self._job in AWAITS_SERVER

    @property
    def may_be_stuck(self) -> bool:
        """Whether a command waits for a reply that may never come, or a client's end does: `silence` is then due."""
        if self._client_gone and not self._queue:
            return self._transfer is not None and self._transfer.is_lost
        if not self._queue:
            return False
        if self._job is _PASS:
            return not self._fenced
        return self._transfer is not None and self._transfer.is_lost

    def _take(self) -> list[Action]:
        """The actions of an event; first go on with what was held, or end if that is due."""
        if self._queue.count or (self._is_ending and self._job is not _PASS):
            self._settle()
        actions = self._actions[:]
        self._actions.clear()
        return actions

    def _settle(self) -> None:
        """After an event: go on with what was held, or end if that is due."""
        raise NotImplementedError

    def _refuse(self, verb: str, code: int, text: str) -> None:
        """The director's own no: to the client, and for the log."""
        self._actions += (ToClient(format_reply(code, text)), Refused(verb, f"{code} {text}"))

    def _say(self, reply: bytes) -> None:
        if reply:
            self._farewell = self._farewell or reply.startswith(b"421")
            self._actions.append(ToClient(reply))

    def _pass(self, command: Command) -> None:
        self._verb = command.verb
        self._held = command
        self._job = _PASS
        self._actions.append(ToServer(command.line + b"\r\n"))

    def _said_quit(self) -> bool:
        return (self._job is _PASS and self._verb == b"QUIT") or self._queue.has_quit

    def _has_open_upload(self) -> bool:
        if self._transfer is not None:
            return self._transfer.is_open_upload
        command = self._held
        return self._job in OF_A_TRANSFER and command is not None and TRANSFERS.get(command.verb) is Direction.UPLOAD

    def _log_end(self, command: Command, outcome: Outcome, reply: str) -> None:
        self._actions.append(transfer_ended(command, self._parameters, outcome, reply))

    def _end(self, reason: str, *, say: str = "") -> None:
        """Close, whatever is under way; data that is not whole is reset."""
        if self._job is _ENDED:
            return
        transfer = self._transfer
        if transfer is not None:
            transfer.end(Outcome.FAILED, reason)
        elif self._job in OF_A_TRANSFER and self._held is not None:
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
