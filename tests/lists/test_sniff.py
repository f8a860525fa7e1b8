from pathlib import Path

import pytest

from imagesync.errors import ConfigError
from imagesync.lists.sniff import sniff


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x1f\x8b\x08" + bytes(20), "gz"),
        (b"\xfd7zXZ\0" + bytes(20), "xz"),
        (b"BZh9" + bytes(20), "bz2"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zst"),
        (b"PK\x03\x04" + bytes(20), "zip"),
        (bytes(0x8001) + b"CD001", "iso"),
        (b"# Disk DescriptorFile\n", "vmdk"),
        (b"some text\n", None),
        (b"", None),
    ],
)
def test_the_format_is_found_in_the_bytes(content: bytes, expected: str | None, tmp_path: Path) -> None:
    path = tmp_path / "misnamed.qcow2"
    path.write_bytes(content)

    assert sniff(path) == expected


def test_a_bare_file_system_is_known_by_its_name_only(tmp_path: Path) -> None:
    for name in ("a.img", "a.raw", "a.txt"):
        (tmp_path / name).write_bytes(b"ext4 or so")
    (tmp_path / "empty.img").touch()

    found = [sniff(tmp_path / name) for name in ("a.img", "a.raw", "a.txt", "empty.img")]

    assert found == ["raw", "raw", None, None]


def test_what_cannot_be_read_is_not_taken_for_something_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        sniff(tmp_path)
