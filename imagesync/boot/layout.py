"""What a disk has to start from, told by its first sectors. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from uuid import UUID

HEAD = 64 << 10
"""How many bytes of the disk are looked at: the boot sector and a whole GPT."""

_SECTOR = 512
_ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").bytes_le
_ESP_IN_MBR = 0xEF
_CODE = 440


def starts_from(head: bytes) -> tuple[str, ...]:
    """Return ``MBR`` if the first sector has boot code, and ``ESP`` if there is an EFI system partition."""
    if len(head) < _SECTOR or head[510:512] != b"\x55\xaa":
        return ()
    found = ["MBR"] if any(head[:_CODE]) and not _is_data_only(head) else []
    if any(kind == _ESP_IN_MBR for kind in _kinds(head)) or _ESP in set(_gpt_kinds(head)):
        found.append("ESP")
    return tuple(found)


def _is_data_only(head: bytes) -> bool:
    """Return whether it is the boot sector of a FAT file system without code behind its jump."""
    return head[0] in {0xEB, 0xE9} and head[54:59] in {b"FAT12", b"FAT16"} and not any(head[62:_CODE])


def _kinds(head: bytes) -> Iterator[int]:
    yield from (head[446 + 16 * number + 4] for number in range(4))


def _gpt_kinds(head: bytes) -> Iterator[bytes]:
    """Yield the type of each partition in a GPT (UEFI specification, section 5.3), as far as ``head`` goes."""
    if head[_SECTOR : _SECTOR + 8] != b"EFI PART":
        return
    first, count, size = struct.unpack_from("<QII", head, _SECTOR + 72)
    for number in range(min(count, 128)):
        at = first * _SECTOR + number * size
        if at + 16 <= len(head):
            yield head[at : at + 16]
