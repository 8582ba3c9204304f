"""What is under way between a session and its real server: one thing at a time, and what may follow what.

This module knows no event; the head of `session` tells the jobs in words.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Final


class Job(IntEnum):
    """What is under way with the real server; see the head of `session`."""

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


OF_A_TRANSFER: Final = frozenset({Job.REOPEN, Job.WAIT, Job.TRANSFER})
AWAITS_SERVER: Final = frozenset({Job.PASS, Job.FEAT, Job.SETUP, Job.REOPEN, Job.FENCE})

NEXT: Final = {
    Job.IDLE: {Job.PASS, Job.FEAT, Job.SETUP, Job.REOPEN, Job.WAIT, Job.TRANSFER, Job.ENDED},
    Job.PASS: {Job.IDLE, Job.TAIL, Job.FENCE, Job.TRANSFER, Job.ENDED},
    Job.FEAT: {Job.IDLE, Job.TAIL, Job.ENDED},
    Job.SETUP: {Job.IDLE, Job.TAIL, Job.ENDED},
    Job.REOPEN: {Job.IDLE, Job.TAIL, Job.ENDED},
    Job.WAIT: {Job.IDLE, Job.TRANSFER, Job.REOPEN, Job.ENDED},
    Job.TRANSFER: {Job.IDLE, Job.TAIL, Job.ENDED},
    Job.TAIL: {Job.IDLE, Job.FENCE, Job.ENDED},
    Job.FENCE: {Job.IDLE, Job.ENDED},
    Job.ENDED: set[Job](),
}
