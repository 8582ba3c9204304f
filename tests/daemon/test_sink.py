"""The sink under the logs: it never waits, never raises, loses nothing in a pause, and counts what it loses."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ftpdirector.host.sink import LineSink


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_lines_come_in_order_and_whole(tmp_path: Path) -> None:
    sink = LineSink()
    sink.use(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    lines = [b"%06d %s\n" % (number, b"x" * (number % 5000)) for number in range(2000)]
    for line in lines:
        sink.write(line)
    assert sink.flush(20)
    assert (tmp_path / "log").read_bytes() == b"".join(lines)
    assert sink.dropped == 0


def test_a_reader_that_pauses_loses_nothing_and_one_that_stands_still_holds_nobody() -> None:
    reader, writer = os.pipe()
    sink = LineSink(note=lambda count: b"missing %d\n" % count)
    sink.use(writer)
    begin = time.monotonic()
    for number in range(8000):  # more than any pipe holds
        sink.write(b"%-200d\n" % number)
    assert sink.dropped == 0
    for number in range(8000, 60000):
        sink.write(b"%-200d\n" % number)
    assert time.monotonic() - begin < 10, "nobody reads, and nobody waits"
    dropped = sink.dropped
    assert dropped > 0
    got: list[bytes] = []

    def read() -> None:
        while data := os.read(reader, 65536):
            got.append(data)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert sink.flush(20)
    until(lambda: b"".join(got).count(b" \n") == 60000 - dropped)
    lines = b"".join(got).splitlines()
    numbers = [int(line) for line in lines if not line.startswith(b"missing")]
    assert numbers[:8000] == list(range(8000))
    assert numbers == sorted(numbers)
    # More than one where the thread came to write while lines were still being dropped.
    assert sum(int(line.split()[1]) for line in lines if line.startswith(b"missing")) == dropped
    sink.use(os.open(os.devnull, os.O_WRONLY))
    thread.join(10)
    assert not thread.is_alive(), "the descriptor before was closed"


@pytest.mark.parametrize("what", ["full", "nobody", "none", "closed"])
def test_what_cannot_be_written_is_counted(what: str) -> None:
    sink = LineSink()
    match what:
        case "full":
            sink.use(os.open("/dev/full", os.O_WRONLY))
        case "nobody":
            reader, writer = os.pipe()
            os.close(reader)
            sink.use(writer)
        case "closed":
            sink.use(10**6)
        case _:
            pass
    for _ in range(100):
        sink.write(b"a line\n")
    assert sink.flush(20)
    until(lambda: sink.dropped == 100)


def test_a_line_that_was_cut_does_not_run_into_the_next(tmp_path: Path) -> None:
    """A disk that is full in the middle of a line, and has room again."""
    file = tmp_path / "log"
    sink = LineSink()
    real = os.write
    room = [10]

    def write(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        count = real(fd, bytes(data)[: room[0]])
        room[0] -= count
        return count

    sink.use(os.open(file, os.O_WRONLY | os.O_CREAT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.write", write)
        sink.write(b"one\ntwo\nthree\n")
        assert sink.flush(20)
        room[0] = 1000
        sink.write(b"four\n")
        assert sink.flush(20)
        until(lambda: file.read_bytes().endswith(b"four\n"))
    assert file.read_bytes() == b"one\ntwo\nth\nfour\n"
    assert sink.dropped == 1


def test_a_reader_that_stands_still_keeps_no_line_from_the_file_that_comes_next(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    sink = LineSink()
    sink.use(writer)
    lines = [f"{number:06d} {'x' * 93}\n".encode() for number in range(1000)]
    for line in lines:
        sink.write(line)
    time.sleep(0.3)  # the pipe holds 64 KiB: the thread waits now
    assert not sink.flush(0.1)
    sink.use(os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND))
    sink.write(b"the last\n")
    assert sink.flush(10)
    in_pipe = os.read(reader, 1 << 20)
    os.close(reader)
    assert in_pipe + (tmp_path / "log").read_bytes() == b"".join(lines) + b"the last\n"
    assert sink.dropped == 0
