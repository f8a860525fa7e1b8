import pytest

from imagesync.errors import ForbiddenAddressError
from imagesync.http import Origin, origin_of, redact, split


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/image.list", "https://example.org/a/image.list"),
        ("https://user:secret@example.org:8443/a", "https://example.org:8443/a"),
        ("https://secret@example.org/a", "https://example.org/a"),
        ("https://a:secret@b:secret@example.org/", "https://example.org/"),
        ("https://example.org/a?X-Amz-Signature=secret#secret", "https://example.org/a?…"),
        ("https:user:secret@example.org/a", "https:example.org/a"),
        ("https:/user:secret@example.org/a", "https:example.org/a"),
        ("https:\\\\user:secret@example.org", "https:example.org"),
        ("https://user:sec/ret@example.org/", "(unreadable URL)"),
        ("https://[secret", "(unreadable URL)"),
        ("https://example.org/\x1b[31m", "https://example.org/%1B[31m"),
        ("https://example.org/ä", "https://example.org/%E4"),
        ("file:///home/a@b/list", "file:///home/a@b/list"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_a_long_url_is_cut() -> None:
    assert len(redact("https://example.org/" + "a" * 1000)) == 300


@pytest.mark.parametrize("url", ["https://user:secret@example.org/", "https://secret@example.org/", "http://@h/"])
def test_userinfo_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ForbiddenAddressError) as caught:
        split(url)

    assert "secret" not in str(caught.value)
    assert "token" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://good.example\\@evil.example/",
        "https://example.org/\r\nHost: x",
        "https://exa\tmple.org/",
        "http://h:99999/",
    ],
)
def test_a_url_that_two_programs_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        split(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Example.ORG/x", Origin("https", "example.org", 443)),
        ("http://example.org", Origin("http", "example.org", 80)),
        ("HTTPS://example.org:444/", Origin("https", "example.org", 444)),
        ("https://[2001:db8::1]:8443/", Origin("https", "2001:db8::1", 8443)),
        ("https://bücher.example/", Origin("https", "xn--bcher-kva.example", 443)),
        ("http://h:0/", Origin("http", "h", 0)),
    ],
)
def test_an_origin_has_the_host_as_it_is_looked_up_and_a_port(url: str, origin: Origin) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "/a/path", "", "http:///x", "http://①②⑦.0.0.1/"])
def test_what_has_no_http_origin_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        origin_of(url)
