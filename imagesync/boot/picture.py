"""A picture of the screen, read from what QEMU wrote and written anew. Pure.

A process that runs an untrusted guest wrote the file: it goes to nobody's browser as it is.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

_HEADER = re.compile(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s")
MOST_POINTS = 4096 * 2304


@dataclass(frozen=True, slots=True)
class Picture:
    """Points from the top left, three bytes each: red, green, blue."""

    width: int
    height: int
    points: bytes

    @property
    def ink(self) -> float:
        """Return the share of points that have not the commonest colour, of some forty thousand."""
        step = 3 * (self.width * self.height // 40_000 | 1)
        some = [self.points[at : at + 3] for at in range(0, len(self.points), step)]
        counts: dict[bytes, int] = {}
        for point in some:
            counts[point] = counts.get(point, 0) + 1
        return 1 - max(counts.values()) / len(some)


def read_ppm(data: bytes) -> Picture | None:
    """Return the picture in a PPM file, or nothing if it is none, incomplete, or too large."""
    header = _HEADER.match(data)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    points = data[header.end() : header.end() + width * height * 3]
    if not 0 < width * height <= MOST_POINTS or len(points) < width * height * 3:
        return None
    return Picture(width, height, points)


def png(picture: Picture, most: int | None = None) -> bytes:
    """Return a PNG file (ISO/IEC 15948), smaller by halves until it has at most ``most`` bytes."""
    file = _png(picture)
    while most is not None and len(file) > most and picture.width * picture.height > 1:
        picture = _halved(picture)
        file = _png(picture)
    return file


def _halved(picture: Picture) -> Picture:
    """Return every second point of every second row."""
    width, step = -(-picture.width // 2), picture.width * 3
    rows = []
    for at in range(0, len(picture.points), 2 * step):
        row = bytearray(width * 3)
        for colour in range(3):
            row[colour::3] = picture.points[at + colour : at + step : 6]
        rows.append(bytes(row))
    return Picture(width, len(rows), b"".join(rows))


def _png(picture: Picture) -> bytes:
    step = picture.width * 3
    rows = b"".join(b"\0" + picture.points[at : at + step] for at in range(0, len(picture.points), step))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
