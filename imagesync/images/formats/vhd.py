"""Virtual PC disk images (Microsoft, Virtual Hard Disk Image Format Specification 1.0)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from imagesync.images.faults import Fault
from imagesync.images.file import Header, ImageFile, check

MAGIC = b"conectix"
FOOTER = 512

_SECTOR = 512
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_SPARSE_MAGIC = b"cxsparse"


@dataclass(frozen=True, slots=True)
class _Footer:
    data_offset: int
    size: int
    kind: int


def is_fixed(file: ImageFile) -> bool:
    """Return whether the file ends, and does not begin, with a footer: a raw disk and 512 bytes more."""
    return file.at(file.size - FOOTER, 8) == MAGIC and file.at(0, 8) != MAGIC


def read(file: ImageFile) -> Header:
    """Return what the footer says (its current size, which is what ``force_size_calc`` makes QEMU use).

    Of an odd size QEMU leaves away what is no whole sector (block/vpc.c).

    Raises:
        HostileImageError: a difference to a parent, damaged, or a table that is not inside the file.
    """
    if is_fixed(file):
        footer = _footer(file, file.size - FOOTER)
        check(file, ((footer.kind != _FIXED or footer.size != file.size - FOOTER, Fault.TWO_FORMATS, "raw and vpc"),))
        return Header(footer.size, ("fixed",))
    footer = _footer(file, 0)
    check(
        file,
        (
            (footer.kind == _DIFFERENCING, Fault.DIFFERENCING, ""),
            (footer.kind != _DYNAMIC, Fault.DAMAGED, f"VHD type {footer.kind}"),
        ),
    )
    _dynamic(file, footer)
    return Header(footer.size // _SECTOR * _SECTOR, ("dynamic",))


def _footer(file: ImageFile, offset: int) -> _Footer:
    data = file.need(offset, FOOTER)
    (stored,) = struct.unpack_from(">I", data, 64)
    computed = ~(sum(data) - sum(data[64:68])) & 0xFFFFFFFF
    check(file, ((stored != computed, Fault.DAMAGED, "wrong checksum"),))
    (data_offset,) = struct.unpack_from(">Q", data, 16)
    (size,) = struct.unpack_from(">Q", data, 48)
    (kind,) = struct.unpack_from(">I", data, 60)
    return _Footer(data_offset, size, kind)


def _dynamic(file: ImageFile, footer: _Footer) -> None:
    data = file.need(footer.data_offset, 1024)
    table, _version, entries, block = struct.unpack_from(">QIII", data, 16)
    parent = data[40:56] + data[64:768]
    check(
        file,
        (
            (not data.startswith(_SPARSE_MAGIC), Fault.DAMAGED, "no dynamic header"),
            (any(parent), Fault.DIFFERENCING, "the dynamic header names a parent"),
            (block < 512 or bool(block & (block - 1)), Fault.DAMAGED, f"blocks of {block} bytes"),
            (table + 4 * entries > file.size, Fault.OVERSIZED_TABLE, "the block table ends beyond the file"),
            (entries * block < footer.size, Fault.DAMAGED, "the block table is too small for the disk"),
        ),
    )
