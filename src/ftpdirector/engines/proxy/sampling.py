"""Log lines of one kind bounded in number, without losing how many there were.

10,000 clients that are refused at once are a line or four, not megabytes. This module knows no event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LINES_A_SECOND: Final = 3
"""Of one kind, as they come; the others of that second are one more line that has their number as `count`."""


class _Kind:
    __slots__ = ("begun_s", "event", "lines", "log", "more", "values")

    def __init__(self, log: Callable[..., object], event: str, values: dict[str, str], begun_s: float) -> None:
        self.log = log
        self.event = event
        self.values = values
        self.begun_s = begun_s
        self.lines = 0
        self.more = 0

    def sum_up(self) -> None:
        if self.more:
            self.log(self.event, count=self.more, **self.values)


class Sampler:
    """What was said lately, by kind: an event and the values that its lines have in common."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._kinds: dict[tuple[str, ...], _Kind] = {}

    def say(self, log: Callable[..., object], now_s: float, event: str, values: dict[str, str], **own: object) -> None:
        """Write `event` by `log` with the kind's `values` and what is this line's own; or count it only.

        `now_s` is seconds that never jump.
        """
        key = (event, *values.values())
        kind = self._kinds.get(key)
        if kind is not None and now_s - kind.begun_s >= 1:
            kind.sum_up()
            kind = None
        if kind is None:
            kind = self._kinds[key] = _Kind(log, event, values, now_s)
        if kind.lines < LINES_A_SECOND:
            kind.lines += 1
            log(event, **own, **values)
        else:
            kind.more += 1

    def sum_up(self, now_s: float | None = None) -> None:
        """Write the sums of those seconds that are over at `now_s`; of all when it is not given."""
        for key, kind in list(self._kinds.items()):
            if now_s is None or now_s - kind.begun_s >= 1:
                kind.sum_up()
                del self._kinds[key]
