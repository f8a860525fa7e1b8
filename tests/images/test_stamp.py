"""Two conversions of the same image differ in nothing, whatever numbers qemu-img drew."""

from pathlib import Path

from imagesync.images.inspect import inspect
from imagesync.images.stamp import derive_identifiers
from imagesync.model import Digest
from imagesync.testing.disks import Disk, Kind, write_disk

IDENTITY = Digest("0f" * 64)
AT, LENGTH = 512, 20 * 512


def _stamped(path: Path, name: bytes, behind: bytes) -> bytes:
    """Return a VMDK with such a CID, and what was left behind its descriptor, after it got identifiers of its own."""
    content = bytearray(write_disk(path, Kind.VMDK_STREAM, Disk("one", 8 << 20, 1 << 16)).read_bytes())
    text = content[AT : AT + LENGTH].partition(b"\0")[0]
    before = next(line for line in text.splitlines() if line.startswith(b"CID="))
    text = text.replace(before, b"CID=" + name, 1) + b"\0" + behind
    content[AT : AT + LENGTH] = text.ljust(LENGTH, b"\0")
    path.write_bytes(content)

    derive_identifiers(path, inspect(path), IDENTITY)
    return path.read_bytes()


def test_a_vmdk_is_the_same_whatever_its_cid_was_and_left_behind(tmp_path: Path) -> None:
    names = {b"5f3eaa3c": b"", b"aa3c": b'7"\n', b"fffffffd": b'"\n', b"1": b'483647"\n'}
    found = {_stamped(tmp_path / "disk.vmdk", name, behind) for name, behind in names.items()}

    (content,) = found
    assert b"\nCID=00f0f0f0\n" in content
    assert content[AT : AT + LENGTH].rstrip(b"\0").endswith(b'"\n')
    assert b"\0" not in content[AT : AT + LENGTH].rstrip(b"\0")
