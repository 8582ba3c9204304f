"""One transfer from its command at the real server to its final reply: when is a file whole?

The end of a stream proves nothing, since a killed sender gives a clean one. A download is whole when the sender's end
*and* the real server's 2xx are there; until then the client gets no FIN and no 2xx. This module knows no other command
and not how the data connections came about.
"""

from __future__ import annotations

from ftpdirector.ftp.actions import (
    DROP_CLIENT,
    DROP_SERVER,
    FINISH_CLIENT,
    FINISH_SERVER,
    Action,
    Clock,
    Direction,
    Outcome,
    Side,
    StartClock,
    StartRelay,
    StopClock,
    ToClient,
    ToServer,
    TransferEnded,
)
from ftpdirector.ftp.commands import LISTINGS, TRANSFERS, Command, printable
from ftpdirector.ftp.lines import DATA_MARK, SYNCH_URGENT, Synched
from ftpdirector.ftp.parameters import Parameters
from ftpdirector.ftp.replies import Reply, format_reply

__all__ = ["Side", "Transfer", "abor", "transfer_ended"]


class Transfer:
    """A transfer under way; every event adds to the session's actions, and returns True when the transfer is over."""

    __slots__ = (
        "_actions",
        "_broken",
        "_command",
        "_direction",
        "_download_ended",
        "_empty",
        "_parameters",
        "_relaying",
        "aborted",
        "final",
        "had_further_word",
        "preliminary",
        "upload_ended",
    )

    def __init__(
        self,
        actions: list[Action],
        command: Command,
        parameters: Parameters,
        direction: Direction,
        *,
        relaying: bool = False,
        broken: str = "",
    ) -> None:
        """`broken` from the start: there is no data connection, the real server may say so itself."""
        self._actions = actions
        self._command = command
        self._parameters = parameters
        self._direction = direction
        self._relaying = relaying
        self._broken = broken
        self._download_ended = False
        self._empty = False
        self.upload_ended = False
        self.preliminary = False
        self.aborted = False
        self.had_further_word = False
        """It is broken, and the real server said something that may have been its last word."""
        self.final: Reply | None = None
        """The real server's final reply, held back until the end of the data is seen."""

    @property
    def is_lost(self) -> bool:
        """Broken or aborted: only the real server's words are due, and they may not come."""
        return bool(self._broken) or self.aborted

    @property
    def is_open_upload(self) -> bool:
        """Whether it is not decided yet that the file is whole."""
        return self._direction is not Direction.DOWNLOAD and not (self.upload_ended or self.is_lost)

    @property
    def awaits_server(self) -> bool | None:
        """Whether it is the real server's turn; None while bytes flow, and the relay knows."""
        if self.final is not None:
            return False
        if not self._relaying or self.upload_ended or self._download_ended or self.is_lost:
            return True
        return None

    @property
    def _is_listing(self) -> bool:
        return self._command.verb in LISTINGS

    def began(self, reply: Reply) -> bool:
        """The real server answered 1xx: an upload may flow now (RFC 959 section 5.4)."""
        self._actions.append(ToClient(reply.data))
        self.had_further_word = self.had_further_word or (self.preliminary and bool(self._broken))
        self.preliminary = True
        if not (self._relaying or self.aborted or self._broken):
            self._relaying = True
            self._actions.append(StartRelay(self._direction))
        return False

    def answered(self, reply: Reply, *, client_stands: bool, server_stands: bool) -> bool:
        """The real server's final reply; a 2xx is given to the client only for a file that is whole."""
        if self.aborted:
            self.drop_aborted()
            self._actions.append(ToClient(reply.data))
            return self.end(Outcome.ABORTED, reply.text)
        if not 200 <= reply.code < 300:
            return self._refused(reply)
        if self._broken:
            if self._is_listing and self._empty:
                return self._complete(reply)  # It had nothing to list, and took no data connection for it.
            return self._fail(self._broken)
        if self.upload_ended or self._download_ended:
            return self._complete(reply)
        if self._direction is Direction.UPLOAD:
            return self._fail("the real server ended it before the file did")
        if self._is_listing and not (self.preliminary or client_stands):
            return self._complete(reply)  # Nothing to list, no 150, and so nobody who will connect.
        self.final = reply
        if self._is_listing and not server_stands:
            self._actions.append(StartClock(Clock.LATE_END))
        return False

    def data_ended(self, direction: Direction, *, empty: bool) -> bool:
        """The sender's end is here, and all before it was handed over; `empty`: there was nothing before it."""
        if not self._relaying or self.aborted or self._broken or self.upload_ended or self._download_ended:
            return False
        if self._direction not in (direction, Direction.BOTH) or direction is Direction.BOTH:
            return False
        if direction is Direction.UPLOAD:
            self.upload_ended = True
            self._actions.append(FINISH_SERVER)
        else:
            self._download_ended = True
            self._empty = empty
        return self.final is not None and self._end_late(self.final)

    def data_broken(self, side: Side, text: str, *, empty: bool) -> bool:
        """A data connection failed: the other one is reset, and no 2xx may follow; but see `answered`."""
        if self.aborted or self._broken or self._download_ended:
            return False
        if side is Side.CLIENT and self.upload_ended:
            return False
        self._broken = text or "the data connection broke"
        self._empty = empty and side is Side.SERVER
        if self.final is not None:
            return self._end_late(self.final)
        if self._empty and self._is_listing:
            self._actions.append(DROP_SERVER)
        else:
            self._drop()
        return False

    def end_is_late(self, *, server_stands: bool) -> bool:
        """The end of the data did not come at once behind the final reply."""
        final = self.final
        if self.aborted:
            self.drop_aborted()
            return False
        if final is None or (200 <= final.code < 300 and (server_stands or not self._is_listing)):
            return False
        self._empty = not server_stands
        self._broken = self._broken or "the data did not end"
        return self._end_late(final)

    def nobody_connected(self, text: str) -> bool:
        """A data connection never stood: 425, whatever the real server says later."""
        if self.final is not None and self._is_listing and 200 <= self.final.code < 300:
            return self._complete(self.final)
        self._drop()
        self._actions.append(ToClient(format_reply(425, f"Can't open data connection: {text}")))
        return self.end(Outcome.FAILED, text)

    def abort(self, line: bytes) -> bool:
        """The client said ABOR; over at once when the real server's 2xx is here, and ABOR is then left to the caller.

        Replies that follow are the real server's own (RFC 959 section 4.1.3): 426 and 226, 226 and 226, 225 alone.
        """
        if self.final is not None:
            self._drop()
            self._actions.append(ToClient(format_reply(426, "Transfer aborted")))
            return self.end(Outcome.ABORTED, "aborted by the client")
        self.aborted = True
        self._actions += abor(line)
        self._actions.append(DROP_CLIENT)
        if not self.upload_ended:
            # A reset at once could overtake ABOR and be answered alone; who only sends hears ABOR behind one.
            self._actions.append(StartClock(Clock.LATE_END))
        return False

    def drop_aborted(self) -> None:
        """ABOR was heard by now: reset the real server's side."""
        if not self.upload_ended:
            self._actions += (StopClock(Clock.LATE_END), DROP_SERVER)

    def end(self, outcome: Outcome, reply: str) -> bool:
        """Say for the log how it ended."""
        self._actions.append(transfer_ended(self._command, self._parameters, outcome, reply, self._direction))
        return True

    def _refused(self, reply: Reply) -> bool:
        """Not 2xx: once bytes have flowed, a client must not see a good end of them.

        Clients that take half a file with FIN and 426 for whole exist. Where there were none, they see the clean end
        and then the words, as directly: a listing of nothing is said so by some servers, with 450 or 550.
        """
        may_end_well = self._direction is Direction.DOWNLOAD and reply.code >= 400 and reply.code != 421
        if may_end_well and self.preliminary and self._relaying and not self._broken:
            if self._download_ended and self._empty:
                self._actions.append(FINISH_CLIENT)
                self._actions.append(ToClient(reply.data))
                return self.end(Outcome.FAILED, reply.text)
            if not self._download_ended and self.final is None:
                self.final = reply  # The end of the data may stand behind it, unread.
                self._actions.append(StartClock(Clock.LATE_END))
                return False
        self._drop()
        self._actions.append(ToClient(reply.data))
        return self.end(Outcome.FAILED if self.preliminary else Outcome.REFUSED, reply.text)

    def _end_late(self, final: Reply) -> bool:
        """The data has come to its end, good or not, behind the final reply."""
        self._actions.append(StopClock(Clock.LATE_END))
        if not 200 <= final.code < 300:
            return self._refused(final)
        if self._broken and not (self._is_listing and self._empty):
            return self._fail(self._broken)
        return self._complete(final)

    def _complete(self, reply: Reply) -> bool:
        if self._direction is not Direction.UPLOAD and not self.upload_ended:
            self._actions.append(FINISH_CLIENT)
        self._actions.append(ToClient(reply.data))
        return self.end(Outcome.COMPLETE, reply.text)

    def _fail(self, text: str) -> bool:
        self._drop()
        self._actions.append(ToClient(format_reply(426, f"Transfer failed: {text}")))
        return self.end(Outcome.FAILED, text)

    def _drop(self) -> None:
        self._actions.append(DROP_CLIENT)
        if not self.upload_ended:
            self._actions.append(DROP_SERVER)


def abor(line: bytes) -> tuple[Action, ...]:
    """ABOR as the client sent it: behind Telnet's Synch only where it used one, since not all servers know Telnet."""
    if isinstance(line, Synched):
        return ToServer(SYNCH_URGENT, urgent=True), ToServer(DATA_MARK + line + b"\r\n")
    return (ToServer(line + b"\r\n"),)


def transfer_ended(
    command: Command, parameters: Parameters, outcome: Outcome, reply: str, direction: Direction | None = None
) -> TransferEnded:
    """What the log is told; a listing's argument may be options, so it stays as it is."""
    path = printable(command.argument) if command.verb in LISTINGS else parameters.path(command)
    way = direction or TRANSFERS.get(command.verb, Direction.BOTH)
    return TransferEnded(command.verb.decode("latin-1"), path, way, outcome, reply, parameters.binary)
