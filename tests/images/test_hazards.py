"""What servers do to a download into the cache: one row each, with what comes of it and what stays behind.

Nothing else in the cache is touched, nothing of a dead download stays, no thread is left, and no row waits for long.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagesync.errors import (
    DigestMismatchError,
    ForbiddenAddressError,
    HttpStatusError,
    ImagesyncError,
    TooSlowError,
    UnreachableError,
)
from imagesync.http import Credential, HttpPolicy, origin_of
from imagesync.images.download import DownloadRequest, Source, download
from imagesync.images.entries import Entry, Record, partial_name, source_name
from imagesync.images.store import Store
from imagesync.model import Digest
from imagesync.testing import hazards
from imagesync.testing.hazards import TAG, Behaviour, HazardServer
from imagesync.testing.tls import TlsAuthority

IMAGE = bytes(range(256)) * 1200
CHANGED = IMAGE[:-1] + b"\0"
SIZE, SOME = len(IMAGE), 100_000
DIGEST = Digest(hashlib.sha512(IMAGE).hexdigest())
LONGEST = 10.0

# Patient, because the machine may be busy; only a row about slowness shortens the one time that it is about.
POLICY = HttpPolicy(allow_private=True, header_timeout=30, stall_timeout=30)
SHORT_HEADERS = replace(POLICY, header_timeout=0.4)
SHORT_STALL = replace(POLICY, stall_timeout=0.3)
SHORT_WINDOW = replace(POLICY, rate_window=0.2)
PUBLIC = replace(POLICY, allow_private=False, named_hosts=frozenset({"localhost"}))
HASTY = replace(POLICY, base_deadline=0.3, minimum_rate=1e9, rate_window=60)

BEGUN = hazards.truncated(IMAGE[:SOME], SIZE, TAG)
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
LONG_AGO = {"Last-Modified": "Sun, 01 Mar 2026 11:00:00 GMT", "Date": DATE}
JUST_NOW = {"Last-Modified": "Sun, 01 Mar 2026 11:59:30 GMT", "Date": DATE}


@dataclass(frozen=True)
class Hazard:
    """What a server does, and what comes of it: the error and its text, or the endorsed bytes if there is none.

    ``left`` is what stays for the next attempt, in bytes; ``asked`` how many requests the server saw.
    """

    behaviour: Behaviour
    error: type[ImagesyncError] | None = None
    text: str = ""
    left: int = 0
    asked: int = 1
    policy: HttpPolicy = field(default_factory=lambda: POLICY)
    host: str = "127.0.0.1"


def wrong(behaviour: Behaviour, text: str, **more: object) -> Hazard:
    return replace(Hazard(behaviour, DigestMismatchError, text), **more)  # type: ignore[arg-type]


def lost(behaviour: Behaviour, text: str, **more: object) -> Hazard:
    return replace(Hazard(behaviour, UnreachableError, text, asked=2), **more)  # type: ignore[arg-type]


def slow(behaviour: Behaviour, text: str, **more: object) -> Hazard:
    return replace(Hazard(behaviour, TooSlowError, text, asked=2), **more)  # type: ignore[arg-type]


def answered(behaviour: Behaviour, code: int, **more: object) -> Hazard:
    return replace(Hazard(behaviour, HttpStatusError, f"HTTP {code}"), **more)  # type: ignore[arg-type]


def forbidden(location: str, text: str, **more: object) -> Hazard:
    row = Hazard(hazards.redirect(location), ForbiddenAddressError, text, policy=PUBLIC, host="localhost")
    return replace(row, **more)  # type: ignore[arg-type]


def resumed(behaviour: Behaviour, asked: int = 2) -> Hazard:
    return Hazard(hazards.in_turn(BEGUN, behaviour), asked=asked)


HAZARDS: dict[str, Hazard] = {
    # other bytes than endorsed
    "endless": wrong(hazards.endless(), "the server sends more"),
    "endless chunks": wrong(hazards.endless_chunks(), "the server sends more"),
    "one byte more": wrong(hazards.without_length(IMAGE + b"x"), "the server sends more"),
    "announced longer": wrong(hazards.answer(IMAGE + b"x"), f"the list says {SIZE} bytes"),
    "announced shorter": wrong(hazards.answer(IMAGE[:-1]), f"the server offers {SIZE - 1}"),
    "complete chunks of another length": wrong(hazards.wrong_chunks(b"abcde"), "the server sent 5"),
    "html login page": wrong(hazards.html(), f"the list says {SIZE} bytes"),
    "other content": wrong(hazards.answer(CHANGED, headers=TAG), r"SHA-512 is [0-9a-f]{16}…, the list says"),
    # no proper answer
    "gzip bomb": lost(hazards.gzip_bomb(), "Content-Encoding gzip"),
    "unknown encoding": lost(hazards.encoded(IMAGE, "br"), "Content-Encoding br"),
    "endless headers": lost(hazards.endless_headers(), "no proper HTTP"),
    "garbage": lost(hazards.garbage(), "no proper HTTP"),
    # too slow
    "silence": slow(hazards.stall(headers=False), "no (complete )?answer", policy=SHORT_HEADERS),
    "drip of headers": slow(hazards.drip_headers(), "no complete answer", policy=SHORT_HEADERS),
    "drip of body": slow(hazards.drip_body(), "below the minimum", policy=SHORT_WINDOW),
    "drip of announced body": slow(hazards.drip_body(length=SIZE), "below the minimum", policy=SHORT_WINDOW),
    "drip of a chunk header": slow(hazards.drip_chunk_header(), "no data", policy=SHORT_STALL),
    "past the deadline": slow(hazards.drip_body(length=SIZE), "when its time", policy=HASTY, asked=1),
    "stall": slow(hazards.stall(IMAGE[:SOME], SIZE), "no data", policy=SHORT_STALL),
    # broken off
    "truncated": lost(hazards.truncated(IMAGE[:SOME], SIZE), f"after {SOME} of {SIZE} bytes"),
    "truncated chunks": lost(hazards.truncated_chunks(IMAGE[:SOME]), f"after {SOME} bytes"),
    "closed without length": lost(hazards.without_length(IMAGE[:SOME]), f"after {SOME} of {SIZE} bytes"),
    "reset at 100000": lost(hazards.reset(IMAGE[:SOME], SIZE), "reset"),
    # what an interrupted answer leaves
    "truncated, with an ETag": lost(hazards.in_turn(BEGUN, hazards.garbage()), "no proper HTTP", left=SOME),
    "truncated, with a weak ETag": lost(hazards.truncated(IMAGE[:SOME], SIZE, {"ETag": 'W/"v1"'}), "after"),
    "truncated, with an unquoted ETag": lost(hazards.truncated(IMAGE[:SOME], SIZE, {"ETag": "v1"}), "after"),
    "truncated, changed long ago": lost(
        hazards.in_turn(hazards.truncated(IMAGE[:SOME], SIZE, LONG_AGO), hazards.garbage()), "HTTP", left=SOME
    ),
    "truncated, changed just now": lost(hazards.truncated(IMAGE[:SOME], SIZE, JUST_NOW), "after"),
    # statuses
    "404": answered(hazards.status(404), 404),
    "500": answered(hazards.status(500), 500, asked=2),
    "503 with Retry-After": answered(hazards.status(503, retry_after="0"), 503, asked=2),
    "429 for an hour": answered(hazards.status(429, retry_after="3600"), 429),
    "304 that nobody asked for": answered(hazards.status(304), 304),
    "206 that nobody asked for": answered(hazards.status(206), 206),
    "416 that nobody asked for": answered(hazards.status(416), 416),
    # redirects
    "redirect loop": Hazard(hazards.redirect_loop(), ForbiddenAddressError, "more than 5 redirects", asked=6),
    "redirect without target": answered(hazards.status(302), 302),
    "redirect to a file": forbidden("file:///etc/passwd", "scheme file"),
    "redirect to ftp": forbidden("ftp://127.0.0.1/image", "scheme ftp"),
    "redirect to loopback": forbidden("http://127.0.0.1:1/image", "a loopback address"),
    "redirect to loopback as a number": forbidden("http://2130706433:1/image", "a loopback address"),
    "redirect to metadata": forbidden("http://169.254.169.254/latest/meta-data", "metadata"),
    "redirect to a private address": forbidden("http://10.0.0.1/image", "private"),
    "redirect to 64:ff9b::/96": forbidden("http://[64:ff9b::7f00:1]/image", "translation prefix"),
    "redirect to 2002::/16": forbidden("http://[2002:7f00:1::]/image", "6to4"),
    "redirect with a password": forbidden("http://user:secret@127.0.0.1:1/image", "user name or password"),
    # the rest of an interrupted download
    "the rest": resumed(hazards.ranged(IMAGE)),
    "the rest in pieces": resumed(hazards.in_turn(hazards.ranged(IMAGE), hazards.ranged(IMAGE))),
    "200 to a range request": resumed(hazards.rangeless(IMAGE), asked=3),
    "206 that begins later": resumed(hazards.in_turn(BEGUN, hazards.shifted(IMAGE), hazards.ranged(IMAGE)), asked=3),
    "206 that begins earlier": resumed(
        hazards.in_turn(BEGUN, hazards.shifted(IMAGE, by=-1), hazards.ranged(IMAGE)), asked=3
    ),
    "206 of a longer file": resumed(
        hazards.in_turn(BEGUN, hazards.shifted(IMAGE, by=0, more=9), hazards.ranged(IMAGE)), asked=3
    ),
    "206 without a range": resumed(hazards.in_turn(BEGUN, hazards.unlabelled(IMAGE), hazards.ranged(IMAGE)), asked=3),
    "206 in several parts": resumed(hazards.in_turn(BEGUN, hazards.multipart(IMAGE), hazards.ranged(IMAGE)), asked=3),
    "206 with more bytes": resumed(hazards.in_turn(BEGUN, hazards.overlong(IMAGE), hazards.ranged(IMAGE)), asked=3),
    "206 of another version": resumed(
        hazards.in_turn(BEGUN, hazards.deaf(CHANGED, {"ETag": '"v2"'}), hazards.ranged(IMAGE)), asked=3
    ),
    "206 without its ETag": resumed(hazards.in_turn(BEGUN, hazards.deaf(IMAGE, {}), hazards.ranged(IMAGE)), asked=3),
    "416 to a range request": resumed(hazards.refusing(IMAGE), asked=3),
    "501 to a range request": resumed(hazards.refusing(IMAGE, 501), asked=3),
    "the ETag lies": resumed(hazards.in_turn(BEGUN, hazards.lying_tag(CHANGED), hazards.ranged(IMAGE)), asked=3),
    "changed during resume": wrong(
        hazards.in_turn(BEGUN, hazards.ranged(CHANGED, headers={"ETag": '"v2"'})), "SHA-512 is", asked=3
    ),
    "503 to a range request": answered(hazards.in_turn(BEGUN, hazards.status(503)), 503, asked=2, left=SOME),
    "403 to a range request": answered(hazards.in_turn(BEGUN, hazards.status(403)), 403, asked=2, left=SOME),
    "429 to a range request": answered(
        hazards.in_turn(BEGUN, hazards.status(429, retry_after="3600")), 429, asked=2, left=SOME
    ),
    "html to a range request": wrong(
        hazards.in_turn(BEGUN, hazards.html()), f"the list says {SIZE} bytes", asked=3, left=SOME
    ),
    "the rest breaks off": lost(
        hazards.in_turn(BEGUN, hazards.ranged(IMAGE, keep=SOME)), f"after {SOME} of {SIZE - SOME}", left=2 * SOME
    ),
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A cache with something in it that must stay as it is."""
    store = Store(tmp_path / "cache", reserve_bytes=0)
    other = source_name(Digest("e" * 128))
    with store.working(other), store.workspace() as work:
        (work / "file").write_bytes(b"precious")
        with store.add(other, work / "file", Record(Digest("e" * 128), 8)):
            pass
    return store


@pytest.fixture(autouse=True)
def nothing_else_changes(store: Store) -> Iterator[None]:
    def others() -> dict[Path, bytes]:
        whole = (store.root / "sources", store.root / "converted", store.root / "tmp")
        return {path: path.read_bytes() for area in whole for path in area.iterdir() if DIGEST not in path.name}

    before, threads = others(), threading.active_count()
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONGEST
    assert others() == before
    assert threading.active_count() == threads


@pytest.fixture
def server() -> Iterator[HazardServer]:
    with HazardServer() as server:
        yield server


def load(store: Store, url: str, policy: HttpPolicy = POLICY, progress: Callable[[int], None] = lambda _: None) -> int:
    """Download as a pass does, and keep the result."""
    request = DownloadRequest(url, SIZE, DIGEST, policy, attempts=2, backoff=0.001)
    name = source_name(DIGEST)
    with store.working(name), store.workspace() as work:
        with store.partial(DIGEST) as partial:
            fetched = download(request, partial, progress)
            partial.replace(work / "source")
        with store.add(name, work / "source", Record(DIGEST, SIZE)):
            return fetched


def found(store: Store, name: str) -> Entry | None:
    return next((entry for entry in store.ls() if entry.name == name), None)


def left(store: Store) -> int:
    """Return how much stays for the next attempt, after seeing that it is the beginning and nothing else."""
    area = list((store.root / "partial").iterdir())
    partial = found(store, partial_name(DIGEST))
    if partial is None:
        assert area == []
        return 0
    assert len(area) == 2
    assert partial.path.read_bytes() == IMAGE[: partial.record.size]
    return partial.record.size


def check(store: Store, row: Hazard, url: str) -> None:
    if row.error is None:
        load(store, url, row.policy)
    else:
        with pytest.raises(row.error, match=row.text):
            load(store, url, row.policy)
    whole = found(store, source_name(DIGEST))
    assert (whole is not None) == (row.error is None)
    assert whole is None or whole.path.read_bytes() == IMAGE
    assert left(store) == row.left


@pytest.mark.parametrize("name", HAZARDS)
def test_a_hazard_costs_no_more_than_its_own_download(store: Store, server: HazardServer, name: str) -> None:
    row = HAZARDS[name]
    server.at("/image", row.behaviour)

    check(store, row, server.url("/image", row.host))

    assert server.has_read(row.asked)
    assert len(server.requests) == row.asked


# --- TLS, names, credentials -----------------------------------------------------------------------------------------
EXPIRED = datetime(2021, 1, 1, tzinfo=UTC)
TRUSTED = {
    "wrong host": (("elsewhere.example",), None, True, "not trusted"),
    "expired": (("127.0.0.1",), EXPIRED, True, "certificate has expired"),
    "unknown CA": (("127.0.0.1",), None, False, "unable to get local issuer"),
}


@pytest.mark.parametrize("name", TRUSTED)
def test_a_server_without_a_good_certificate_is_sent_nothing(store: Store, tmp_path: Path, name: str) -> None:
    names, until, known, text = TRUSTED[name]
    authority = TlsAuthority(tmp_path)
    policy = replace(POLICY, ca_bundle=authority.bundle if known else None)
    with HazardServer(authority.server(*names, until=until)) as server:
        server.at("/image", hazards.answer(IMAGE))
        check(store, lost(hazards.answer(IMAGE), text, policy=policy), server.url("/image"))
        assert server.requests == []


def test_plain_http_where_tls_was_promised_is_no_answer(store: Store, server: HazardServer) -> None:
    server.at("/image", hazards.answer(IMAGE))

    url = server.url("/image").replace("http:", "https:")
    check(store, lost(hazards.answer(IMAGE), "TLS failed"), url)


def test_https_is_never_left_for_http(store: Store, server: HazardServer, tmp_path: Path) -> None:
    authority = TlsAuthority(tmp_path)
    target = server.at("/image", hazards.answer(IMAGE))
    policy = replace(POLICY, ca_bundle=authority.bundle)
    row = Hazard(hazards.redirect(target), ForbiddenAddressError, "from https", policy=policy)
    with HazardServer(authority.server("127.0.0.1")) as secure:
        check(store, row, secure.at("/image", row.behaviour))

    assert server.connections == 0


def test_another_host_gets_the_request_without_the_token(store: Store, tmp_path: Path) -> None:
    authority = TlsAuthority(tmp_path)
    context = authority.server("127.0.0.1")
    with HazardServer(context) as first, HazardServer(context) as second:
        url = first.at("/image", hazards.redirect(second.at("/image", hazards.answer(IMAGE))))
        credential = Credential(origin_of(url), "bearer", "t0ken")
        policy = replace(POLICY, ca_bundle=authority.bundle, credential=credential)
        check(store, Hazard(hazards.answer(IMAGE), policy=policy), url)

        assert "authorization" in first.requests[0].headers
        assert "authorization" not in second.requests[0].headers


def test_a_name_that_is_bound_anew_after_the_check_gains_nothing(
    store: Store, server: HazardServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.at("/image", hazards.answer(IMAGE))
    answers = iter(["93.184.216.34", "127.0.0.1"])

    def getaddrinfo(host: str, port: int, *_: object, **_options: object) -> list[tuple[object, ...]]:
        address = host if host[:1].isdigit() else next(answers)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    elsewhere = ("127.0.0.1", server.port)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr("imagesync.http.connect.create_connection", lambda *_args: socket.create_connection(elsewhere))

    row = Hazard(hazards.answer(IMAGE), ForbiddenAddressError, "a loopback address", policy=PUBLIC)
    check(store, row, server.url("/image", "images.example.org"))
    assert server.requests == []


# --- going on --------------------------------------------------------------------------------------------------------
def interrupted(store: Store, server: HazardServer, behaviour: Behaviour = BEGUN) -> str:
    """Let a download break off after some bytes, and return its URL."""
    url = server.at("/image", hazards.in_turn(behaviour, hazards.garbage()))
    with pytest.raises(UnreachableError):
        load(store, url)
    assert left(store) == SOME
    server.requests.clear()
    return url


def test_a_later_attempt_asks_for_the_rest_of_the_same_version_only(store: Store, server: HazardServer) -> None:
    interrupted(store, server)
    counts: list[int] = []

    fetched = load(
        Store(store.root, reserve_bytes=0), server.at("/image", hazards.ranged(IMAGE)), POLICY, counts.append
    )

    (asked,) = server.requests
    assert (asked.headers["range"], asked.headers["if-range"]) == (f"bytes={SOME}-", '"v1"')
    assert (fetched, sum(counts)) == (SIZE - SOME, SIZE)
    assert (found(store, source_name(DIGEST)) is not None, left(store)) == (True, 0)


def test_a_rest_that_stalls_leaves_what_there_is(store: Store, server: HazardServer) -> None:
    interrupted(store, server)

    with pytest.raises(TooSlowError, match="no (complete )?answer"):
        load(store, server.at("/image", hazards.stall(headers=False)), SHORT_HEADERS)

    assert left(store) == SOME


def test_a_time_of_change_long_ago_is_as_good_as_a_tag(store: Store, server: HazardServer) -> None:
    interrupted(store, server, hazards.truncated(IMAGE[:SOME], SIZE, LONG_AGO))

    assert load(store, server.at("/image", hazards.ranged(IMAGE, headers=LONG_AGO))) == SIZE - SOME

    assert server.requests[0].headers["if-range"] == LONG_AGO["Last-Modified"]


def test_what_came_from_elsewhere_is_not_gone_on_with(store: Store, server: HazardServer) -> None:
    interrupted(store, server)

    assert load(store, server.at("/other", hazards.ranged(IMAGE))) == SIZE

    assert "range" not in server.requests[0].headers


def test_what_rotted_on_the_disk_is_fetched_anew_before_anybody_is_blamed(store: Store, server: HazardServer) -> None:
    interrupted(store, server)
    partial = store.root / partial_name(DIGEST)
    partial.write_bytes(b"x" + IMAGE[1:SOME])
    counts: list[int] = []

    fetched = load(store, server.at("/image", hazards.ranged(IMAGE)), POLICY, counts.append)

    assert [request.headers.get("range") for request in server.requests] == [f"bytes={SOME}-", None]
    assert (fetched, sum(counts)) == (SIZE - SOME + SIZE, SIZE)


def test_a_torn_mark_is_none(store: Store, server: HazardServer) -> None:
    interrupted(store, server)
    mark = store.root / f"{partial_name(DIGEST)}.json"
    mark.write_text(mark.read_text()[:20])

    assert load(store, server.at("/image", hazards.ranged(IMAGE))) == SIZE


def test_a_whole_file_that_was_not_kept_yet_needs_no_request(store: Store, server: HazardServer) -> None:
    interrupted(store, server)
    (store.root / partial_name(DIGEST)).write_bytes(IMAGE)

    assert load(store, server.at("/image", hazards.garbage())) == 0
    assert server.requests == []


def test_whoever_was_asked_to_stop_leaves_what_there_is(store: Store, server: HazardServer) -> None:
    class StoppedError(BaseException):
        pass

    def stop(count: int) -> None:
        if server.requests and not count:  # the second attempt begins
            raise StoppedError

    with pytest.raises(StoppedError):
        load(store, server.at("/image", BEGUN), progress=stop)

    assert left(store) == SOME


def test_a_large_file_gets_further_attempts_while_each_brings_it_on(store: Store, server: HazardServer) -> None:
    image = bytes(5 << 20)
    digest = Digest(hashlib.sha512(image).hexdigest())
    url = server.at("/image", hazards.ranged(image, keep=1 << 20))
    request = DownloadRequest(url, len(image), digest, POLICY, attempts=1, backoff=0.001, further=1 << 20)

    with store.partial(digest) as partial:
        assert download(request, partial, lambda _: None) == len(image)
        partial.unlink()

    assert len(server.requests) == 5


# --- mirrors ---------------------------------------------------------------------------------------------------------
USELESS = {
    "other bytes": hazards.answer(CHANGED, headers=TAG),
    "an error": hazards.status(404),
    "a page": hazards.html(),
    "half of it": BEGUN,
}


@pytest.mark.parametrize("name", USELESS)
def test_a_mirror_that_does_not_help_costs_nothing_but_time(store: Store, server: HazardServer, name: str) -> None:
    mirror = server.at("/mirror", USELESS[name])
    request = DownloadRequest(server.at("/image", hazards.answer(IMAGE)), SIZE, DIGEST, POLICY, 1, 0.001)
    request = replace(request, mirrors=(Source(mirror, POLICY),))

    with store.partial(DIGEST) as partial:
        download(request, partial, lambda _: None)
        assert partial.read_bytes() == IMAGE
        partial.unlink()

    assert server.targets() == ["/mirror", "/image"]


def test_a_mirror_that_has_the_bytes_is_enough(store: Store, server: HazardServer) -> None:
    mirrors = tuple(Source(server.url(path), POLICY) for path in ("/first", "/second"))
    server.at("/second", hazards.answer(IMAGE))
    request = DownloadRequest(server.url("/image"), SIZE, DIGEST, POLICY, 1, 0.001, mirrors)

    with store.partial(DIGEST) as partial:
        download(request, partial, lambda _: None)
        partial.unlink()

    assert server.targets() == ["/first", "/second"]
