"""What several downloads at once may take together."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha512
from threading import Event

import pytest

from imagesync.errors import ForbiddenAddressError
from imagesync.http import HttpPolicy
from imagesync.images.download import DownloadRequest, download
from imagesync.run.pace import Pace
from imagesync.testing.web import WebServer

MIB = 1 << 20
ONE, OTHER = "https://one.example/x", "https://other.example/x"


def pace(per_host=2, bandwidth=None):
    return Pace(conversions=1, per_host=per_host, bandwidth=bandwidth)


def test_one_host_is_asked_for_no_more_at_once_than_allowed_and_another_does_not_wait():
    shared, inside, go_on = pace(per_host=1), Event(), Event()
    order = []

    def first():
        with shared.turn(ONE):
            inside.set()
            assert go_on.wait(10)
            order.append("first")

    def second():
        with shared.turn(f"{ONE}/y"):
            order.append("second")

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(first)]
        assert inside.wait(10)
        running.append(pool.submit(second))
        with shared.turn(OTHER):
            order.append("other")
        go_on.set()
        for one in running:
            one.result(10)
    assert order == ["other", "first", "second"]


def test_a_turn_is_given_back_after_a_failure():
    shared = pace(per_host=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), shared.turn(ONE):
            raise ZeroDivisionError


def test_all_downloads_together_keep_to_the_bandwidth():
    shared = pace(bandwidth=MIB)

    waits = [shared.throttle(MIB // 2) for _ in range(4)]

    assert waits == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.3)
    assert pace().throttle(1 << 60) == 0


@pytest.fixture
def server():
    with WebServer(datetime.now(UTC)) as server:
        yield server


CONTENT = bytes(range(256)) * (8 << 10)
POLICY = HttpPolicy(allow_private=True, stall_timeout=0.2, minimum_rate=float(MIB), rate_window=0.01)


def asked(server, bandwidth):
    url = server.put("/image", CONTENT)
    shared = pace(bandwidth=bandwidth)
    return DownloadRequest(url, len(CONTENT), sha512(CONTENT).hexdigest(), POLICY, attempts=1, throttle=shared.throttle)


def test_waiting_for_bandwidth_is_not_taken_for_a_slow_server(server, tmp_path):
    began = time.monotonic()

    download(asked(server, 4 * MIB), tmp_path / "image", lambda _: None)

    assert time.monotonic() - began >= 0.5
    assert (tmp_path / "image").read_bytes() == CONTENT


def test_whoever_waits_for_bandwidth_can_be_stopped(server, tmp_path):
    calls = []

    def stop(count):
        calls.append(count)
        if len(calls) > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(asked(server, 1), tmp_path / "image", stop)


def test_what_names_no_host_is_refused_as_ever():
    with pytest.raises(ForbiddenAddressError):
        pace().turn("https://")
