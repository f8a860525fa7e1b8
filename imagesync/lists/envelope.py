r"""The S/MIME envelope, read byte by byte: which bytes were signed, which of them are the list, what signs them. Pure.

RFC 8551 section 3.5 and RFC 1847, cut down to the one form that publishers use: detached ``multipart/signed`` with
exactly two parts. The bytes that are hashed (canonical, every line end CRLF) are the bytes that are parsed. No general
MIME parser is involved anywhere: two parsers that disagree are the way to get unsigned content accepted. Whatever
could be read in two ways is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from imagesync.errors import BadEnvelopeError

MAX_MESSAGE_BYTES = 20 * 1024 * 1024
MAX_LINES = 1_000_000
"""Each may grow by a byte when its end becomes CRLF; a list of 10,000 images has some 300,000."""
MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 64
MAX_SIGNATURE_BYTES = 1024 * 1024

_SUBJECT = "message"
_MOST_DELIMITERS = 16
_SIGNATURE_TYPES = ("application/pkcs7-signature", "application/x-pkcs7-signature")
_OPAQUE_TYPES = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_CONTENT_TYPES = ("text/plain", "application/json")
_HOW_TO_SIGN = "sign it detached: 'imagesync list sign', or 'openssl smime -sign -md sha256' without -nodetach"

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_HEADER = re.compile(r"([!-9;-~]+):[ \t]*(.*)", re.DOTALL)
_FOLD = re.compile(r"\n[ \t]+")
_PARAMETER = re.compile(r';[ \t]*([A-Za-z0-9!#$&+.^_`|~-]+)[ \t]*=[ \t]*(?:"([^"\\\n]*)"|([^\s;",()]+))[ \t]*')
_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]")
_MIME_HEADER = re.compile(rb"(?:content-[a-z-]+|mime-version):", re.IGNORECASE)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]")

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The parts of a signed message. ``content`` was hashed, ``json`` lies within it, ``signature`` is CMS in DER."""

    content: bytes
    json: bytes
    signature: bytes


def split(blob: bytes) -> Envelope:
    """Return the signed bytes and the signature of a detached S/MIME message.

    Raises:
        BadEnvelopeError: It is none, or one that could be read in more than one way. What servers send instead of a
            list (a web page, AppDB's answer for a list that does not exist, bare JSON) is named.
    """
    if len(blob) > MAX_MESSAGE_BYTES:
        raise _bad(f"larger than {MAX_MESSAGE_BYTES} bytes")
    if blob.count(b"\n") > MAX_LINES:
        raise _bad(f"it has more than {MAX_LINES} lines")
    _refuse_known_others(blob)
    headers, body = _headers(blob, "the message")
    boundary = _multipart_boundary(headers)
    first, second = _two_parts(body, boundary)
    content = _canonical(first)
    return Envelope(content, _list_within(content), _signature(second))


def _bad(detail: str, hint: str = "") -> BadEnvelopeError:
    return BadEnvelopeError(_SUBJECT, detail, hint)


# --- what is no signed message at all --------------------------------------------------------------------------------
def _refuse_known_others(blob: bytes) -> None:
    start = blob[:4096].lstrip()
    if not start:
        raise _bad("it is empty", "the server or the disk may have truncated it")
    if start.startswith(b"<"):
        raise _bad("a web page, not a signed list", "check the URL, and whether the server asks for a login")
    if start.startswith((b"{", b"[")):
        raise _unsigned_json(blob)
    if start.startswith((b"0\x80", b"0\x81", b"0\x82", b"0\x83", b"-----BEGIN ")):
        raise _bad("a bare PKCS#7 structure, not an S/MIME message", _HOW_TO_SIGN)


def _unsigned_json(blob: bytes) -> BadEnvelopeError:
    # AppDB answers 200 with such a body for a list that does not exist; it is unsigned, so it says nothing for sure.
    if re.match(rb'\s*\{\s*"egiappdb"\s*:', blob):
        return _bad("no such list: AppDB answered with a message of its own instead", _appdb_text(blob))
    return _bad("unsigned JSON, not a signed list", "a list must be signed: 'imagesync list sign'")


def _appdb_text(blob: bytes) -> str:
    try:
        text = json.dumps(json.loads(blob[:2048])["egiappdb"])
    except (ValueError, RecursionError):
        text = ""
    return f"check the URL; AppDB says {text[:200]}" if text else "check the URL"


# --- headers ---------------------------------------------------------------------------------------------------------
def _headers(data: bytes, where: str) -> tuple[Headers, bytes]:
    """Return the header fields, by lower-case name, and what follows the first blank line."""
    end = _HEADER_END.search(data[:MAX_HEADER_BYTES])
    if end is None:
        raise _bad(f"{where} has no header block that ends within {MAX_HEADER_BYTES} bytes: not S/MIME, or truncated")
    fields: dict[str, str] = {}
    for line in _unfold(data[: end.start()], where):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise _bad(f"{where} has a line that is no header: {line[:60]!r}", "this is no S/MIME message")
        name = match[1].lower()
        if name in fields and name.startswith(("content-", "mime-")):
            raise _bad(f"{where} has two {match[1]} headers")
        fields[name] = match[2].strip()
    if len(fields) > MAX_HEADERS:
        raise _bad(f"{where} has more than {MAX_HEADERS} headers")
    return fields, data[end.end() :]


def _unfold(block: bytes, where: str) -> list[str]:
    try:
        text = block.decode("ascii").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise _bad(f"{where} has headers that are not ASCII", "this is no S/MIME message") from error
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
        raise _bad(f"{where} has control characters in its headers")
    return _FOLD.sub(" ", text).split("\n")


def _media_type(headers: Headers, where: str) -> tuple[str, Headers]:
    """Return the media type in lower case and its parameters by lower-case name."""
    value = headers.get("content-type")
    if value is None:
        raise _bad(f"{where} has no Content-Type header", "this is no S/MIME message")
    kind, semicolon, rest = value.partition(";")
    parameters: dict[str, str] = {}
    position, rest = 0, (semicolon + rest).rstrip("; \t")
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            raise _bad(f"{where} has a Content-Type that cannot be read for sure: {value[:80]!r}")
        name = match[1].lower()
        if name in parameters:
            raise _bad(f"{where} has the Content-Type parameter {name} twice")
        parameters[name] = match[2] if match[2] is not None else match[3]
        position = match.end()
    return kind.strip().lower(), parameters


def _transfer_encoding(headers: Headers, where: str, allowed: tuple[str, ...]) -> None:
    encoding = headers.get("content-transfer-encoding", "7bit").lower()
    if encoding not in allowed:
        raise _bad(f"{where} has the transfer encoding {encoding!r}; allowed: {', '.join(allowed)}")


def _multipart_boundary(headers: Headers) -> bytes:
    kind, parameters = _media_type(headers, "the message")
    if kind in _OPAQUE_TYPES:
        raise _bad("an opaque S/MIME message (the list is inside the signature)", _HOW_TO_SIGN)
    if kind == "text/html":
        raise _bad("a web page, not a signed list", "check the URL, and whether the server asks for a login")
    if kind != "multipart/signed":
        raise _bad(f"the message is {kind!r}, not multipart/signed", _HOW_TO_SIGN)
    if parameters.get("protocol", "").lower() not in _SIGNATURE_TYPES:
        raise _bad("its protocol parameter is not application/pkcs7-signature", _HOW_TO_SIGN)
    _transfer_encoding(headers, "the message", ("7bit", "8bit", "binary"))
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _bad("its boundary parameter is missing or not of the form that MIME allows")
    return boundary.encode("ascii")


# --- parts -----------------------------------------------------------------------------------------------------------
def _two_parts(body: bytes, boundary: bytes) -> tuple[bytes, bytes]:
    """Return the two parts between the delimiter lines; what stands before and after them does not count."""
    marks = list(islice(_delimiters(body, b"--" + boundary), _MOST_DELIMITERS))
    if [tail for _, _, tail in marks] != [b"", b"", b"--"]:
        raise _bad(_what_is_wrong([tail for _, _, tail in marks]))
    (first, start, _), (middle, again, _), (end, _, _) = marks
    _refuse_hidden_lines(body[:first], body[middle:])
    return _without_line_end(body[start:middle]), _without_line_end(body[again:end])


def _refuse_hidden_lines(*frames: bytes) -> None:
    """Refuse line ends that only some programs see: behind them a delimiter could stand that this module overlooks."""
    for frame in frames:
        if b"\x00" in frame:
            raise _bad("it contains a NUL byte outside the signed part")
        if frame.count(b"\r") != frame.count(b"\r\n"):
            raise _bad("it contains, outside the signed part, a carriage return that ends no line")


def _delimiters(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield start, start of the next line, and what follows the delimiter, of each line that begins with it."""
    at = body.find(delimiter)
    while at != -1:
        end = body.find(b"\n", at)
        end = len(body) if end == -1 else end + 1
        if at == 0 or body[at - 1 : at] == b"\n":
            yield at, end, body[at + len(delimiter) : end].rstrip(b"\r\n").rstrip(b" \t")
        at = body.find(delimiter, end)


def _what_is_wrong(tails: list[bytes]) -> str:
    if any(tail not in {b"", b"--"} for tail in tails):
        return "a line in it begins like a part delimiter and is none: it can be read in two ways"
    if tails.count(b"") > 2:
        return "it has more than two parts"
    if b"--" not in tails:
        return "it is truncated: the closing delimiter is missing"
    return "it has not exactly two parts and one closing delimiter"


def _without_line_end(part: bytes) -> bytes:
    """Drop the line end that belongs to the delimiter after the part (RFC 2046 section 5.1.1)."""
    return part.removesuffix(b"\n").removesuffix(b"\r")


def _canonical(part: bytes) -> bytes:
    """Return the part with every line end as CRLF: the form that is signed (RFC 8551 section 3.1.1)."""
    if b"\x00" in part:
        raise _bad("the signed part contains a NUL byte")
    lines = part.replace(b"\r\n", b"\n")
    if b"\r" in lines:
        raise _bad("the signed part contains a carriage return that ends no line")
    return lines.replace(b"\n", b"\r\n")


def _list_within(content: bytes) -> bytes:
    """Return the JSON in the signed bytes: all of them, or what follows a MIME header block (``smime -sign -text``)."""
    if not _MIME_HEADER.match(content):
        return content
    headers, rest = _headers(content, "the signed part")
    foreign = [name for name in headers if not name.startswith(("content-", "mime-version"))]
    if foreign:
        raise _bad(f"the signed part has the header {foreign[0]!r}, which does not belong there")
    kind, parameters = _media_type(headers, "the signed part")
    if kind not in _CONTENT_TYPES:
        raise _bad(f"the signed part is {kind!r}, not text/plain or application/json")
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "us-ascii"}:
        raise _bad(f"the signed part has the character set {parameters['charset']!r}, not UTF-8")
    _transfer_encoding(headers, "the signed part", ("7bit", "8bit", "binary"))
    return rest


def _signature(part: bytes) -> bytes:
    headers, body = _headers(part, "the signature part")
    kind, _ = _media_type(headers, "the signature part")
    if kind not in _SIGNATURE_TYPES:
        raise _bad(f"the second part is {kind!r}, not application/pkcs7-signature")
    _transfer_encoding(headers, "the signature part", ("base64",))
    if len(body) > 2 * MAX_SIGNATURE_BYTES:
        raise _bad(f"the signature is larger than {MAX_SIGNATURE_BYTES} bytes")
    # Gateways of mail add blanks to ends of lines; RFC 2045 section 6.8 has decoders ignore them.
    text = b"".join(line.rstrip(b" \t\r") for line in body.split(b"\n"))
    if _NOT_BASE64.search(text):
        raise _bad("the signature part contains characters that are not base64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _bad(f"the signature part is not base64: {error}", "it may be truncated") from error
