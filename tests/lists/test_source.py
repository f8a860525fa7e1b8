import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagesync.errors import (
    ForbiddenAddressError,
    HttpStatusError,
    SourceError,
    TooLargeError,
    TooSlowError,
    UnreachableError,
)
from imagesync.http import HttpPolicy
from imagesync.lists.source import Fetched, ListRequest, NotModified, fetch
from imagesync.testing import hazards
from imagesync.testing.hazards import HazardServer

LIST = b"MIME-Version: 1.0\n...\n"
POLICY = HttpPolicy()
DATE = "Sun, 22 Nov 2026 10:00:00 GMT"
MOMENT = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[HazardServer]:
    with HazardServer() as server:
        yield server


def test_a_list_comes_with_its_validators_and_the_servers_time(server: HazardServer) -> None:
    headers = {"ETag": '"v1"', "Last-Modified": "Sat, 21 Nov 2026 00:00:00 GMT", "Date": DATE}
    url = server.at("/list", hazards.answer(LIST, headers=headers))

    assert fetch(ListRequest(url, POLICY)) == Fetched(LIST, url, '"v1"', headers["Last-Modified"], MOMENT)


def test_a_list_without_validators_and_time_is_fine(server: HazardServer) -> None:
    url = server.at("/list", hazards.answer(LIST))

    assert fetch(ListRequest(url, POLICY)) == Fetched(LIST, url)


def test_validators_make_the_request_conditional(server: HazardServer) -> None:
    url = server.at("/list", hazards.status(304, headers={"Date": DATE}))

    found = fetch(ListRequest(url, POLICY, etag='"v1"', last_modified="Sat, 21 Nov 2026 00:00:00 GMT"))

    assert found == NotModified(MOMENT)
    assert server.requests[0].headers["if-none-match"] == '"v1"'
    assert server.requests[0].headers["if-modified-since"] == "Sat, 21 Nov 2026 00:00:00 GMT"


def test_without_validators_the_request_is_not_conditional(server: HazardServer) -> None:
    fetch(ListRequest(server.at("/list", hazards.answer(LIST)), POLICY))

    assert not {"if-none-match", "if-modified-since"} & server.requests[0].headers.keys()


def test_a_changed_list_is_fetched_although_validators_were_sent(server: HazardServer) -> None:
    found = fetch(ListRequest(server.at("/list", hazards.answer(LIST)), POLICY, etag='"v0"'))

    assert isinstance(found, Fetched)
    assert found.blob == LIST


def test_a_web_page_is_fetched_like_anything_else(server: HazardServer) -> None:
    found = fetch(ListRequest(server.at("/list", hazards.html()), POLICY))

    assert isinstance(found, Fetched)
    assert found.blob.startswith(b"<!DOCTYPE")


FAULTS = {
    "404": (hazards.status(404), HttpStatusError),
    "503": (hazards.status(503, retry_after="5"), HttpStatusError),
    "endless": (hazards.endless(), TooLargeError),
    "too long": (hazards.answer(b"x" * 100_001), TooLargeError),
    "slow": (hazards.drip_body(), TooSlowError),
    "stall": (hazards.stall(b"M", 100), TooSlowError),
    "slow headers": (hazards.drip_headers(), TooSlowError),
    "truncated": (hazards.truncated(LIST, 1000), UnreachableError),
    "reset": (hazards.reset(LIST, 1000), UnreachableError),
    "gzip": (hazards.encoded(LIST), UnreachableError),
    "loop": (hazards.redirect("/list"), ForbiddenAddressError),
    "to a file": (hazards.redirect("file:///etc/passwd"), ForbiddenAddressError),
    "to metadata": (hazards.redirect("http://169.254.169.254/latest/meta-data"), ForbiddenAddressError),
}


@pytest.mark.parametrize(("behaviour", "error"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_the_server_is_a_source_error(
    server: HazardServer, behaviour: hazards.Behaviour, error: type[SourceError]
) -> None:
    hurried = replace(POLICY, header_timeout=0.5, stall_timeout=0.5, rate_window=0.3)

    with pytest.raises(SourceError) as caught:
        fetch(ListRequest(server.at("/list", behaviour), hurried, max_bytes=100_000))

    assert type(caught.value) is error
    assert caught.value.hint


def test_a_redirect_to_another_private_host_is_refused(server: HazardServer) -> None:
    with HazardServer() as inside:
        server.at("/list", hazards.redirect(inside.at("/admin", hazards.answer(LIST))))

        with pytest.raises(ForbiddenAddressError):
            fetch(ListRequest(server.url("/list", "localhost"), POLICY))

        assert inside.connections == 0


def test_the_spelling_of_the_named_host_does_not_matter(server: HazardServer) -> None:
    server.at("/list", hazards.answer(LIST))

    assert isinstance(fetch(ListRequest(server.url("/list", "LocalHost"), POLICY)), Fetched)


def test_userinfo_in_the_url_is_refused_and_not_repeated(server: HazardServer) -> None:
    url = server.at("/list", hazards.answer(LIST)).replace("//", "//user:s3cret@")

    with pytest.raises(ForbiddenAddressError) as caught:
        fetch(ListRequest(url, POLICY))

    assert "s3cret" not in str(caught.value)


def test_the_url_is_kept_without_its_query(server: HazardServer) -> None:
    server.at("/list", hazards.answer(LIST))

    found = fetch(ListRequest(server.url("/list?signature=s3cret"), POLICY))

    assert isinstance(found, Fetched)
    assert found.url == server.url("/list?…")


@pytest.mark.parametrize("url", ["ftp://example.org/list", "/etc/list", "", "gopher:x"])
def test_what_is_neither_http_nor_file_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        fetch(ListRequest(url, POLICY))


# --- files -----------------------------------------------------------------------------------------------------------
def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "image list"
    file.write_bytes(LIST)

    assert fetch(ListRequest(file.as_uri(), POLICY)) == Fetched(LIST, file.as_uri())


def test_a_file_on_localhost_is_read(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_bytes(LIST)

    found = fetch(ListRequest(f"file://localhost{file}", POLICY))

    assert isinstance(found, Fetched)
    assert found.blob == LIST


def test_a_file_of_exactly_the_bound_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_bytes(LIST)

    assert isinstance(fetch(ListRequest(file.as_uri(), POLICY, max_bytes=len(LIST))), Fetched)
    with pytest.raises(TooLargeError):
        fetch(ListRequest(file.as_uri(), POLICY, max_bytes=len(LIST) - 1))


def test_a_file_that_is_missing_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no such file"):
        fetch(ListRequest((tmp_path / "missing").as_uri(), POLICY))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_a_device_or_directory_is_refused(path: str) -> None:
    with pytest.raises(UnreachableError, match=r"directory|regular file"):
        fetch(ListRequest(f"file://{path}", POLICY))


def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UnreachableError, match="regular file"):
        fetch(ListRequest((tmp_path / "pipe").as_uri(), POLICY))


@pytest.mark.parametrize("url", ["file://example.org/etc/list", "file:list", "file:///etc/list%00", "file://"])
def test_what_names_no_local_file_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        fetch(ListRequest(url, POLICY))
