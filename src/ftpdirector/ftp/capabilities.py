"""What the director lets pass: refused verbs, and what FEAT may promise. One value a virtual server.

This module knows no session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NO_TLS: Final = "TLS is not offered here; use plain FTP"
_NO_LONG_ADDRESSES: Final = "Not offered here; use EPRT or EPSV (RFC 2428)"
_NO_OTHER_PASSIVE: Final = "Not offered here; use PASV or EPSV"
_NO_TRYING: Final = "Not offered here; a data connection is opened for a transfer only"
_NO_THIRD_PARTY: Final = "Server-to-server transfers are not offered here"

ALWAYS_REFUSED: Final = {
    b"CPSV": _NO_THIRD_PARTY,
    b"SSCN": _NO_THIRD_PARTY,
    b"LPRT": _NO_LONG_ADDRESSES,
    b"LPSV": _NO_LONG_ADDRESSES,
    b"P@SW": _NO_OTHER_PASSIVE,  # vsftpd and Pure-FTPd take it for PASV
    b"SPSV": _NO_OTHER_PASSIVE,
    b"ESTA": _NO_TRYING,  # Pure-FTPd opens the data connection that was announced, to try whether it can
    b"ESTP": _NO_TRYING,
}
TLS_VERBS: Final = dict.fromkeys((b"AUTH", b"PBSZ", b"PROT", b"CCC", b"ADAT", b"MIC", b"CONF", b"ENC"), _NO_TLS)

REFUSED_MODES: Final = frozenset({b"B", b"C"})
"""Block and compressed mode mark the end of a file inside the stream (RFC 959 section 3.4), where nobody here looks."""

REFUSED_STRUCTURES: Final = frozenset({b"R", b"P"})
"""Records and pages mark the end of a file inside the stream, too (RFC 959 section 3.1.2)."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which verbs cannot pass, and why: 502. FEAT loses the same ones."""

    refused_verbs: Mapping[bytes, str]

    def edit_features(self, reply: bytes) -> bytes:
        """A FEAT reply without the features that the director cannot let pass (RFC 2389 section 3.2)."""
        return b"".join(line for line in reply.splitlines(keepends=True) if not self._is_refused(line))

    def _is_refused(self, line: bytes) -> bool:
        if not line.startswith(b" "):  # RFC 2389: a feature's line begins with one space
            return False
        words = line.upper().replace(b";", b" ").split()
        if not words:
            return False
        return words[0] in self.refused_verbs or (words[0] == b"MODE" and words[-1] in REFUSED_MODES)


PLAIN: Final = Capabilities({**TLS_VERBS, **ALWAYS_REFUSED})
"""Plain FTP, no TLS."""
