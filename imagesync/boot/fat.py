"""A small FAT file system as bytes (FAT12 or FAT16, Microsoft's specification of 2000, with long names). Pure.

Every guest can read one, and the bytes are the same each time: no foreign tool has to be there for the disk that tells
cloud-init not to wait for a metadata service.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_SECTOR = 512
_ROOT_ENTRIES = 512
_ENTRY = 32
_MOST_CLUSTERS = 65_524
_FAT12_BELOW = 4085
_DIRECTORY = 0x10
_LABEL = 0x08
_LONG_NAME = 0x0F
_DATE = 1 << 5 | 1  # the first of January 1980: no clock is read

Tree = dict[str, "Tree | bytes"]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How many sectors there are, in a cluster, and in one copy of the table; how many clusters, of how many bits."""

    sectors: int
    cluster: int
    table: int
    clusters: int
    bits: int

    @property
    def data(self) -> int:
        """Return the sector at which the clusters begin."""
        return 1 + 2 * self.table + _ROOT_ENTRIES * _ENTRY // _SECTOR

    @property
    def cluster_bytes(self) -> int:
        return self.cluster * _SECTOR


@dataclass(slots=True)
class _Volume:
    shape: _Shape
    data: bytearray
    table: list[int] = field(default_factory=lambda: [0xFFF8, 0xFFFF])

    def reserve(self, size: int) -> int:
        """Return the first of the clusters in a row that take ``size`` bytes; none for nothing."""
        count = -(-size // self.shape.cluster_bytes)
        first = len(self.table)
        if count == 0:
            return 0
        if first + count > self.shape.clusters + 2:
            raise ValueError("the files do not fit into a file system of that size")
        self.table += [*range(first + 1, first + count), 0xFFFF]
        return first

    def write(self, first: int, content: bytes) -> None:
        at = self.shape.data * _SECTOR + (first - 2) * self.shape.cluster_bytes
        self.data[at : at + len(content)] = content


def file_system(files: Mapping[str, bytes], size: int, label: str) -> bytearray:
    """Return a file system of ``size`` bytes with ``files``, whose names may have directories in front, and ``label``.

    Raises:
        ValueError: the files do not fit.
    """
    shape = _shape(size // _SECTOR)
    volume = _Volume(shape, bytearray(size))
    boot = _boot_sector(shape, label)
    volume.data[: len(boot)] = boot
    root = _entry(label.upper().encode("ascii").ljust(11), _LABEL, 0, 0) + _entries(volume, _tree(files), 0)
    if len(root) > _ROOT_ENTRIES * _ENTRY:
        raise ValueError("there are too many files in the top directory")
    start = (1 + 2 * shape.table) * _SECTOR
    volume.data[start : start + len(root)] = root
    table = _packed(volume.table, shape.bits)
    for copy in (1, 1 + shape.table):
        volume.data[copy * _SECTOR : copy * _SECTOR + len(table)] = table
    return volume.data


def _shape(sectors: int) -> _Shape:
    cluster = 1
    while sectors // cluster > _MOST_CLUSTERS - 16:
        cluster *= 2
    bits = 12 if sectors // cluster < _FAT12_BELOW else 16
    table = -(-(sectors // cluster + 2) * bits // 8 // _SECTOR) + 1
    clusters = (sectors - 1 - 2 * table - _ROOT_ENTRIES * _ENTRY // _SECTOR) // cluster
    return _Shape(sectors, cluster, table, clusters, 12 if clusters < _FAT12_BELOW else 16)


def _boot_sector(shape: _Shape, label: str) -> bytes:
    small = shape.sectors if shape.sectors < 1 << 16 else 0
    geometry = struct.pack(
        "<HBHBHHBHHHII",
        *(_SECTOR, shape.cluster, 1, 2, _ROOT_ENTRIES, small, 0xF8, shape.table, 63, 255, 0),
        0 if small else shape.sectors,
    )
    name = label.upper().encode("ascii").ljust(11)
    kind = f"FAT{shape.bits}".encode().ljust(8)
    head = b"\xeb\x3c\x90" + b"IMAGESYN" + geometry + struct.pack("<BBBI", 0x80, 0, 0x29, 0x1A2B3C4D) + name + kind
    return head.ljust(510, b"\0") + b"\x55\xaa"


def _tree(files: Mapping[str, bytes]) -> Tree:
    tree: Tree = {}
    for path, content in files.items():
        *parents, name = path.split("/")
        here = tree
        for parent in parents:
            below = here.setdefault(parent, {})
            if not isinstance(below, dict):
                raise ValueError(f"{parent} is a file and a directory")  # noqa: TRY004 - the names are wrong
            here = below
        here[name] = content
    return tree


def _entries(volume: _Volume, tree: Tree, own: int) -> bytes:
    """Return the entries of a directory that begins at cluster ``own``, after writing what is in it."""
    result = b""
    for number, (name, item) in enumerate(tree.items()):
        short = _short(name, number)
        content = _directory(volume, item, own) if isinstance(item, dict) else _file(volume, item)
        result += b"".join(_long(name, short)) + _entry(short, *content)
    return result


def _file(volume: _Volume, content: bytes) -> tuple[int, int, int]:
    first = volume.reserve(len(content))
    if first:
        volume.write(first, content)
    return 0x20, first, len(content)


def _directory(volume: _Volume, tree: Tree, parent: int) -> tuple[int, int, int]:
    size = _ENTRY * (2 + sum(1 + sum(1 for _ in _long(name, _short(name, 0))) for name in tree))
    first = volume.reserve(size)
    dots = _entry(b".".ljust(11), _DIRECTORY, first, 0) + _entry(b"..".ljust(11), _DIRECTORY, parent, 0)
    volume.write(first, dots + _entries(volume, tree, first))
    return _DIRECTORY, first, 0


def _is_short(name: str) -> bool:
    stem, _, suffix = name.partition(".")
    plain = stem.replace("_", "") + suffix
    return name == name.upper() and plain.isalnum() and plain.isascii() and len(stem) <= 8 and len(suffix) <= 3


def _short(name: str, number: int) -> bytes:
    """Return the name of eight and three letters: its own, or a number in this directory."""
    if _is_short(name):
        stem, _, suffix = name.partition(".")
        return stem.encode().ljust(8) + suffix.encode().ljust(3)
    return f"F{number:07d}".encode().ljust(11)


def _long(name: str, short: bytes) -> Iterator[bytes]:
    """Yield the entries of a long name, the last part first."""
    if _is_short(name):
        return
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7 | checksum >> 1) + byte & 0xFF
    text = name.encode("utf-16-le") + b"\0\0"
    parts = [text[at : at + 26].ljust(26, b"\xff") for at in range(0, len(text) - 2, 26)]
    for order in range(len(parts), 0, -1):
        last = 0x40 if order == len(parts) else 0
        part = parts[order - 1]
        head = struct.pack("<B10sBBB", order | last, part[:10], _LONG_NAME, 0, checksum)
        yield head + part[10:22] + b"\0\0" + part[22:26]


def _entry(short: bytes, attributes: int, first: int, size: int) -> bytes:
    return struct.pack("<11sBBBHHHHHHHI", short, attributes, 0, 0, 0, _DATE, _DATE, 0, 0, _DATE, first, size)


def _packed(table: list[int], bits: int) -> bytes:
    if bits == 16:
        return struct.pack(f"<{len(table)}H", *table)
    pairs = [*table, 0, 0]
    packed = bytearray()
    for at in range(0, len(table), 2):
        low, high = pairs[at] & 0xFFF, pairs[at + 1] & 0xFFF
        packed += bytes((low & 0xFF, low >> 8 | (high & 0xF) << 4, high >> 4))
    return bytes(packed)
