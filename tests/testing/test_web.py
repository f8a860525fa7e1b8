import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from imagesync.testing import faults, pki
from imagesync.testing.web import WebServer

CONTENT = bytes(range(256)) * 800  # more than one chunk


@pytest.fixture
def server(now: datetime) -> Iterator[WebServer]:
    with WebServer(now) as server:
        server.put("/a", CONTENT)
        yield server


class Answer:
    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body


def connect(server: WebServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port, timeout=20)


def get(server: WebServer, path: str = "/a", method: str = "GET", **headers: str) -> Answer:
    connection = connect(server)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


def test_bytes_are_served_with_validators_and_the_servers_date(server: WebServer) -> None:
    answer = get(server)

    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Last-Modified"] == answer.headers["Date"] == "Sun, 01 Mar 2026 12:00:00 GMT"
    assert answer.headers["ETag"].startswith('"')


def test_files_are_served_as_they_are_now(server: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    server.put("/file", path)

    assert get(server, "/file").body == CONTENT
    assert get(server, "/file", Range="bytes=100000-").body == CONTENT[100000:]


def test_what_is_not_there_is_404(server: WebServer) -> None:
    assert get(server, "/b").status == 404
    server.remove("/a")
    assert get(server).status == 404


def test_head_has_the_headers_only(server: WebServer) -> None:
    answer = get(server, method="HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(CONTENT))


def test_a_connection_serves_several_requests(server: WebServer) -> None:
    connection = connect(server)
    for _ in range(3):
        connection.request("GET", "/a?query=is+ignored")
        assert connection.getresponse().read() == CONTENT
    connection.close()

    assert [request.path for request in server.requests] == ["/a"] * 3


def test_an_unchanged_resource_is_not_sent_again(server: WebServer) -> None:
    first = get(server)

    by_tag = get(server, If_None_Match=first.headers["ETag"])
    by_date = get(server, If_Modified_Since=first.headers["Last-Modified"])

    assert (by_tag.status, by_tag.body) == (by_date.status, by_date.body) == (304, b"")
    assert by_tag.headers["ETag"] == first.headers["ETag"]


def test_a_changed_resource_is_sent_whatever_the_date_says(server: WebServer) -> None:
    first = get(server)
    server.put("/a", b"other")

    answer = get(server, If_None_Match=first.headers["ETag"], If_Modified_Since=first.headers["Last-Modified"])

    assert (answer.status, answer.body) == (200, b"other")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=1000-", 1000, None), ("bytes=-10", -10, None), ("bytes=5-99999999", 5, None)],
)
def test_a_range_is_a_part(asked: str, start: int, stop: int | None, server: WebServer) -> None:
    answer = get(server, Range=asked)

    part = CONTENT[start:stop]
    begin = start % len(CONTENT)
    assert (answer.status, answer.body) == (206, part)
    assert answer.headers["Content-Range"] == f"bytes {begin}-{begin + len(part) - 1}/{len(CONTENT)}"


def test_a_range_behind_the_end_is_416(server: WebServer) -> None:
    answer = get(server, Range=f"bytes={len(CONTENT)}-")

    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=a-b", "bytes=0-1,5-6", "lines=1-2"])
def test_a_range_that_cannot_be_read_gives_the_whole(asked: str, server: WebServer) -> None:
    assert get(server, Range=asked).status == 200


def test_a_range_of_an_older_version_gives_the_whole(server: WebServer) -> None:
    tag = get(server).headers["ETag"]

    assert get(server, Range="bytes=5-", If_Range=tag).status == 206
    server.put("/a", b"another")
    assert get(server, Range="bytes=5-", If_Range=tag).body == b"another"


def test_a_protected_path_wants_its_token(server: WebServer) -> None:
    server.protect("/a", "s3cret")

    assert get(server).status == 401
    assert get(server, Authorization="Bearer wrong").status == 401
    assert get(server, Authorization="Bearer s3cret").status == 200
    assert get(server, Authorization="Basic czNjcmV0Ongtb2F1dGgtYmFzaWM=").status == 200


def test_requests_are_kept_with_headers_and_status(server: WebServer) -> None:
    get(server, X_Test="1")
    get(server, "/b")

    first, second = server.requests
    assert (first.method, first.path, first.status, first.headers["x-test"]) == ("GET", "/a", 200, "1")
    assert second.status == 404
    assert server.requests_for("/b") == [second]


def test_a_request_can_be_waited_for(server: WebServer) -> None:
    other = threading.Thread(target=get, args=(server,))
    other.start()

    assert server.wait_for("/a").status == 200
    other.join()
    with pytest.raises(TimeoutError, match="nobody asked for /b"):
        server.wait_for("/b", timeout=0.01)


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_status_with_retry_after(server: WebServer) -> None:
    server.misbehave("/a", faults.Status(503, retry_after=30))

    answer = get(server)

    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    server.behave("/a")
    assert get(server).status == 200


def test_a_fault_can_last_for_some_requests(server: WebServer) -> None:
    server.misbehave("/a", faults.Status(500), times=2)

    assert [get(server).status for _ in range(3)] == [500, 500, 200]


def test_all_faults_end_at_once(server: WebServer) -> None:
    server.put("/b", b"b")
    server.misbehave("/a", faults.Status(500))
    server.misbehave("/b", faults.Status(500))

    server.behave()

    assert get(server, "/a").status == get(server, "/b").status == 200


def test_pages_and_errors_instead_of_the_content(server: WebServer) -> None:
    server.misbehave("/a", faults.html_page(), times=1)
    page = get(server)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.body.startswith(b"<!DOCTYPE html>")

    server.misbehave("/a", faults.appdb_error())
    assert b'"egiappdb"' in get(server).body


def test_a_redirect(server: WebServer) -> None:
    server.misbehave("/a", faults.Redirect("http://127.0.0.2/x", 307))

    answer = get(server)

    assert (answer.status, answer.headers["Location"]) == (307, "http://127.0.0.2/x")


def test_an_endless_body_does_not_end(server: WebServer) -> None:
    server.misbehave("/a", faults.Endless())
    connection = connect(server)
    connection.request("GET", "/a")
    response = connection.getresponse()

    assert response.headers["Content-Length"] is None
    assert response.read(len(CONTENT)) == CONTENT
    assert response.read(1_000_000) == b" " * 1_000_000
    response.close()
    connection.close()


def test_a_slow_body_drips(server: WebServer) -> None:
    server.put("/short", b"abcdef")
    server.misbehave("/short", faults.Slow(chunk=2, pause=0.001))

    assert get(server, "/short").body == b"abcdef"


def test_a_shortened_body_is_a_complete_answer(server: WebServer) -> None:
    server.misbehave("/a", faults.Shortened(70_000))

    answer = get(server)

    assert (answer.status, answer.body) == (200, CONTENT[:70_000])


@pytest.mark.parametrize("after", [0, 10, 70_000])
def test_a_body_broken_off_is_noticed(after: int, server: WebServer) -> None:
    server.misbehave("/a", faults.BrokenOff(after))

    with pytest.raises(http.client.IncompleteRead) as caught:
        get(server)

    assert caught.value.partial == CONTENT[:after]


def test_a_reset_is_an_error(server: WebServer) -> None:
    server.misbehave("/a", faults.BrokenOff(1000, reset=True))

    with pytest.raises(ConnectionResetError):
        get(server)


@pytest.mark.parametrize(("at", "expected"), [(0, 0), (600, 600), (70_000, 70_000), (10**9, len(CONTENT) - 1)])
def test_tampering_changes_one_bit(at: int, expected: int, server: WebServer) -> None:
    server.misbehave("/a", faults.Tampered(at))

    body = get(server).body

    assert [place for place, byte in enumerate(body) if byte != CONTENT[place]] == [expected]


def test_a_held_body_waits_for_its_release(server: WebServer) -> None:
    fault = faults.Held(after=100)
    server.misbehave("/a", fault, times=1)
    connection = connect(server)
    connection.request("GET", "/a")
    response = connection.getresponse()

    assert response.read(100) == CONTENT[:100]
    assert fault.reached.wait(10)
    fault.release.set()
    assert response.read() == CONTENT[100:]
    connection.close()


@pytest.mark.parametrize(
    "fault",
    [faults.Silent(), faults.Slow(pause=3600), faults.Endless(), faults.Held(after=5)],
    ids=lambda fault: type(fault).__name__,
)
def test_closing_ends_every_request(fault: faults.Fault, now: datetime) -> None:
    before = threading.active_count()
    with WebServer(now) as server:
        server.put("/a", CONTENT)
        server.misbehave("/a", fault, times=1)
        client = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), timeout=20)
        client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for("/a")

    assert threading.active_count() == before
    client.close()


def test_closing_ends_idle_connections(now: datetime) -> None:
    with WebServer(now) as server:
        server.put("/a", CONTENT)
        connection = connect(server)
        connection.request("GET", "/a")
        connection.getresponse().read()

    connection.close()


def test_https_is_served_with_a_context(now: datetime, authority: pki.Authority, tmp_path: Path) -> None:
    host = pki.Profile(purposes=pki.HOST.purposes, dns=("localhost",))
    files = pki.write_identity(authority.issue("/CN=localhost", host, key=pki.ec_key()), tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with WebServer(now, tls=context) as server:
        server.put("/a", CONTENT)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        port = urlsplit(server.url).port
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=20)
        connection.request("GET", "/a")

        assert server.url.startswith("https://")
        assert connection.getresponse().read() == CONTENT
        connection.close()
