"""VMDK headers (VMware, Virtual Disk Format 1.1).

Only the two types that live in one file are accepted, as in OSSA-2023-002 (CVE-2022-47951): every other type names
extents that QEMU would open.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from imagesync.images.faults import Fault
from imagesync.images.file import Header, ImageFile, check

MAGIC = b"KDMV"
TYPES = ("monolithicsparse", "streamoptimized")

_HEADER = struct.Struct("<4sIIQQQQIQQQ")
_SECTOR = 512
_AT_END = 0xFFFFFFFFFFFFFFFF
_MAX_DESCRIPTOR_SECTORS = 2048  # QEMU reads at most 1 MiB
_EXTENT = re.compile(r'(?:RW|RDONLY|NOACCESS)\s+\d+\s+SPARSE\s+"[^"/\\:]+"(?:\s+0)?', re.IGNORECASE)
_EXTENT_START = re.compile(r"(?:RW|RDONLY|NOACCESS)\b", re.IGNORECASE)
_SECTORS_READ_BY_QEMU = 20  # for the parent, from sector 1, whatever length the header has (block/vmdk.c)


@dataclass(frozen=True, slots=True)
class _Fields:
    magic: bytes
    version: int
    flags: int
    capacity: int
    grain: int
    descriptor_sector: int
    descriptor_sectors: int
    entries_per_table: int
    redundant_directory: int
    directory: int
    overhead: int


def read(file: ImageFile) -> Header:
    """Return what the header says.

    Raises:
        HostileImageError: the image is of another type, refers to other files, or its tables are not inside the file.
    """
    fields = _fields(file, 0)
    check(file, ((fields.version not in {1, 2, 3}, Fault.VMDK_SUBFORMAT, f"version {fields.version}"),))
    kind = _descriptor(file, fields)
    if fields.directory == _AT_END:
        fields = _footer(file, fields)
    _tables(file, fields)
    return Header(fields.capacity * _SECTOR, (kind,))


def _fields(file: ImageFile, offset: int) -> _Fields:
    return _Fields(*_HEADER.unpack(file.need(offset, _HEADER.size)))


def _descriptor(file: ImageFile, fields: _Fields) -> str:
    """Return the type in lower case."""
    check(
        file,
        (
            (fields.descriptor_sector != 1, Fault.VMDK_DESCRIPTOR, f"it is at sector {fields.descriptor_sector}"),
            (not 1 <= fields.descriptor_sectors <= _MAX_DESCRIPTOR_SECTORS, Fault.VMDK_DESCRIPTOR, "bad length"),
        ),
    )
    file.need(_SECTOR, fields.descriptor_sectors * _SECTOR)
    data = file.at(_SECTOR, max(fields.descriptor_sectors, _SECTORS_READ_BY_QEMU) * _SECTOR).split(b"\0", 1)[0]
    # Text of any encoding is let through here: only structure matters, and names are never used.
    lines = [line.strip() for line in data.decode("latin-1").splitlines()]
    values = _values(lines)
    kinds = values.get("createtype", [])
    _parent(file, data, values)
    check(
        file,
        (
            (len(kinds) != 1, Fault.VMDK_DESCRIPTOR, f"{len(kinds)} createType lines"),
            (bool(kinds) and kinds[0] not in TYPES, Fault.VMDK_SUBFORMAT, f"type {''.join(kinds)[:40]!r}"),
        ),
    )
    extents = [line for line in lines if _EXTENT_START.match(line)]
    check(file, ((len(extents) != 1 or not _EXTENT.fullmatch(extents[0]), Fault.VMDK_EXTENTS, ""),))
    return kinds[0]


def _values(lines: list[str]) -> dict[str, list[str]]:
    """Return what is set, by name in lower case; without a regular expression, which could take hours for a line."""
    values: dict[str, list[str]] = {}
    for line in lines:
        name, _equals, value = line.partition("=")
        values.setdefault(name.strip().lower(), []).append(value.strip().strip('"').strip().lower())
    return values


def _parent(file: ImageFile, data: bytes, values: dict[str, list[str]]) -> None:
    # QEMU looks for the hint anywhere in the text, so a search is what is needed here too.
    hinted = b"parentfilenamehint" in data.lower()
    orphan = all(value == "ffffffff" for value in values.get("parentcid", []))
    check(file, ((hinted or not orphan, Fault.DIFFERENCING, ""),))


def _footer(file: ImageFile, header: _Fields) -> _Fields:
    """Return the footer of a stream-optimized image, which QEMU reads in place of the header."""
    footer = _fields(file, max(file.size - 2 * _SECTOR, 0))
    differ = [
        name
        for name in ("magic", "version", "capacity", "grain", "descriptor_sector", "descriptor_sectors")
        if getattr(footer, name) != getattr(header, name)
    ]
    check(
        file,
        (
            (bool(differ), Fault.VMDK_FOOTER, f"in {', '.join(differ)}"),
            (footer.directory == _AT_END, Fault.VMDK_FOOTER, "the footer refers to another footer"),
        ),
    )
    return footer


def _tables(file: ImageFile, fields: _Fields) -> None:
    check(
        file,
        (
            (fields.capacity == 0, Fault.EMPTY_DISK, ""),
            (not 1 <= fields.entries_per_table <= 512, Fault.DAMAGED, f"{fields.entries_per_table} entries per table"),
            (not 1 <= fields.grain <= 0x200000, Fault.DAMAGED, f"grains of {fields.grain} sectors"),
        ),
    )
    tables = -(-fields.capacity // (fields.entries_per_table * fields.grain))
    end = fields.directory * _SECTOR + tables * 4
    check(file, ((end > file.size, Fault.OVERSIZED_TABLE, "the grain directory ends beyond the file"),))
