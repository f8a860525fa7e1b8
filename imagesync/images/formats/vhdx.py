"""Hyper-V disk images (Microsoft, [MS-VHDX])."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeVar
from uuid import UUID

from imagesync.images.faults import Fault
from imagesync.images.file import Header, ImageFile, check

MAGIC = b"vhdxfile"

_HEADERS = (64 << 10, 128 << 10)
_REGION_TABLE = 192 << 10
_METADATA_REGION = UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
_BAT_REGION = UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
_FILE_PARAMETERS = UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
_VIRTUAL_DISK_SIZE = UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
_PARENT_LOCATOR = UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
_HAS_PARENT = 2
_MAX_ENTRIES = 2047

_Value = TypeVar("_Value")


def read(file: ImageFile) -> Header:
    """Return what the metadata say.

    Raises:
        HostileImageError: a difference to a parent, damaged, or a table that is not inside the file.
        UnsupportedFormatError: the log has to be replayed first.
    """
    _log(file)
    regions = _unique(file, _regions(file))
    check(file, ((regions.keys() != {_METADATA_REGION, _BAT_REGION}, Fault.DAMAGED, "regions missing or unknown"),))
    metadata, _length = regions[_METADATA_REGION]
    items = _unique(file, _items(file, metadata))
    check(
        file,
        (
            (_PARENT_LOCATOR in items, Fault.DIFFERENCING, "it has a parent locator"),
            (not {_FILE_PARAMETERS, _VIRTUAL_DISK_SIZE} <= items.keys(), Fault.DAMAGED, "metadata missing"),
        ),
    )
    block, flags = struct.unpack("<II", file.need(metadata + items[_FILE_PARAMETERS], 8))
    (size,) = struct.unpack("<Q", file.need(metadata + items[_VIRTUAL_DISK_SIZE], 8))
    offset, length = regions[_BAT_REGION]
    check(
        file,
        (
            (bool(flags & _HAS_PARENT), Fault.DIFFERENCING, ""),
            (not 1 << 20 <= block <= 256 << 20, Fault.DAMAGED, f"blocks of {block} bytes"),
            (offset + length > file.size, Fault.OVERSIZED_TABLE, "the block table ends beyond the file"),
            (length // 8 * block < size, Fault.DAMAGED, "the block table is too small for the disk"),
        ),
    )
    return Header(size)


def _unique(file: ImageFile, entries: Iterable[tuple[UUID, _Value]]) -> dict[UUID, _Value]:
    found: dict[UUID, _Value] = {}
    for identifier, value in entries:
        check(file, ((identifier in found, Fault.DAMAGED, "an entry is there twice"),))
        found[identifier] = value
    return found


def _log(file: ImageFile) -> None:
    """Refuse an image whose current header (the one with the higher sequence number) has a log."""
    headers = [file.need(offset, 80) for offset in _HEADERS]
    valid = [header for header in headers if header.startswith(b"head")]
    check(file, ((not valid, Fault.DAMAGED, "no header"),))
    current = max(valid, key=lambda header: int.from_bytes(header[8:16], "little"))
    check(file, ((any(current[48:64]), Fault.UNCLEAN, "its log is not empty"),))


def _regions(file: ImageFile) -> Iterator[tuple[UUID, tuple[int, int]]]:
    """Yield each region's (offset, length) in bytes."""
    signature, _checksum, count = struct.unpack("<4sII", file.need(_REGION_TABLE, 12))
    check(file, ((signature != b"regi" or count > _MAX_ENTRIES, Fault.DAMAGED, "no region table"),))
    for index in range(count):
        entry = file.need(_REGION_TABLE + 16 + 32 * index, 32)
        yield UUID(bytes_le=entry[:16]), struct.unpack_from("<QI", entry, 16)


def _items(file: ImageFile, metadata: int) -> Iterator[tuple[UUID, int]]:
    """Yield each metadata item's offset from the beginning of the metadata region."""
    signature, count = struct.unpack("<8s2xH", file.need(metadata, 12))
    check(file, ((signature != b"metadata" or count > _MAX_ENTRIES, Fault.DAMAGED, "no metadata table"),))
    for index in range(count):
        entry = file.need(metadata + 32 + 32 * index, 32)
        yield UUID(bytes_le=entry[:16]), struct.unpack_from("<I", entry, 16)[0]
