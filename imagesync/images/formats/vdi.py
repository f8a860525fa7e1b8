"""VirtualBox disk images, version 1.1 (QEMU, block/vdi.c; VirtualBox, VDICore.h)."""

from __future__ import annotations

import struct

from imagesync.images.faults import Fault
from imagesync.images.file import Header, ImageFile, check

MAGIC = b"\x7f\x10\xda\xbe"
MAGIC_OFFSET = 0x40

_DYNAMIC, _STATIC = 1, 2
_SECTOR = 512
_BLOCK = 1 << 20
_MAX_BLOCKS = 1 << 30 >> 2  # what QEMU reads as block map: 1 GiB


def read(file: ImageFile) -> Header:
    """Return what the header says.

    Raises:
        HostileImageError: a difference to a parent, an unknown version, or a block map that is not inside the file.
    """
    head = file.need(0, 512)
    version, _header_size, kind = struct.unpack_from("<III", head, 0x44)
    map_offset, data_offset = struct.unpack_from("<II", head, 0x154)
    size, block, _extra, blocks, _allocated = struct.unpack_from("<QIIII", head, 0x170)
    parents = head[0x1A8:0x1C8]
    check(
        file,
        (
            (version != 0x00010001, Fault.FOREIGN_FORMAT, f"VDI version {version >> 16}.{version & 0xFFFF}"),
            (kind not in {_DYNAMIC, _STATIC} or any(parents), Fault.DIFFERENCING, f"VDI type {kind}"),
            (block != _BLOCK, Fault.DAMAGED, f"blocks of {block} bytes"),
            (blocks > _MAX_BLOCKS, Fault.OVERSIZED_TABLE, f"{blocks} blocks"),
            (map_offset + 4 * blocks > file.size, Fault.OVERSIZED_TABLE, "the block map ends beyond the file"),
            (data_offset < map_offset + 4 * blocks, Fault.DAMAGED, "data and block map overlap"),
            (blocks * block < size, Fault.DAMAGED, "the block map is too small for the disk"),
        ),
    )
    # VBoxManage writes odd sizes; QEMU rounds them up to a sector (block/vdi.c).
    return Header(-(-size // _SECTOR) * _SECTOR, ("static" if kind == _STATIC else "dynamic",))
