import socket
import ssl

import pytest
import requests
from urllib3.exceptions import MaxRetryError, ProtocolError

from imagesync.errors import TooSlowError, UnreachableError
from imagesync.http.failure import from_exception, from_status, http_date, retry_after

DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


def test_the_innermost_cause_speaks_and_the_url_of_the_wrappers_does_not() -> None:
    inner = ProtocolError("Connection aborted.", ConnectionRefusedError(111, "Connection refused"))
    error = requests.ConnectionError(MaxRetryError(None, "/image?signature=s3cret", inner))

    found = from_exception("https://example.org/image", error)

    assert type(found) is UnreachableError
    assert found.detail == "connection refused"
    assert "s3cret" not in str(found)


def test_a_name_that_does_not_resolve_is_said() -> None:
    found = from_exception("https://example.org/", requests.ConnectionError(socket.gaierror(-2, "Name unknown")))

    assert "does not resolve: Name unknown" in found.detail


def test_a_timeout_is_slowness() -> None:
    assert type(from_exception("x", requests.ReadTimeout(TimeoutError("timed out")))) is TooSlowError


def test_a_tls_failure_names_its_reason() -> None:
    error = ssl.SSLError(1, "text")
    error.reason = "WRONG_VERSION_NUMBER"

    assert from_exception("x", error).detail == "TLS failed: wrong version number"


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (401, "token"),
        (403, "token"),
        (404, "moved"),
        (410, "moved"),
        (407, "proxy"),
        (503, "busy"),
        (500, "broken"),
        (418, "URL"),
    ],
)
def test_a_status_comes_with_what_to_do(status: int, word: str) -> None:
    error = from_status("x", status, {})

    assert error.status == status
    assert word in error.hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "Sun, 22 Nov 2026 10:02:00 GMT", "Date": DATE}, 120.0),
        ({"Retry-After": "Sun, 22 Nov 2026 09:00:00 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "Sun, 22 Nov 2026 10:02:00 GMT"}, None),
        ({"Retry-After": "soon", "Date": DATE}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "9" * 5000}, 999_999_999.0),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_an_http_date_is_aware() -> None:
    found = http_date(DATE)

    assert found is not None
    assert found.isoformat() == "2026-11-22T10:00:00+00:00"


@pytest.mark.parametrize("text", ["", "yesterday", "Sun, 22 Nov 2026 10:00:00 -0000", "Sun, 99 Nov 2026 10:00:00 GMT"])
def test_an_unreadable_or_naive_date_is_none(text: str) -> None:
    assert http_date(text) is None
