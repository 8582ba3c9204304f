"""A real server's greeting, however the segments fall."""

import pytest

from ftpdirector.ftp.greeting import Greeting, Welcome
from ftpdirector.ftp.replies import LARGEST_REPLY_BYTES

CASES = [
    (b"220 Hi\r\n", Welcome.READY),
    (b"220-Hi\r\nthere\r\n220 .\r\n", Welcome.READY),
    (b"220-Hi\r\n", Welcome.WAITING),
    (b"120 In 2 minutes\r\n", Welcome.WAITING),
    (b"120 In 2 minutes\r\n220 Hi\r\n", Welcome.READY),
    (b"ftpd: warning\r\n220 Hi\r\n", Welcome.READY),
    (b"421 Too many\r\n", Welcome.FULL),
    (b"530 Not you\r\n", Welcome.REFUSED),
    (b"SSH-2.0-x\r\n", Welcome.WAITING),
]


@pytest.mark.parametrize(("data", "welcome"), CASES)
def test_what_a_greeting_comes_to(data: bytes, welcome: Welcome) -> None:
    whole = Greeting()
    assert whole.feed(data) is welcome
    assert whole.data == data
    bytewise = Greeting()
    assert [bytewise.feed(data[i : i + 1]) for i in range(len(data))][-1] is welcome


def test_one_that_does_not_end_is_refused() -> None:
    greeting = Greeting()
    said = b"120 Wait\r\n" * 10000
    for _ in range(LARGEST_REPLY_BYTES // len(said)):
        assert greeting.feed(said) is Welcome.WAITING
    assert greeting.feed(said) is Welcome.REFUSED
    assert greeting.reason == "the greeting does not end"
