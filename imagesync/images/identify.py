"""What a file is, from its bytes alone: never from its name or what a list says about it (CVE-2024-40767)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from imagesync.errors import ContentError
from imagesync.images.faults import Fault
from imagesync.images.file import ImageFile
from imagesync.images.formats import disk, qcow2, vdi, vhd, vhdx, vmdk
from imagesync.model import Format


class Wrapper(StrEnum):
    """What can be around an image."""

    TAR = "tar"
    GZIP = "gzip"
    XZ = "xz"
    BZIP2 = "bzip2"
    ZSTD = "zstd"
    ZIP = "zip"


Kind = Format | Wrapper

_KNOWN: tuple[tuple[Kind, int, bytes], ...] = (
    (Format.QCOW2, 0, qcow2.MAGIC),
    (Format.VMDK, 0, vmdk.MAGIC),
    (Format.VDI, vdi.MAGIC_OFFSET, vdi.MAGIC),
    (Format.VHD, 0, vhd.MAGIC),
    (Format.VHDX, 0, vhdx.MAGIC),
    (Wrapper.TAR, 257, b"ustar"),
    (Wrapper.GZIP, 0, b"\x1f\x8b\x08"),
    (Wrapper.XZ, 0, b"\xfd7zXZ\0"),
    (Wrapper.BZIP2, 0, b"BZh"),
    (Wrapper.ZSTD, 0, b"\x28\xb5\x2f\xfd"),
    (Wrapper.ZIP, 0, b"PK\x03\x04"),
)

# What QEMU or a person would recognise, but nobody here reads.
_FOREIGN: tuple[tuple[str, int, bytes], ...] = (
    ("QED", 0, b"QED\0"),
    ("LUKS (encrypted)", 0, b"LUKS\xba\xbe"),
    ("Parallels", 0, b"WithoutFreeSpace"),
    ("Parallels", 0, b"WithouFreSpacExt"),
    ("Bochs", 0, b"Bochs Virtual HD Image"),
    ("cloop", 0, b"#!/bin/sh\n#V2.0 Format"),
    ("VMDK (ESX sparse)", 0, b"COWD"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("RAR", 0, b"Rar!\x1a\x07"),
    ("lz4", 0, b"\x04\x22\x4d\x18"),
    ("lzip", 0, b"LZIP"),
    ("compress (.Z)", 0, b"\x1f\x9d"),
    ("ELF program", 0, b"\x7fELF"),
    ("SquashFS", 0, b"hsqs"),
)

# How QEMU's probe knows a VMDK that is text: within the first 512 bytes (measured with qemu-img 7.2), comments and
# lines of blanks, then the version. Other programs know it by its first line.
_TEXT_VMDK = re.compile(rb"# ?disk descriptorfile|(?:#[^\n]*\n| +\r?\n)*version=[123]\r?\n", re.IGNORECASE)
_TEXT_VMDK_NAME = "VMDK (text descriptor)"


def identify(file: ImageFile, *, bare: bool = False) -> Kind:
    """Return the one format or wrapper that the bytes are in. At most some kilobytes are read.

    ``bare`` takes what has no header for raw even without a partition table: only for what was just written as raw.

    Raises:
        HostileImageError: valid headers of two formats.
        UnsupportedFormatError: no format, or one that is known and not supported.
    """
    if file.size == 0:
        raise Fault.EMPTY.error(file.subject)
    kinds = sorted(set(_kinds(file)))
    table = disk.partition_table(file)
    # A hybrid ISO has a partition table on purpose, and a fixed VHD is a raw disk with a footer.
    lone = kinds in ([Format.ISO], [Format.VHD]) and (kinds == [Format.ISO] or vhd.is_fixed(file))
    names = [*kinds, *sorted(set(_foreign(file))), *([Format.RAW] if table and not lone else [])]
    match kinds:
        case _ if len(names) > 1:
            raise Fault.TWO_FORMATS.error(file.subject, " and ".join(names))
        case [kind]:
            return kind
        case _ if names == [Format.RAW] or (bare and not names):
            return Format.RAW
        case _:
            raise _unknown(file, names)


def _kinds(file: ImageFile) -> Iterator[Kind]:
    for kind, offset, magic in _KNOWN:
        if file.at(offset, len(magic)) == magic:
            yield kind
    if vhd.is_fixed(file):
        yield Format.VHD
    if disk.is_iso(file):
        yield Format.ISO


def _foreign(file: ImageFile) -> Iterator[str]:
    for name, offset, magic in _FOREIGN:
        if file.at(offset, len(magic)) == magic:
            yield name
    if file.at(file.size - 512, 4) == b"koly":
        yield "Apple disk image"
    if _TEXT_VMDK.match(file.at(0, 512)):
        yield _TEXT_VMDK_NAME


def _unknown(file: ImageFile, foreign: list[str]) -> ContentError:
    start = file.at(0, 1024)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if _TEXT_VMDK_NAME in foreign or b"# disk descriptorfile" in start.lower():
        return Fault.VMDK_SUBFORMAT.error(file.subject, "a descriptor that refers to other files")
    if foreign:
        encrypted = foreign[0].startswith("LUKS")
        return (Fault.ENCRYPTED if encrypted else Fault.FOREIGN_FORMAT).error(file.subject, foreign[0])
    if text.startswith(b"<"):
        return Fault.WEB_PAGE.error(file.subject)
    return Fault.UNKNOWN_FORMAT.error(file.subject, f"it begins with {_shown(start[:16])}")


def _shown(data: bytes) -> str:
    return repr(data.decode("ascii")) if data.isascii() and data.decode("ascii").isprintable() else data.hex(" ")
