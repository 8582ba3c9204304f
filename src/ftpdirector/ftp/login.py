"""Who is logged in at the real server, as the replies to USER, PASS, ACCT and REIN say.

The real server's own greeting was passed on before, and it alone decides. (Where the director is to greet a client
itself, because the user's name chooses the real server, this is the place that collects what must be said again.)
This module knows no other command.
"""

from __future__ import annotations

from ftpdirector.ftp.actions import Action, Clock, LoggedIn, StartClock, StopClock
from ftpdirector.ftp.commands import Command, printable


class Login:
    """The login of one session; its clock runs from the greeting on, which is the engine's to start."""

    __slots__ = ("_actions", "is_done", "user")

    def __init__(self, actions: list[Action]) -> None:
        """Nobody is logged in yet."""
        self._actions = actions
        self.user = ""
        self.is_done = False

    def named(self, command: Command) -> None:
        """USER is passed on."""
        self.user = printable(command.argument)

    def learn(self, code: int) -> None:
        """The final reply to USER, PASS or ACCT (RFC 959 section 5.4)."""
        if code in (230, 232):
            self.is_done = True
            self._actions += (StopClock(Clock.LOGIN), LoggedIn(self.user))

    def forget(self) -> None:
        """REIN (RFC 959 section 4.1.1)."""
        self.is_done = False
        self._actions.append(StartClock(Clock.LOGIN))
