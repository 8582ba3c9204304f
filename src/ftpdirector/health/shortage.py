"""Errors of the operating system that say nothing of a real server: the director itself lacks what a probe takes.

Not among them, though they may come from this host too: ENETDOWN, ENETUNREACH and EHOSTUNREACH. They are how a dead
host or a lost link looks from here, and what cannot be reached from here serves no client through here. This module
knows no FTP.
"""

from __future__ import annotations

import errno
from typing import Final

_CAUSES: Final = {
    errno.EMFILE: "open_files",
    errno.ENFILE: "open_files",
    errno.ENOBUFS: "memory",
    errno.ENOMEM: "memory",
    errno.EADDRNOTAVAIL: "local_ports",  # connect(2): all ephemeral ports are in use
    errno.EADDRINUSE: "local_ports",  # the same, where a local address was bound first (ip(7))
    errno.EACCES: "permission",  # a `prohibit` route, a security module
    errno.EPERM: "permission",  # connect(2): a local firewall rule; systemd's IPAddressDeny
    errno.EAFNOSUPPORT: "address_family",  # IPv6 switched off; systemd's RestrictAddressFamilies
    errno.EPROTONOSUPPORT: "address_family",
}


def shortage_of(error: OSError) -> str:
    """What the director lacks, as a word that is a label value; empty for an error that the other side made."""
    return _CAUSES.get(error.errno or 0, "")
