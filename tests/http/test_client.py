import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagesync.errors import (
    ForbiddenAddressError,
    HttpStatusError,
    TooLargeError,
    TooSlowError,
    UnreachableError,
)
from imagesync.http import HttpPolicy, get
from imagesync.testing import hazards
from imagesync.testing.hazards import Behaviour, Connection, HazardServer

BODY = b"bytes of an image" * 1000
LONGEST = 10.0


def read(url: str, policy: HttpPolicy, max_bytes: int = 1 << 20) -> bytes:
    with get(url, policy, max_bytes=max_bytes) as response:
        return response.read()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "http-watchdog"]


# --- what works ------------------------------------------------------------------------------------------------------
def test_the_body_arrives_whole(server: HazardServer, private: HttpPolicy) -> None:
    url = server.at("/image", hazards.answer(BODY))

    assert read(url, private) == BODY


def test_a_body_without_length_arrives_whole(server: HazardServer, private: HttpPolicy) -> None:
    url = server.at("/image", hazards.without_length(BODY))

    assert read(url, private) == BODY


def test_a_chunked_body_arrives_whole(server: HazardServer, private: HttpPolicy) -> None:
    def chunked(connection: Connection) -> None:
        connection.head(headers={"Transfer-Encoding": "chunked"})
        connection.send(b"5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n")

    assert read(server.at("/image", chunked), private) == b"abcdefgh"


def test_no_block_is_larger_than_a_mebibyte(server: HazardServer, private: HttpPolicy) -> None:
    url = server.at("/image", hazards.answer(b"x" * (5 << 20)))

    with get(url, private, max_bytes=5 << 20) as response:
        sizes = [len(block) for block in response.blocks()]

    assert sum(sizes) == 5 << 20
    assert max(sizes) <= 1 << 20


def test_length_and_end_of_the_body_are_known(server: HazardServer, private: HttpPolicy) -> None:
    known = server.at("/known", hazards.answer(BODY))
    unknown = server.at("/unknown", hazards.without_length(BODY))

    with get(known, private, max_bytes=1 << 20) as response:
        assert (response.length, response.delimited) == (len(BODY), True)
    with get(unknown, private, max_bytes=1 << 20) as response:
        assert (response.length, response.delimited) == (None, False)


def test_the_request_asks_for_plain_bytes_and_says_who_asks(server: HazardServer, private: HttpPolicy) -> None:
    read(server.at("/image", hazards.answer(BODY)), private)

    headers = server.requests[0].headers
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("imagesync/")
    assert "authorization" not in headers


def test_a_conditional_request_can_be_answered_with_304(server: HazardServer, private: HttpPolicy) -> None:
    url = server.at("/list", hazards.status(304))

    with get(url, private, max_bytes=10, headers={"If-None-Match": '"a"'}) as response:
        assert response.status == 304

    assert server.requests[0].headers["if-none-match"] == '"a"'


def test_304_that_nobody_asked_for_is_an_error(server: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(HttpStatusError):
        read(server.at("/list", hazards.status(304)), private)


# --- too much --------------------------------------------------------------------------------------------------------
def test_a_length_beyond_the_bound_is_refused_before_the_body(server: HazardServer, private: HttpPolicy) -> None:
    url = server.at("/image", hazards.answer(BODY))

    with pytest.raises(TooLargeError, match="announces 17000 bytes"):
        read(url, private, max_bytes=16_999)


@pytest.mark.parametrize("behaviour", [hazards.endless(), hazards.endless_chunks()], ids=["plain", "chunked"])
def test_an_endless_body_ends_one_byte_after_the_bound(
    server: HazardServer, private: HttpPolicy, behaviour: Behaviour
) -> None:
    received: list[bytes] = []
    with get(server.at("/", behaviour), private, max_bytes=100_000) as response:
        blocks = response.blocks()
        with pytest.raises(TooLargeError, match="more bytes"):
            received.extend(blocks)

    assert sum(map(len, received)) <= 100_000


def test_a_body_of_exactly_the_bound_passes(server: HazardServer, private: HttpPolicy) -> None:
    assert read(server.at("/", hazards.answer(BODY)), private, max_bytes=len(BODY)) == BODY


def test_endless_headers_are_cut(server: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(UnreachableError, match="no proper HTTP"):
        read(server.at("/", hazards.endless_headers()), private)


# --- too slow --------------------------------------------------------------------------------------------------------
SLOW = {
    "drip of headers": (hazards.drip_headers(), {"header_timeout": 0.3}, "no complete answer"),
    "no headers": (hazards.stall(headers=False), {"header_timeout": 0.3}, "no (complete )?answer"),
    "drip of body": (hazards.drip_body(), {"rate_window": 0.3}, "below the minimum"),
    "drip of announced body": (hazards.drip_body(length=1000), {"rate_window": 0.3}, "below the minimum"),
    "drip of a chunk header": (hazards.drip_chunk_header(), {"stall_timeout": 0.3}, "no data"),
    "stall": (hazards.stall(b"some", 1000), {"stall_timeout": 0.3}, "no data"),
    "past the deadline": (hazards.drip_body(), {"base_deadline": 0.3, "minimum_rate": 1e9}, "when its time"),
}


@pytest.mark.parametrize(("behaviour", "limits", "reason"), SLOW.values(), ids=SLOW.keys())
def test_a_slow_server_is_left_in_time(
    server: HazardServer, private: HttpPolicy, behaviour: Behaviour, limits: dict[str, float], reason: str
) -> None:
    began = time.monotonic()

    with pytest.raises(TooSlowError, match=reason):
        read(server.at("/", behaviour), replace(private, **limits))

    assert time.monotonic() - began < LONGEST


def test_a_slow_reader_is_not_the_servers_fault(server: HazardServer, private: HttpPolicy) -> None:
    url = server.at("/", hazards.answer(b"x" * 300_000))
    policy = replace(private, stall_timeout=0.2, rate_window=0.2, minimum_rate=1e6, base_deadline=60)
    pause = threading.Event()

    with get(url, policy, max_bytes=1 << 20) as response:
        size = 0
        for block in response.blocks():
            size += len(block)
            pause.wait(0.3 if size < 200_000 else 0)

    assert size == 300_000


# --- broken ----------------------------------------------------------------------------------------------------------
BROKEN = {
    "truncated": (hazards.truncated(b"short", 1000), "closed the connection early, after 5 of 1000 bytes"),
    "truncated chunks": (hazards.truncated_chunks(b"short"), "closed the connection early, after 5 bytes"),
    "reset": (hazards.reset(b"short", 1000), "connection"),
    "garbage": (hazards.garbage(), "no proper HTTP answer"),
    "gzip": (hazards.encoded(BODY), "Content-Encoding gzip"),
    "unknown encoding": (hazards.encoded(BODY, "br, gzip"), "Content-Encoding br"),
    "two lengths": (hazards.two_lengths(b"12"), "no proper HTTP answer"),
}


@pytest.mark.parametrize(("behaviour", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_not_a_body(
    server: HazardServer, private: HttpPolicy, behaviour: Behaviour, reason: str
) -> None:
    with pytest.raises(UnreachableError, match=reason):
        read(server.at("/", behaviour), private)


def test_nobody_listening_is_unreachable_and_says_what_to_check(private: HttpPolicy) -> None:
    with HazardServer() as gone:
        url = gone.url("/image")

    with pytest.raises(UnreachableError, match="connection refused") as caught:
        read(url, private)

    assert "`proxies`" in caught.value.hint


@pytest.mark.parametrize("code", [204, 206, 400, 401, 404, 500, 503])
def test_any_other_status_is_an_error_with_its_number(server: HazardServer, private: HttpPolicy, code: int) -> None:
    with pytest.raises(HttpStatusError) as caught:
        read(server.at("/", hazards.status(code)), private)

    assert caught.value.status == code


def test_retry_after_is_kept(server: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(HttpStatusError) as caught:
        read(server.at("/", hazards.status(503, retry_after="7")), private)

    assert caught.value.retry_after == 7.0


# --- redirects -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(server: HazardServer, private: HttpPolicy, code: int) -> None:
    server.at("/b/image", hazards.answer(BODY))

    with get(server.at("/a", hazards.redirect("b/image?x=1", code)), private, max_bytes=1 << 20) as response:
        assert response.read() == BODY
        assert response.url == server.url("/b/image?…")


def test_as_many_redirects_as_allowed_are_followed(server: HazardServer, private: HttpPolicy) -> None:
    for hop in range(5):
        server.at(f"/{hop}", hazards.redirect(f"/{hop + 1}"))
    server.at("/5", hazards.answer(BODY))

    assert read(server.url("/0"), private) == BODY


def test_a_redirect_loop_ends(server: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(ForbiddenAddressError, match="more than 5 redirects"):
        read(server.at("/loop", hazards.redirect("/loop")), private)

    assert len(server.requests) == 6


def test_the_body_of_a_redirect_is_not_read(server: HazardServer, private: HttpPolicy) -> None:
    server.at("/end", hazards.answer(BODY))
    url = server.at("/", hazards.redirect("/end", body=hazards.stall()))

    began = time.monotonic()
    assert read(url, private) == BODY
    assert time.monotonic() - began < LONGEST


def test_slowness_is_noticed_after_a_redirect_too(server: HazardServer, private: HttpPolicy) -> None:
    server.at("/drip", hazards.drip_headers())
    url = server.at("/", hazards.in_turn(hazards.redirect("/"), hazards.redirect("/drip")))

    with pytest.raises(TooSlowError):
        read(url, replace(private, header_timeout=0.5))


def test_a_redirect_without_target_is_an_error(server: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(HttpStatusError) as caught:
        read(server.at("/", hazards.status(302)), private)

    assert caught.value.status == 302


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "gopher://h/"])
def test_a_redirect_to_another_scheme_is_refused(server: HazardServer, private: HttpPolicy, target: str) -> None:
    with pytest.raises(ForbiddenAddressError, match="scheme"):
        read(server.at("/", hazards.redirect(target)), private)


@pytest.mark.parametrize("target", ["http://[", "http://h:port/", "\xff\xfe"])
def test_a_redirect_to_an_unreadable_url_is_refused(server: HazardServer, private: HttpPolicy, target: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        read(server.at("/", hazards.redirect(target)), private)


def test_userinfo_in_a_redirect_is_refused_and_not_repeated(
    server: HazardServer, other: HazardServer, private: HttpPolicy
) -> None:
    target = other.at("/", hazards.answer(BODY)).replace("//", "//user:s3cret@")

    with pytest.raises(ForbiddenAddressError) as caught:
        read(server.at("/", hazards.redirect(target)), private)

    assert "s3cret" not in str(caught.value)
    assert other.connections == 0


def test_http_can_be_switched_off(server: HazardServer, private: HttpPolicy) -> None:
    with pytest.raises(ForbiddenAddressError, match="use https"):
        read(server.at("/", hazards.answer(BODY)), replace(private, schemes=frozenset({"https"})))

    assert server.connections == 0


def test_no_cookie_is_carried_from_hop_to_hop(server: HazardServer, private: HttpPolicy) -> None:
    server.at("/end", hazards.answer(BODY))

    def behave(connection: Connection) -> None:
        connection.head(302, {"Location": "/end", "Set-Cookie": "id=1; Path=/", "Content-Length": "0"})

    read(server.at("/", behave), private)

    assert "cookie" not in server.requests[1].headers


# --- environment -----------------------------------------------------------------------------------------------------
def test_proxy_and_netrc_of_the_environment_are_not_read(
    server: HazardServer, other: HazardServer, private: HttpPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, other.url())

    assert read(server.at("/", hazards.answer(BODY)), private) == BODY
    assert "authorization" not in server.requests[0].headers
    assert other.connections == 0
