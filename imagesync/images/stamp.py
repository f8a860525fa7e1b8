"""Identifiers in converted images that qemu-img draws at random, replaced by ones that follow from the image.

The same published image then becomes the same bytes wherever and whenever it is converted, and the digest of the
result can be computed again. raw and qcow2 have none; vhdx keeps its random ones, because they are under checksums in
several structures.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import BinaryIO

from imagesync.images.inspect import Inspection
from imagesync.model import Digest, Format

_VMDK_DESCRIPTOR = (512, 20 * 512)
_CID = re.compile(rb"^CID=[0-9a-f]{1,8}$", re.MULTILINE)


def derive_identifiers(path: Path, found: Inspection, identity: Digest) -> None:
    """Overwrite the random identifiers of the image at ``path`` with bytes of ``identity``, in place."""
    seed = bytes.fromhex(identity)
    with path.open("r+b") as file:
        match found.format:
            case Format.VMDK:
                _vmdk(file, seed)
            case Format.VDI:
                _put(file, 0x188, seed[:32])
            case Format.VHD:
                _vhd(file, 0, seed)
                _vhd(file, found.size - 512, seed)
            case _:
                pass


def _vmdk(file: BinaryIO, seed: bytes) -> None:
    offset, length = _VMDK_DESCRIPTOR
    file.seek(offset)
    # qemu-img writes it twice: of a longer text before, the end is left behind this one.
    text, _, _ = file.read(length).partition(b"\0")
    # FFFFFFFE and FFFFFFFF have meanings of their own; a leading zero digit stays clear of both.
    stamped = _CID.sub(b"CID=0" + seed[:4].hex()[:7].encode(), text, count=1)
    _put(file, offset, stamped.ljust(length, b"\0"))


def _vhd(file: BinaryIO, offset: int, seed: bytes) -> None:
    file.seek(offset)
    footer = bytearray(file.read(512))
    footer[24:28] = bytes(4)
    footer[68:84] = seed[:16]
    footer[64:68] = bytes(4)
    footer[64:68] = struct.pack(">I", ~sum(footer) & 0xFFFFFFFF)
    _put(file, offset, bytes(footer))


def _put(file: BinaryIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)
