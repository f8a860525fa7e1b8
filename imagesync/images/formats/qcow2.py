"""qcow2 headers (QEMU, docs/interop/qcow2.txt)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from imagesync.images.faults import Fault
from imagesync.images.file import Header, ImageFile, check

MAGIC = b"QFI\xfb"

_SECTOR = 512
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION_TYPE = 1, 2, 4, 8
# Extended L2 entries (bit 4) are known to QEMU but not to the OpenStack inspector, so no cloud would take them.
_ACCEPTED = _DIRTY | _COMPRESSION_TYPE
_EXTENSION_DATA_FILE = 0x44415441
_EXTENSION_CRYPTO = 0x0537BE77
_MAX_L1_BYTES = 32 << 20  # QCOW_MAX_L1_SIZE
_MAX_REFCOUNT_TABLE_BYTES = 8 << 20  # QCOW_MAX_REFTABLE_SIZE


@dataclass(frozen=True, slots=True)
class _Fields:
    version: int
    backing_offset: int
    backing_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int
    incompatible: int = 0
    length: int = _V2.size
    compression: int = 0


def read(file: ImageFile) -> Header:
    """Return what the header says.

    Raises:
        HostileImageError: the image refers to other files, is encrypted, or its tables are not inside the file.
    """
    fields = _fields(file)
    _references(file, fields)
    _tables(file, fields)
    for kind, _length in _extensions(file, fields):
        check(
            file,
            (
                (kind == _EXTENSION_DATA_FILE, Fault.QCOW2_DATA_FILE, ""),
                (kind == _EXTENSION_CRYPTO, Fault.ENCRYPTED, ""),
            ),
        )
    # Of an odd size QEMU leaves away what is no whole sector (block/qcow2.c).
    return Header(fields.size // _SECTOR * _SECTOR, _features(fields))


def _fields(file: ImageFile) -> _Fields:
    version = struct.unpack(">I", file.need(4, 4))[0]
    check(
        file,
        (
            (version == 1, Fault.QCOW1, ""),
            (version not in {2, 3}, Fault.QCOW2_UNKNOWN_FEATURES, f"version {version}"),
        ),
    )
    common = _V2.unpack(file.need(0, _V2.size))[1:]
    if version == 2:
        return _Fields(*common)
    incompatible, _compatible, _autoclear, _order, length = _V3.unpack(file.need(_V2.size, _V3.size))
    check(file, ((not 104 <= length <= 4096, Fault.DAMAGED, f"header length {length}"),))
    compression = file.need(104, 1)[0] if length > 104 else 0
    return replace(_Fields(*common), incompatible=incompatible, length=length, compression=compression)


def _references(file: ImageFile, fields: _Fields) -> None:
    unknown = fields.incompatible & ~(_ACCEPTED | _CORRUPT | _DATA_FILE)
    zstd = bool(fields.incompatible & _COMPRESSION_TYPE)
    check(
        file,
        (
            (bool(fields.backing_offset or fields.backing_size), Fault.QCOW2_BACKING_FILE, ""),
            (bool(fields.incompatible & _DATA_FILE), Fault.QCOW2_DATA_FILE, ""),
            (bool(unknown), Fault.QCOW2_UNKNOWN_FEATURES, f"feature bits {unknown:#x}"),
            (bool(fields.incompatible & _CORRUPT), Fault.QCOW2_CORRUPT, ""),
            (fields.crypt_method != 0, Fault.ENCRYPTED, ""),
            (fields.compression != int(zstd), Fault.QCOW2_UNKNOWN_FEATURES, f"compression type {fields.compression}"),
        ),
    )


def _tables(file: ImageFile, fields: _Fields) -> None:
    check(file, ((not 9 <= fields.cluster_bits <= 21, Fault.DAMAGED, f"clusters of 2^{fields.cluster_bits} bytes"),))
    cluster = 1 << fields.cluster_bits
    per_entry = cluster * (cluster // 8)
    l1_bytes = fields.l1_entries * 8
    refcount_bytes = fields.refcount_clusters * cluster
    check(
        file,
        (
            (l1_bytes > _MAX_L1_BYTES, Fault.OVERSIZED_TABLE, f"L1 table of {l1_bytes} bytes"),
            (fields.l1_offset + l1_bytes > file.size, Fault.OVERSIZED_TABLE, "the L1 table ends beyond the file"),
            (refcount_bytes > _MAX_REFCOUNT_TABLE_BYTES, Fault.OVERSIZED_TABLE, "refcount table"),
            (fields.refcount_offset + refcount_bytes > file.size, Fault.OVERSIZED_TABLE, "refcounts beyond the file"),
            (fields.l1_entries * per_entry < fields.size, Fault.DAMAGED, "the L1 table is too small for the disk"),
            (bool((fields.l1_offset | fields.refcount_offset) % cluster), Fault.DAMAGED, "a table is not aligned"),
            (fields.snapshots > 65536, Fault.OVERSIZED_TABLE, f"{fields.snapshots} snapshots"),
            (bool(fields.snapshots) and fields.snapshots_offset >= file.size, Fault.DAMAGED, "snapshots beyond it"),
        ),
    )


def _extensions(file: ImageFile, fields: _Fields) -> Iterator[tuple[int, int]]:
    """Yield (type, length) of the header extensions; they end inside the first cluster."""
    position, end = fields.length, min(1 << fields.cluster_bits, file.size)
    while position + 8 <= end:
        kind, length = struct.unpack(">II", file.need(position, 8))
        if kind == 0:
            return
        position += 8 + (length + 7) // 8 * 8
        check(file, ((position > end, Fault.DAMAGED, "a header extension does not end"),))
        yield kind, length


def _features(fields: _Fields) -> tuple[str, ...]:
    words = (
        (True, f"version-{fields.version}"),
        (bool(fields.incompatible & _DIRTY), "dirty"),
        (bool(fields.incompatible & _COMPRESSION_TYPE), "zstd"),
        (fields.snapshots > 0, "snapshots"),
    )
    return tuple(word for there, word in words if there)
