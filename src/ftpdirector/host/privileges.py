"""Rights that a process gives up for good: its user, its groups, and every capability but one.

Python has no call for it: prctl(2) and capset(2) are called in the C library. This module knows no director.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from dataclasses import dataclass
from typing import Final

from ftpdirector.errors import HostError

_CAP_NET_BIND_SERVICE: Final = 10
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_LAST_CAPABILITY: Final = 63


@dataclass(frozen=True, slots=True)
class Account:
    """Who a process is to be."""

    name: str
    uid: int
    gid: int

    def __str__(self) -> str:
        """`uid:gid`, as it goes over a command line."""
        return f"{self.uid}:{self.gid}"


def account_of(*names: str) -> Account:
    """The first of these accounts that this host has. Raises `HostError` when it has none."""
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise HostError(f"there is no account called {' or '.join(names)} on this host")


def give_up(uid: int, gid: int) -> str:
    """Be this user from now on, with the right to bind ports below 1024 if it was there, and no way back to more.

    Under uid 0 alone the user is changed; capabilities go in any case. Returns why the user could not be changed, or
    nothing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    problem = ""
    if os.geteuid() == 0:
        for capability in range(_LAST_CAPABILITY + 1):  # the last ones do not exist: the kernel says so
            if capability != _CAP_NET_BIND_SERVICE:
                libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        except OSError as error:  # a container's root may lack CAP_SETUID
            problem = error.strerror or str(error)
    _keep_one_capability(libc)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return problem


def _keep_one_capability(libc: ctypes.CDLL) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # twice (effective, permitted, inheritable), 32 capabilities each: capget(2)
    if libc.capget(header, sets) != 0:
        return
    kept = sets[1] & (1 << _CAP_NET_BIND_SERVICE)
    libc.capset(header, (ctypes.c_uint32 * 6)(kept, kept, 0, 0, 0, 0))
