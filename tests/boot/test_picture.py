"""The picture of a screen: read strictly, written anew."""

from __future__ import annotations

import struct
import zlib

import pytest

from imagesync.boot.picture import Picture, png, read_ppm

WHITE, BLACK = b"\xff\xff\xff", b"\0\0\0"


def test_a_ppm_file_becomes_a_png_file_with_the_same_points() -> None:
    points = bytes(range(18))
    picture = read_ppm(b"P6\n3 2\n255\n" + points)
    assert picture == Picture(3, 2, points)

    data = png(picture)

    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    size = struct.unpack(">I", data[start - 4 : start])[0]
    rows = zlib.decompress(data[start + 4 : start + 4 + size])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (width, height, rows) == (3, 2, b"\0" + points[:9] + b"\0" + points[9:])


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
