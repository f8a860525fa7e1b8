"""Finds ``hv:format`` of a publisher's own file from its first bytes. A site looks much closer than this."""

from __future__ import annotations

from pathlib import Path

from imagesync.errors import ConfigError

_SECTOR = 512
_HEAD = 0x8006

# (offset, bytes, hv:format); the names are those of AppDB's enumeration where it has one.
_MAGIC = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"\x1f\x8b", "gz"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bz2"),
    (0, b"\x28\xb5\x2f\xfd", "zst"),
    (0, b"PK\x03\x04", "zip"),
    (257, b"ustar", "OVA"),
    (0x8001, b"CD001", "iso"),
    (510, b"\x55\xaa", "raw"),
)


def sniff(path: Path) -> str | None:
    """Return the format of the file by its magic numbers, ``None`` if it has none of an image.

    A file without any, named ``.raw`` or ``.img``, is a bare file system. A fixed-size VHD is known by its footer.

    Raises:
        ConfigError: the file cannot be read, which does not mean that it is no image.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            size = path.stat().st_size
            stream.seek(max(0, size - _SECTOR))
            tail = stream.read(_SECTOR)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    if tail.startswith(b"conectix"):
        return "vhd"
    for offset, magic, name in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    return "raw" if head and path.suffix in (".raw", ".img") else None
