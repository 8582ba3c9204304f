"""Fuzz targets (atheris): every parser of FTP, and whole sessions.

    python fuzz/fuzz_ftp.py TARGET [CORPUS_DIRECTORY] [-max_total_time=60] ...

The invariant of each: any bytes are what they should be, or a ProtocolError; never another error.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["ftpdirector"]):
    from ftpdirector.errors import ProtocolError
    from ftpdirector.ftp import commands, endpoints
    from ftpdirector.ftp.capabilities import PLAIN
    from ftpdirector.ftp.lines import LineReader
    from ftpdirector.ftp.replies import Reply, ReplyReader
    from ftpdirector.testing.playbook import Playbook
    from ftpdirector.testing.score import play


def lines(data: bytes) -> None:
    """Whole and byte by byte, the lines are the same."""
    reader = LineReader()
    bytewise = [line for i in range(len(data)) for line in reader.feed(data[i : i + 1])]
    assert bytewise == LineReader().feed(data)


def replies(data: bytes) -> None:
    """Whole and byte by byte, the replies are the same, up to the error if there is one."""
    whole, refused = _replies([data])
    bytewise, refused_too = _replies([data[i : i + 1] for i in range(len(data))])
    assert refused == refused_too
    assert refused or whole == bytewise


def _replies(segments: list[bytes]) -> tuple[list[Reply], bool]:
    reader = ReplyReader()
    found: list[Reply] = []
    try:
        for segment in segments:
            found += reader.feed(segment)
    except ProtocolError:
        return found, True
    return found, False


def parsers(data: bytes) -> None:
    """Commands, features, addresses and ports; what was read is written and read again."""
    PLAIN.edit_features(data)
    commands.printable(data)
    with contextlib.suppress(ProtocolError):
        commands.parse_command(data)
    for parse in (endpoints.parse_pasv_reply, endpoints.parse_epsv_reply, endpoints.parse_epsv_argument):
        with contextlib.suppress(ProtocolError):
            parse(data)
    with contextlib.suppress(ProtocolError):
        endpoint = endpoints.parse_port_argument(data)
        assert endpoints.parse_port_argument(endpoints.format_port_argument(endpoint)) == endpoint
    with contextlib.suppress(ProtocolError):
        endpoint = endpoints.parse_eprt_argument(data)
        assert endpoints.parse_eprt_argument(endpoints.format_eprt_argument(endpoint)) == endpoint


def session(data: bytes) -> None:
    """Any events in any order, judged by the referee."""
    play(data)


def control(data: bytes) -> None:
    """Any bytes from either side: a first byte of each piece says whose, the second how long it is."""
    both = Playbook().session
    at = 0
    while at + 2 <= len(data):
        said = data[at + 2 : at + 2 + data[at + 1]]
        (both.client_bytes if data[at] % 2 else both.server_bytes)(said)
        at += 2 + len(said)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "lines": lines,
    "replies": replies,
    "parsers": parsers,
    "session": session,
    "control": control,
}


def main() -> None:
    """Run the target named first; the rest is libFuzzer's."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz_ftp.py {'|'.join(TARGETS)} [CORPUS] [-max_total_time=60]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
