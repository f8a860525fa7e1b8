"""Disks without a container: raw with a partition table, and ISO 9660 or UDF."""

from __future__ import annotations

from imagesync.images.file import Header, ImageFile

_SECTOR = 512
_ISO_MAGICS = (b"CD001", b"BEA01", b"NSR02", b"NSR03")


def is_iso(file: ImageFile) -> bool:
    """Return whether there is a volume descriptor in sector 16 (ECMA-119 8.1, ECMA-167 2/9.1)."""
    return file.at(32769, 5) in _ISO_MAGICS


def partition_table(file: ImageFile) -> str:
    """Return ``gpt``, ``mbr`` or the empty string.

    An MBR ends with 55 AA and each of its four entries begins with 00 or 80 (UEFI 5.2.1): random bytes do not look
    like that, the boot sector of a file system without partitions hardly ever.
    """
    if b"EFI PART" in {file.at(_SECTOR, 8), file.at(4096, 8)}:
        return "gpt"
    first = file.at(0, _SECTOR)
    flags = {first[offset] for offset in range(446, 510, 16)} if len(first) == _SECTOR else {0xFF}
    return "mbr" if first[510:] == b"\x55\xaa" and flags <= {0x00, 0x80} else ""


def read(file: ImageFile) -> Header:
    """Return the size as a guest sees it: the file's, rounded up to a sector as QEMU does."""
    table = partition_table(file)
    return Header(-(-file.size // _SECTOR) * _SECTOR, (table,) if table else ())
