from pathlib import Path

import pytest

from imagesync.errors import BadEnvelopeError
from imagesync.lists.envelope import MAX_LINES, MAX_MESSAGE_BYTES, split

FRAME = b"""Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=b

--b
{}
--b
Content-Type: application/pkcs7-signature
Content-Transfer-Encoding: base64

%s
--b--
"""
SIGNED = FRAME % b"MAA="


def test_the_parts_are_the_bytes_between_the_delimiters() -> None:
    parts = split(SIGNED)

    assert (parts.content, parts.json, parts.signature) == (b"{}", b"{}", b"0\x00")


def test_the_line_end_before_a_delimiter_is_the_delimiters() -> None:
    assert split(SIGNED.replace(b"{}", b"{}\n\n")).content == b"{}\r\n\r\n"


def test_line_ends_become_crlf_whatever_they_were() -> None:
    assert split(SIGNED.replace(b"{}", b"{\n}\r\n")).content == b"{\r\n}\r\n"


@pytest.mark.parametrize("old", [b"boundary=b", b"protocol="])
def test_white_space_and_case_of_headers_do_not_matter(old: bytes) -> None:
    odd = SIGNED.replace(old, b"\r\n\t" + old.upper()).replace(b"BOUNDARY=B", b"BOUNDARY=b")

    assert split(odd).content == b"{}"


def test_delimiters_may_be_followed_by_white_space() -> None:
    assert split(SIGNED.replace(b"--b\n", b"--b \t\r\n")).content == b"{}"


def test_a_boundary_inside_a_line_is_content() -> None:
    assert split(SIGNED.replace(b"{}", b'{"a": "--b"}')).content == b'{"a": "--b"}'


def test_the_end_of_the_file_may_end_the_last_delimiter() -> None:
    assert split(SIGNED.rstrip()).content == b"{}"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"Content-Type: multi", b"Content-Type : multi", "a line that is no header"),
        (b"boundary=b", b'boundary="b', "cannot be read for sure"),
        (b"boundary=b", b'boundary="b "', "its boundary parameter is missing or not of the form"),
        (b"boundary=b", b"boundary=b; protocol=x", "parameter protocol twice"),
        (b"{}", b"Content-Type: text/plain\n{}", "the signed part has no header block"),
        (b"{}", b"Content-Type: text/plain\nContent-type: text/plain\n\n{}", "two Content-type headers"),
        (b"{}", b"MIME-Version: 1.0\n\n{}", "the signed part has no Content-Type header"),
        (b"base64", b"base64\nContent-Type: text/plain", "the signature part has two Content-Type headers"),
        (b"MAA=", b"M A=", "characters that are not base64"),
        (b"MAA=", b"MA==A", "is not base64"),
        (b"MAA=", b"A" * 2_100_000, "the signature is larger than 1048576 bytes"),
        (
            b"Content-Type: m",
            b"".join(b"X-%d: 1\n" % n for n in range(70)) + b"Content-Type: m",
            "more than 64 headers",
        ),
        (b"--b--", b"--b--\n--b\n" * 20, "more than two parts"),
        (b"--b--", b"--b--\n--b--", "not exactly two parts and one closing delimiter"),
        (b"--b--", b"--b", "more than two parts"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(old: bytes, new: bytes, text: str) -> None:
    assert old in SIGNED
    with pytest.raises(BadEnvelopeError, match=text):
        split(SIGNED.replace(old, new, 1))


def test_a_message_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadEnvelopeError, match=f"larger than {MAX_MESSAGE_BYTES} bytes"):
        split(bytes(MAX_MESSAGE_BYTES + 1))


def test_more_lines_than_a_list_has_are_refused_before_they_are_read() -> None:
    room = MAX_LINES - SIGNED.count(b"\n")
    full = SIGNED.replace(b"{}", b"{}" + b"\n" * room)

    assert len(split(full).content) == 2 + 2 * room
    with pytest.raises(BadEnvelopeError, match=f"more than {MAX_LINES} lines"):
        split(full + b"\n")


@pytest.mark.parametrize("rest", [b'"no such vo"}', b'{"error": "x"', b"" + b"[" * 3000, b'"a\x1b[31m"}'])
def test_appdbs_answer_for_a_missing_list_is_named_whatever_it_says(rest: bytes) -> None:
    with pytest.raises(BadEnvelopeError, match="no such list") as refusal:
        split(b' {"egiappdb" : ' + rest)

    assert str(refusal.value).isprintable()


def test_the_splitter_reads_no_mime_with_pythons_email_package() -> None:
    import imagesync.lists

    for module in Path(imagesync.lists.__file__).parent.glob("*.py"):
        text = module.read_text()
        assert "import email" not in text
        assert "from email" not in text
