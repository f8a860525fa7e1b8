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
        with shared.download(ONE, order.append):
            inside.set()
            assert go_on.wait(10)
            order.append("first")

    def second():
        with shared.download(f"{ONE}/y", order.append):
            order.append("second")

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(first)]
        assert inside.wait(10)
        running.append(pool.submit(second))
        with shared.download(OTHER, order.append):
            order.append("other")
        go_on.set()
        for one in running:
            one.result(10)
    assert order == ["other", "first", "second"]


def test_a_turn_is_given_back_after_a_failure():
    shared = pace(per_host=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), shared.download(ONE, print):
            raise ZeroDivisionError


def test_all_downloads_together_keep_to_the_bandwidth():
    shared = pace(bandwidth=MIB)

    def load(uri):
        with shared.download(uri, lambda _: None) as progress:
            for _ in range(5):
                progress(MIB // 50)

    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(load, [ONE, OTHER]))
    assert 0.2 <= time.monotonic() - began < 5


def test_whoever_waits_for_bandwidth_can_be_stopped():
    calls = []

    def stop(count):
        calls.append(count)
        if len(calls) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pace(bandwidth=1).download(ONE, stop) as progress:
        progress(MIB)
    assert calls == [MIB, 0]


def test_waiting_for_bandwidth_is_not_taken_for_a_slow_server(tmp_path):
    content = bytes(range(256)) * (8 << 10)
    policy = HttpPolicy(allow_private=True, stall_timeout=0.2, minimum_rate=float(MIB), rate_window=0.01)
    with WebServer(datetime.now(UTC)) as server:
        url = server.put("/image", content)
        request = DownloadRequest(url, len(content), sha512(content).hexdigest(), policy, attempts=1)
        began = time.monotonic()
        with pace(bandwidth=4 * MIB).download(url, lambda _: None) as progress:
            download(request, tmp_path / "image", progress)
    assert time.monotonic() - began >= 0.5
    assert (tmp_path / "image").read_bytes() == content


def test_what_names_no_host_is_refused_as_ever():
    with pytest.raises(ForbiddenAddressError), pace().download("https://", print):
        pass
