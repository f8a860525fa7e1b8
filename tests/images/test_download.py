import hashlib
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tenacity import RetryCallState, Retrying

from imagesync.errors import (
    ContentError,
    DigestMismatchError,
    ForbiddenAddressError,
    HttpStatusError,
    NoSpaceError,
    TooSlowError,
)
from imagesync.http import HttpPolicy
from imagesync.images.download import DownloadRequest, Source, _Download, _write, download
from imagesync.images.partial import mark_of, write_mark
from imagesync.model import Digest
from imagesync.testing import hazards
from imagesync.testing.hazards import Behaviour, HazardServer

IMAGE = bytes(range(256)) * 4096 * 3  # 3 MiB
POLICY = HttpPolicy(allow_private=True, header_timeout=30, stall_timeout=30)


@pytest.fixture
def server() -> Iterator[HazardServer]:
    with HazardServer() as server:
        yield server


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    assert not {"sha512", "http-watchdog"} & {thread.name for thread in threading.enumerate()}


def wanted(url: str, image: bytes = IMAGE, policy: HttpPolicy = POLICY, attempts: int = 3) -> DownloadRequest:
    digest = Digest(hashlib.sha512(image).hexdigest())
    return DownloadRequest(url, len(image), digest, policy, attempts, backoff=0.01)


def ignore(_count: int) -> None:
    pass


# --- what works ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("behaviour", [hazards.answer(IMAGE), hazards.without_length(IMAGE)], ids=["length", "none"])
def test_the_endorsed_bytes_end_up_in_the_file(server: HazardServer, tmp_path: Path, behaviour: Behaviour) -> None:
    into = tmp_path / "image"

    download(wanted(server.at("/image", behaviour)), into, ignore)

    assert into.read_bytes() == IMAGE


def test_progress_counts_every_byte(server: HazardServer, tmp_path: Path) -> None:
    counts: list[int] = []

    download(wanted(server.at("/image", hazards.answer(IMAGE))), tmp_path / "image", counts.append)

    assert sum(counts) == len(IMAGE)
    assert len(counts) > 1


def test_what_was_in_the_file_before_is_gone(server: HazardServer, tmp_path: Path) -> None:
    into = tmp_path / "image"
    into.write_bytes(b"x" * (len(IMAGE) + 1000))

    download(wanted(server.at("/image", hazards.answer(IMAGE))), into, ignore)

    assert into.read_bytes() == IMAGE


# --- bounds ----------------------------------------------------------------------------------------------------------
def test_no_more_than_the_endorsed_size_reaches_the_disk(server: HazardServer, tmp_path: Path) -> None:
    sizes: list[int] = []
    into = tmp_path / "image"

    with pytest.raises(DigestMismatchError):
        download(wanted(server.at("/", hazards.endless())), into, lambda _: sizes.append(into.stat().st_size))

    assert max(sizes) <= len(IMAGE)


# --- trying again ----------------------------------------------------------------------------------------------------
def test_a_failure_that_passes_is_no_failure(server: HazardServer, tmp_path: Path) -> None:
    broken, busy = hazards.reset(IMAGE[:1000], len(IMAGE)), hazards.status(503)
    url = server.at("/image", hazards.in_turn(broken, busy, hazards.answer(IMAGE)))

    download(wanted(url), tmp_path / "image", ignore)

    assert (tmp_path / "image").read_bytes() == IMAGE
    assert len(server.requests) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
def test_a_status_that_will_not_pass_is_not_tried_again(server: HazardServer, tmp_path: Path, code: int) -> None:
    with pytest.raises(HttpStatusError):
        download(wanted(server.at("/image", hazards.status(code))), tmp_path / "image", ignore)

    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_retry_after_is_waited_for(server: HazardServer, tmp_path: Path) -> None:
    url = server.at("/image", hazards.in_turn(hazards.status(503, retry_after="1"), hazards.answer(IMAGE)))
    began = time.monotonic()

    download(wanted(url), tmp_path / "image", ignore)

    assert time.monotonic() - began >= 1.0


def test_a_server_that_asks_for_an_hour_is_left_to_a_later_pass(server: HazardServer, tmp_path: Path) -> None:
    with pytest.raises(HttpStatusError) as caught:
        download(wanted(server.at("/image", hazards.status(503, retry_after="3600"))), tmp_path / "image", ignore)

    assert caught.value.retry_after == 3600.0
    assert len(server.requests) == 1


def test_each_retry_is_logged(server: HazardServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url = server.at("/image", hazards.in_turn(hazards.status(503), hazards.answer(IMAGE)))

    with caplog.at_level("INFO", logger="imagesync"):
        download(wanted(url), tmp_path / "image", ignore)

    assert "attempt 1 failed" in caplog.text
    assert "HTTP 503" in caplog.text


# --- not allowed -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("uri", ["file:///etc/passwd", "ftp://example.org/image", "data:,x", "/etc/passwd"])
def test_a_list_may_name_nothing_but_http(tmp_path: Path, uri: str) -> None:
    with pytest.raises(ForbiddenAddressError, match="scheme"):
        download(wanted(uri), tmp_path / "image", ignore)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "localhost", "[::1]"])
def test_a_list_may_not_name_loopback(server: HazardServer, tmp_path: Path, host: str) -> None:
    server.at("/image", hazards.answer(IMAGE))

    with pytest.raises(ForbiddenAddressError):
        download(wanted(server.url("/image", host), policy=HttpPolicy()), tmp_path / "image", ignore)

    assert server.connections == 0


# --- disk ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def limit_file_size() -> Iterator[Callable[[int], None]]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_no_space_and_leaves_no_file(
    server: HazardServer, tmp_path: Path, limit_file_size: Callable[[int], None]
) -> None:
    url = server.at("/image", hazards.answer(IMAGE))
    limit_file_size(1 << 20)

    with pytest.raises(NoSpaceError) as caught:
        download(wanted(url), tmp_path / "image", ignore)

    assert "room" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


def test_a_device_without_room_is_no_space() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(NoSpaceError, match="no space left"):
            _write(descriptor, b"x", Path("image"))
    finally:
        os.close(descriptor)


def test_a_missing_directory_is_said_before_anything_is_asked(server: HazardServer, tmp_path: Path) -> None:
    url = server.at("/image", hazards.answer(IMAGE))

    with pytest.raises(ContentError, match="no such file or directory"):
        download(wanted(url), tmp_path / "missing" / "image", ignore)

    assert server.requests == []


def test_a_directory_in_the_way_is_said(server: HazardServer, tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="is a directory"):
        download(wanted(server.at("/image", hazards.answer(IMAGE))), tmp_path, ignore)


def test_a_link_is_not_followed(server: HazardServer, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "image").symlink_to(victim)

    with pytest.raises(ContentError):
        download(wanted(server.at("/image", hazards.answer(IMAGE))), tmp_path / "image", ignore)

    assert victim.read_bytes() == b"precious"


def test_an_error_of_the_caller_leaves_no_file(server: HazardServer, tmp_path: Path) -> None:
    def interrupt(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(wanted(server.at("/image", hazards.answer(IMAGE))), tmp_path / "image", interrupt)

    assert list(tmp_path.iterdir()) == []


# --- what is there and cannot be read again --------------------------------------------------------------------------
def interrupted(url: str, into: Path) -> None:
    """Leave the first two thirds, as an attempt that broke off does."""
    into.write_bytes(IMAGE[: 2 << 20])
    mark = mark_of(url, hazards.TAG)
    assert mark is not None
    write_mark(into, mark)


def test_what_becomes_shorter_while_it_is_read_again_is_fetched_anew(server: HazardServer, tmp_path: Path) -> None:
    into, counts = tmp_path / "image", list[int]()
    url = server.at("/image", hazards.ranged(IMAGE))
    interrupted(url, into)

    def shorten(count: int) -> None:
        counts.append(count)
        if count == 1 << 20 and not server.requests:
            os.truncate(into, 1 << 20)

    assert download(wanted(url), into, shorten) == len(IMAGE)

    assert into.read_bytes() == IMAGE
    assert sum(counts) == len(IMAGE)
    assert [request.headers.get("range") for request in server.requests] == [None]


def test_what_cannot_be_read_again_is_fetched_anew(server: HazardServer, tmp_path: Path) -> None:
    into = tmp_path / "image"
    url = server.at("/image", hazards.ranged(IMAGE))
    interrupted(url, into)
    descriptor = os.open(into, os.O_WRONLY)  # reading from it fails, as from a bad disk
    try:
        _Download(wanted(url), into, descriptor, ignore).run()
    finally:
        os.close(descriptor)

    assert into.read_bytes() == IMAGE
    assert len(server.requests) == 1


# --- how long, and when ----------------------------------------------------------------------------------------------
def test_whoever_is_asked_to_stop_while_waiting_for_the_next_attempt_stops(
    server: HazardServer, tmp_path: Path
) -> None:
    calls: list[int] = []

    def stop(count: int) -> None:
        calls.append(count)
        if server.requests:
            raise KeyboardInterrupt

    url = server.at("/image", hazards.status(503, retry_after="50"))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        download(wanted(url), tmp_path / "image", stop)

    assert time.monotonic() - began < 20
    assert len(server.requests) == 1


def test_all_attempts_together_have_one_deadline(server: HazardServer, tmp_path: Path) -> None:
    policy = replace(POLICY, base_deadline=0.2, minimum_rate=1e12)
    request = wanted(server.at("/image", hazards.status(503)), policy=policy, attempts=1000)
    began = time.monotonic()

    with pytest.raises((HttpStatusError, TooSlowError)):
        download(request, tmp_path / "image", ignore)

    assert time.monotonic() - began < 10
    assert len(server.requests) < 100


@pytest.mark.parametrize(("fruitless", "least"), [(0, 1), (1, 1), (2, 2), (5, 16), (60, 60)])
def test_the_wait_doubles_with_each_attempt_in_vain_and_begins_anew_with_progress(fruitless: int, least: float) -> None:
    state = RetryCallState(Retrying(), None, (), {})
    work = _Download(replace(wanted("http://host/"), backoff=1.0), Path("image"), 0, ignore, fruitless=fruitless)

    assert least <= work._wait(state) <= least + 1


def test_a_turn_is_taken_at_each_place_that_is_really_asked(server: HazardServer, tmp_path: Path) -> None:
    turns: list[str] = []

    @contextmanager
    def turn(uri: str) -> Iterator[None]:
        turns.append(f"take {uri}")
        yield
        turns.append(f"give {uri}")

    mirror, url = server.at("/mirror", hazards.answer(IMAGE)), server.at("/image", hazards.garbage())
    download(replace(wanted(url), mirrors=(Source(mirror, POLICY),), turn=turn), tmp_path / "image", ignore)

    assert turns == [f"take {mirror}", f"give {mirror}"]
