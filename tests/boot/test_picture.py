"""The picture of a screen: read strictly, written anew."""

from __future__ import annotations

import struct
import zlib
from hashlib import shake_128
from itertools import chain

import pytest

from imagesync.boot.picture import Picture, png, read_ppm

WHITE, BLACK = b"\xff\xff\xff", b"\0\0\0"


def test_a_ppm_file_becomes_a_png_file_with_the_same_points() -> None:
    points = bytes(range(18))
    picture = read_ppm(b"P6\n3 2\n255\n" + points)
    assert picture == Picture(3, 2, points)

    assert content(png(picture)) == (3, 2, b"\0" + points[:9] + b"\0" + points[9:])


def content(file: bytes) -> tuple[int, int, bytes]:
    """Return width, height and rows of a PNG file, each row with its filter in front."""
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    start = file.index(b"IDAT")
    size = struct.unpack(">I", file[start - 4 : start])[0]
    return *struct.unpack(">II", file[16:24]), zlib.decompress(file[start + 4 : start + 4 + size])


def test_a_picture_is_made_smaller_until_its_file_fits() -> None:
    numbered = Picture(5, 3, bytes(number for point in range(15) for number in (point, 50 + point, 100 + point)))
    noise = Picture(301, 201, shake_128(b"").digest(301 * 201 * 3))

    half = [(0, 50, 100), (2, 52, 102), (4, 54, 104), (10, 60, 110), (12, 62, 112), (14, 64, 114)]
    rows = b"\0" + bytes(chain(*half[:3])) + b"\0" + bytes(chain(*half[3:]))
    assert content(png(numbered, len(png(numbered)) - 1)) == (3, 2, rows)
    assert content(png(noise, len(png(noise))))[:2] == (301, 201)
    assert [content(png(noise, most))[:2] for most in (100_000, 20_000, 1)] == [(151, 101), (76, 51), (1, 1)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"P6\n3 2\n255\n" + bytes(17),
        b"P6\n0 0\n255\n",
        b"P6\n99999 99999\n255\n",
        b"P6\n4097 2304\n255\n" + bytes(4097 * 2304 * 3),
        b"P6\n3 2\n65535\n" + bytes(36),
        b"P3\n1 1\n255\n0 0 0\n",
    ],
    ids=["empty", "gif", "short", "no points", "huge", "large", "16 bits", "as text"],
)
def test_what_is_no_whole_picture_is_none(data: bytes) -> None:
    assert read_ppm(data) is None


def test_ink_is_the_share_that_is_drawn() -> None:
    assert Picture(100, 10, BLACK * 1000).ink == 0
    assert Picture(100, 10, (WHITE + BLACK * 3) * 250).ink == pytest.approx(0.25)
