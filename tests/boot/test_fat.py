"""The file system that guests read: its bytes. That a kernel, GRUB and UEFI read it, the real guests show."""

from __future__ import annotations

import pytest

from imagesync.boot.fat import file_system


def test_the_same_files_give_the_same_bytes_with_label_and_kind() -> None:
    files = {"meta-data": b"x" * 700, "EFI/BOOT/BOOTX64.EFI": b"y"}
    made = file_system(files, 1 << 18, "cidata")

    assert made == file_system(files, 1 << 18, "cidata")
    assert (len(made), made[510:512], made[43:54], made[54:62]) == (1 << 18, b"\x55\xaa", b"CIDATA     ", b"FAT12   ")


@pytest.mark.parametrize(("size", "kind"), [(1 << 18, b"FAT12   "), (40 << 20, b"FAT16   "), (512 << 20, b"FAT16   ")])
def test_the_size_decides_the_kind(size: int, kind: bytes) -> None:
    made = file_system({}, size, "x")

    sectors = int.from_bytes(made[19:21], "little") or int.from_bytes(made[32:36], "little")
    data = sectors - 1 - 2 * int.from_bytes(made[22:24], "little") - 32
    assert made[54:62] == kind
    assert (data // made[13] < 4085) == (kind == b"FAT12   ")
    assert data // made[13] <= 65524


def test_a_long_name_is_kept_beside_a_short_one() -> None:
    made = file_system({"user-data": b""}, 1 << 18, "x")

    assert "user-".encode("utf-16-le") in made
    assert b"F0000000   " in made


def test_a_table_of_twelve_bits_chains_clusters() -> None:
    made = file_system({"A": b"1" * 512 * 3}, 1 << 18, "x")

    assert made[512:521] == bytes.fromhex("f8ffff 034000 ffff0f".replace("ffff0f", "ff0f00"))


@pytest.mark.parametrize(
    "files",
    [{"large": bytes(1 << 18)}, {f"file-{n}": b"" for n in range(300)}, {"a": b"", "a/b": b""}],
    ids=["too large", "too many", "file and directory"],
)
def test_what_does_not_fit_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="do not fit|too many|a file and a directory"):
        file_system(files, 1 << 18, "x")
