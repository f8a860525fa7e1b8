import socket
import time
from collections.abc import Iterator

import pytest

from imagesync.http.watchdog import Watchdog

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    with ours, theirs:
        yield ours, theirs


def test_a_guarded_connection_ends_when_the_time_is_over(pair: Pair) -> None:
    with Watchdog() as watchdog:
        watchdog.guard(pair[0])
        watchdog.set(time.monotonic() + 0.05, "too long")

        assert pair[0].recv(1) == b""
        assert watchdog.expired == "too long"


def test_a_sooner_time_counts_at_once(pair: Pair) -> None:
    with Watchdog() as watchdog:
        watchdog.guard(pair[0])
        watchdog.set(time.monotonic() + 3600, "an hour")
        watchdog.set(time.monotonic(), "now")

        assert pair[0].recv(1) == b""
        assert watchdog.expired == "now"


def test_nothing_ends_after_a_rest(pair: Pair) -> None:
    with Watchdog() as watchdog:
        watchdog.guard(pair[0])
        watchdog.set(time.monotonic() + 0.05, "too long")
        watchdog.rest()
        pair[0].settimeout(0.2)

        with pytest.raises(TimeoutError):
            pair[0].recv(1)
        assert watchdog.expired == ""


def test_a_connection_that_comes_too_late_is_ended_at_once(pair: Pair) -> None:
    with Watchdog() as watchdog:
        watchdog.guard(pair[1])
        watchdog.set(time.monotonic(), "over")
        assert pair[1].recv(1) == b""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            watchdog.guard(ours)

            assert ours.recv(1) == b""


def test_leaving_keeps_the_connection(pair: Pair) -> None:
    with Watchdog() as watchdog:
        watchdog.guard(pair[0])
    pair[1].send(b"x")

    assert pair[0].recv(1) == b"x"
