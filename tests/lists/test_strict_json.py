import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync.errors import ListFormatError
from imagesync.lists.strict_json import MAX_DEPTH, MAX_TEXT_BYTES, loads

WIDEST = (MAX_TEXT_BYTES - sys.getsizeof("\U0001f600")) // 4 + 1
"""Characters beyond U+FFFF, or beside one, that fit into 32 MiB with what Python adds to a text."""

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def _members(number: int) -> bytes:
    return json.dumps(dict.fromkeys(map(str, range(number)), 0)).encode()


def _wide(characters: int) -> bytes:
    return b'"' + b"x" * (characters - 3) + '\U0001f600"'.encode()


@given(values)
def test_reads_what_json_writes(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not JSON: Expecting value in line 1, column 1"),
        (b"{} x", "not JSON: Extra data"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe" + "{}".encode("utf-16-le"), "byte order mark"),
        (b"\xfe\xff" + "{}".encode("utf-16-be"), "byte order mark"),
        ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
        (b'"\xff"', r"not UTF-8 \(byte 1\)"),
        (b'"\xc0\xaf"', "not UTF-8"),
        (b'{"a": [{"b": 1, "c": 2, "b": 3}]}', r"a\[0\]\.b occurs twice"),
        (b'{"a": 1, "\\u0061": 1}', "a occurs twice"),
        (b"[NaN]", r"\[0\] is NaN"),
        (b"[1, -Infinity]", r"\[1\] is -Infinity"),
        (b"NaN", "the document is NaN"),
        (b"[1e999]", r"\[0\] is too large a number"),
        (b"[" + b"1" * 21 + b"]", r"\[0\] is a number of over 20 digits"),
        (b"[" + b"9" * 5000 + b"]", "over 20 digits"),
        (b'{"t": "\\ud800"}', "t has a character that is none"),
        (b'{"t": "\\udc00\\ud800"}', "t has a character that is none"),
        (b'{"t": {"\\ud800": 1}}', "t has a key with a character that is none"),
        (b'["\\u0000"]', r"\[0\] has a character that is none"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "more than 16 levels"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "more than 16 levels"),
        (b"[" * 200_000, "more than 16 levels"),
        (b"[" + b"0," * 400_000 + b"0]", "more than 400000 values"),
        (b"[" + b",".join([b"[]"] * 200_001) + b"]", "more than 400000 values"),
        (b"[" + b",".join([b"{}"] * 200_001) + b"]", "more than 400000 values"),
        (_members(1001), "an object in it has more than 1000 keys"),
        (b'{"a": 1, ' + _members(1001)[1:], "an object in it has more than 1000 keys"),
        (_wide(WIDEST + 1), r"takes more than 33554432 bytes of memory \(write .* as \\u escapes"),
    ],
)
def test_refuses_what_can_be_read_in_two_ways(data: bytes, text: str) -> None:
    with pytest.raises(ListFormatError, match=text):
        loads(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        (b"[0.0, -0.0, 1e3]", [0.0, 0.0, 1000.0]),
        (b"-12345678901234567890"[:20], -1234567890123456789),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
        (b"[" + b"0," * 399_999 + b"0]", [0] * 400_000),
        (_members(1000), dict.fromkeys(map(str, range(1000)), 0)),
        (_wide(WIDEST), "x" * (WIDEST - 3) + "\U0001f600"),
    ],
)
def test_accepts_what_only_looks_odd(data: bytes, value: Any) -> None:
    assert loads(data) == value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "a occurs twice"),
        (b'{"a": {"b": "\\u0000"}}', "a.b has a character that is none (a lone surrogate or NUL)"),
        (b"[[1e999]]", "[0][0] is too large a number"),
    ],
)
def test_the_place_is_named_exactly(data: bytes, text: str) -> None:
    with pytest.raises(ListFormatError) as error:
        loads(data)

    assert (str(error.value), error.value.hint) == (f"list: {text}", "")
