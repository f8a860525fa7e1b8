"""JSON as a signed document: one reading only. Pure.

RFC 8259 leaves open what duplicate keys, lone surrogates or huge numbers mean; two programs that read the same signed
bytes could see two lists. Such documents are refused, with the path of the place.

The work is done by the C scanner of ``json``; its hooks cost about 20 % of the plain parse of a large list. They only
mark what is wrong; the path is looked for when there is a mark.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from imagesync.errors import ListFormatError

MAX_DEPTH = 16
MAX_DIGITS = 20
MAX_VALUES = 400_000
"""A list of 10,000 images with all keys of AppDB's has some 300,000."""
MAX_KEYS = 1000
"""Of one object."""
MAX_TEXT_BYTES = 32 << 20
"""Of memory: one character beyond U+00FF makes each take two bytes, one beyond U+FFFF four."""

Json = Any
"""A value out of ``json.loads``."""

_SUBJECT = "list"
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_CONTAINERS = (dict, list)


class _Fault(str):
    """Stands in the parsed document for something that is refused; its text says why."""

    __slots__ = ()


class _Reading:
    """The hooks of one parse; ``faults`` counts the marks that they left."""

    def __init__(self) -> None:
        self.faults = 0

    def fault(self, why: str) -> _Fault:
        self.faults += 1
        return _Fault(why)

    def object(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        if len(pairs) > MAX_KEYS:
            raise _bad(f"an object in it has more than {MAX_KEYS} keys")
        value = dict(pairs)
        if len(value) != len(pairs):
            keys = Counter(key for key, _ in pairs)
            value[keys.most_common(1)[0][0]] = self.fault("occurs twice")
        return value

    def integer(self, digits: str) -> Json:
        return int(digits) if len(digits) <= MAX_DIGITS else self.fault(f"is a number of over {MAX_DIGITS} digits")

    def fraction(self, digits: str) -> Json:
        value = float(digits)
        return value if math.isfinite(value) else self.fault("is too large a number")

    def constant(self, name: str) -> Json:
        return self.fault(f"is {name}, which is no JSON")


def loads(data: bytes) -> Json:
    """Return the value of a strict JSON document.

    Raises:
        ListFormatError: It is not UTF-8 without a byte order mark, not JSON, or has duplicate keys, NaN or Infinity,
            numbers of more than 20 digits, lone surrogates or NUL in strings, more than 16 levels, more than 400,000
            values, more than 1,000 keys in an object, or a text that takes more than 32 MiB of memory.
    """
    text = _decode(data)
    reading = _Reading()
    try:
        document = json.loads(
            text,
            object_pairs_hook=reading.object,
            parse_int=reading.integer,
            parse_float=reading.fraction,
            parse_constant=reading.constant,
        )
    except json.JSONDecodeError as error:
        raise _bad(f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise _bad(f"it has more than {MAX_DEPTH} levels") from error
    _check_depth(document)
    if reading.faults or _SUSPECT.search(text):
        for path, why in _faults(document, ""):
            raise _bad(f"{path or 'the document'} {why}")
    return document


def _bad(detail: str, hint: str = "") -> ListFormatError:
    return ListFormatError(_SUBJECT, detail, hint)


def _decode(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe")):
        raise _bad("it begins with a byte order mark")
    # Separators bound the values from above, before anything is built from them.
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise _bad(f"it has more than {MAX_VALUES} values")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(f"it is not UTF-8 (byte {error.start})") from error
    if sys.getsizeof(text) > MAX_TEXT_BYTES:
        detail = f"its text takes more than {MAX_TEXT_BYTES} bytes of memory"
        raise _bad(detail, "write characters beyond U+00FF, such as curly quotes and emoji, as \\u escapes")
    return text


def _check_depth(document: Json) -> None:
    level = [document] if type(document) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        level = [
            value
            for container in level
            for value in (container.values() if type(container) is dict else container)
            if type(value) in _CONTAINERS
        ]
    if level:
        raise _bad(f"it has more than {MAX_DEPTH} levels")


def _faults(value: Json, path: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each refused value in a document, and why; the depth is bounded already."""
    match value:
        case _Fault():
            yield path, str(value)
        case str() if _UNUSABLE.search(value):
            yield path, "has a character that is none (a lone surrogate or NUL)"
        case dict():
            for key, inner in value.items():
                if _UNUSABLE.search(key):
                    yield path, "has a key with a character that is none (a lone surrogate or NUL)"
                yield from _faults(inner, f"{path}.{key}" if path else key)
        case list():
            for number, inner in enumerate(value):
                yield from _faults(inner, f"{path}[{number}]")
