from pathlib import Path

import pytest

from imagesync.errors import BadEnvelopeError
from imagesync.lists import envelope
from imagesync.lists.envelope import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_LINES,
    MAX_MESSAGE_BYTES,
    MAX_SIGNATURE_BYTES,
    split,
)

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
        (b"{}", b"MIME-Version: 1\nMIME-Version: 1\nContent-Type: text/plain\n\n{}", "two MIME-Version headers"),
        (
            b"{}",
            b"Content-Type: text/plain\nContent-Transfer-Encoding: x\n\n{}",
            "the signed part has the transfer enc",
        ),
        (b"{}", b"Content-Type: text/plain\nX: 1\n\n{}", "the signed part has the header 'x', which does not belong"),
        (b"--b\nContent-Type", b"--b\nX", "the signature part has no Content-Type header"),
        (b"--b\nContent-Type", b"--b\n\n\nContent-Type", "the signature part has a line that is no header"),
        (b"Transfer-Encoding", b"X", "the signature part has the transfer encoding '7bit'"),
        (b"base64", b"base64\nContent-Type: text/plain", "the signature part has two Content-Type headers"),
        (b"MAA=", b"M A=", "characters that are not base64"),
        (b"MAA=", b" MAA=", "characters that are not base64"),
        (b"MAA=", b"MAA=\x0b", "characters that are not base64"),
        (b"MAA=", b"MA==A", "is not base64"),
        (b"MAA=", b"A" * 2_100_000, "the signature is larger than 1048576 bytes"),
        (
            b"Content-Type: m",
            b"".join(b"X-%d: 1\n" % n for n in range(70)) + b"Content-Type: m",
            "more than 64 headers",
        ),
        (b"{}", b"{\r}", "the signed part contains a carriage return that ends no line"),
        (b"{}", b"{\x00}", "the signed part contains a NUL byte"),
        (b"--b--", b"--b--\n--b\n" * 20, "more than two parts"),
        (b"--b--", b"--b--\n--b--", "not exactly two parts and one closing delimiter"),
        (b"--b--", b"--b", "more than two parts"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(old: bytes, new: bytes, text: str) -> None:
    assert old in SIGNED
    with pytest.raises(BadEnvelopeError, match=text):
        split(SIGNED.replace(old, new, 1))


def test_the_limits_are_those_that_the_documentation_gives() -> None:
    assert (envelope.MAX_MESSAGE_BYTES, envelope.MAX_LINES) == (20_971_520, 1_000_000)
    assert (envelope.MAX_HEADER_BYTES, envelope.MAX_HEADERS, envelope.MAX_SIGNATURE_BYTES) == (16_384, 64, 1_048_576)


def test_a_refusal_says_what_it_is_about_and_a_hint_only_where_there_is_one() -> None:
    with pytest.raises(BadEnvelopeError) as opaque:
        split(SIGNED.replace(b"multipart/signed", b"application/pkcs7-mime"))
    with pytest.raises(BadEnvelopeError) as cut:
        split(SIGNED.replace(b"--b--", b""))
    with pytest.raises(BadEnvelopeError) as bare:
        split(b"{}")

    assert (opaque.value.subject, opaque.value.hint[:43]) == ("message", "sign it detached: 'imagesync list sign', or")
    assert (cut.value.subject, cut.value.hint) == ("message", "")
    assert bare.value.hint == "a list must be signed: 'imagesync list sign'"


def test_a_message_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadEnvelopeError, match=f"larger than {MAX_MESSAGE_BYTES} bytes"):
        split(bytes(MAX_MESSAGE_BYTES + 1))


def test_a_message_at_the_limit_is_read() -> None:
    room = MAX_MESSAGE_BYTES - len(SIGNED)

    assert len(split(SIGNED.replace(b"{}", b"{}" + b" " * room)).content) == 2 + room


def test_headers_up_to_the_limit_are_read() -> None:
    more = b"".join(b"X-%d: 1\n" % number for number in range(MAX_HEADERS - 1))

    assert split(more + SIGNED).content == b"{}"
    with pytest.raises(BadEnvelopeError, match=f"the message has more than {MAX_HEADERS} headers"):
        split(b"X: 1\n" + more + SIGNED)


def test_a_header_block_up_to_the_limit_is_read() -> None:
    block = SIGNED.index(b"\n\n") + 2
    room = MAX_HEADER_BYTES - block - len(b"X: \n")

    assert split(b"X: " + b"x" * room + b"\n" + SIGNED).content == b"{}"
    with pytest.raises(BadEnvelopeError, match="the message has no header block that ends within"):
        split(b"X: x" + b"x" * room + b"\n" + SIGNED)


def test_a_signature_up_to_the_limit_is_read() -> None:
    full = b"A" * (2 * MAX_SIGNATURE_BYTES)

    assert split(FRAME % full).signature == bytes(len(full) * 3 // 4)
    with pytest.raises(BadEnvelopeError, match="the signature is larger than"):
        split(FRAME % (full + b"AAAA"))


@pytest.mark.parametrize(
    ("blob", "text"),
    [
        (b"", "it is empty"),
        (b" \r\n\t ", "it is empty"),
        (b" " * 4096 + b"<", "it is empty"),
        (b" " * 4095 + b"<", "a web page, not a signed list"),
        (b"\n<html>", "a web page, not a signed list"),
        (b"Content-Type: Text/HTML\n\n", "a web page, not a signed list"),
        (b" [1]", "unsigned JSON, not a signed list"),
        (b" {}", "unsigned JSON, not a signed list"),
        *(
            (start, "a bare PKCS#7 structure")
            for start in (b"0\x80", b"0\x81", b"0\x82", b"0\x83", b"-----BEGIN PKCS7-----")
        ),
        (b"Content-Type: application/pkcs7-mime\n\n", "an opaque S/MIME message"),
        (b"Content-Type: Application/X-PKCS7-MIME; x=y\n\n", "an opaque S/MIME message"),
    ],
)
def test_what_is_no_detached_message_is_named(blob: bytes, text: str) -> None:
    with pytest.raises(BadEnvelopeError, match=text):
        split(blob)


@pytest.mark.parametrize("charset", [b"utf-8", b"UTF-8", b"us-ascii", b'"US-ASCII"'])
def test_a_signed_header_block_is_not_the_list(charset: bytes) -> None:
    front = b"Content-Type: text/plain; charset=" + charset + b";\nContent-Transfer-Encoding: 8BIT\n\n"

    parts = split(SIGNED.replace(b"{}", front + b"{}"))

    assert (parts.content, parts.json) == (front.replace(b"\n", b"\r\n") + b"{}", b"{}")


def test_a_signed_header_block_may_call_the_list_json() -> None:
    assert split(SIGNED.replace(b"{}", b"Content-Type: application/json\n\n{}")).json == b"{}"


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


def test_appdbs_own_words_are_repeated_in_part() -> None:
    def said(body: bytes) -> str:
        with pytest.raises(BadEnvelopeError) as refusal:
            split(body)
        return refusal.value.hint

    front = b'{"egiappdb": "no such list'
    longest = front + b" " * (2048 - len(front) - 2) + b'"}'

    assert said(front + b'"}') == 'check the URL; AppDB says "no such list"'
    assert said(longest).startswith('check the URL; AppDB says "no such list ')
    assert said(longest.replace(b'"}', b' "}')) == said(front) == "check the URL"


def test_the_splitter_reads_no_mime_with_pythons_email_package() -> None:
    import imagesync.lists

    for module in Path(imagesync.lists.__file__).parent.glob("*.py"):
        text = module.read_text()
        assert "import email" not in text
        assert "from email" not in text
