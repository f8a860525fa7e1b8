"""What a disk has to start from."""

from __future__ import annotations

import struct
from uuid import UUID

from imagesync.boot.fat import file_system
from imagesync.boot.layout import HEAD, starts_from

CODE = b"\xfa\x31\xc0".ljust(440, b"\x90")
ESP = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").bytes_le
LINUX = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le


def record(code: bytes, *kinds: int) -> bytes:
    entries = b"".join(b"\x80\0\0\0" + bytes([kind]) + bytes(11) for kind in kinds).ljust(64, b"\0")
    return code.ljust(440, b"\0") + bytes(6) + entries + b"\x55\xaa"


def gpt(code: bytes, *types: bytes, first: int = 2, size: int = 128) -> bytes:
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", first, len(types), size)
    table = b"".join(kind.ljust(size, b"\x01") for kind in types)
    return (record(code, 0xEE) + header.ljust(512 * (first - 1), b"\0") + table).ljust(HEAD, b"\0")


def test_boot_code_and_partitions_say_how_a_disk_starts() -> None:
    assert starts_from(record(CODE, 0x83)) == ("MBR",)
    assert starts_from(record(b"", 0x83)) == ()
    assert starts_from(record(b"", 0x83, 0xEF)) == ("ESP",)
    assert starts_from(record(CODE, 0xEF)) == ("MBR", "ESP")
    assert starts_from(gpt(CODE, LINUX, ESP)) == ("MBR", "ESP")
    assert starts_from(gpt(b"", LINUX, ESP)) == ("ESP",)
    assert starts_from(gpt(b"", LINUX)) == ()


def test_without_the_signature_nothing_starts() -> None:
    assert starts_from(b"") == ()
    assert starts_from(CODE.ljust(512, b"\0")) == ()


def test_a_file_system_without_a_partition_table_has_no_boot_code() -> None:
    assert starts_from(bytes(file_system({}, 1 << 20, "data"))) == ()


def test_a_table_that_lies_about_its_place_is_not_followed() -> None:
    assert starts_from(gpt(b"", ESP, first=2)) == ("ESP",)
    wild = bytearray(gpt(b"", ESP))
    wild[512 + 72 : 512 + 88] = struct.pack("<QII", 2**63, 2**32 - 1, 2**32 - 1)
    assert starts_from(bytes(wild)) == ()
