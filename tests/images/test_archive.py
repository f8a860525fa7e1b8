"""Unpacking what is around an image."""

from __future__ import annotations

import gzip
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from imagesync.errors import HostileImageError, NoSpaceError
from imagesync.images.archive import UnpackLimits, unwrap

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
LIMITS = UnpackLimits(max_bytes=64 * MIB)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("name", ["gz", "gz-two-members", "xz", "bz2", "zip"])
def test_what_was_packed_comes_out(
    name: str, hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    unpacked = unwrap(build("x", hostile.GOOD[name]()), work, LIMITS)
    assert unpacked is not None
    assert unpacked.read_bytes() == hostile.mbr()


def test_zstd_is_unpacked(hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path) -> None:
    packed = build("x", zstd.compress(hostile.mbr()[:4096]) + zstd.compress(hostile.mbr()[4096:]))
    unpacked = unwrap(packed, work, LIMITS)
    assert unpacked is not None
    assert unpacked.read_bytes() == hostile.mbr()


@pytest.mark.parametrize("name", ["ova", "ova-gz", "ova-sha1-manifest"])
def test_the_disk_of_an_ova_comes_out(
    name: str, hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    unpacked = unwrap(build("x", hostile.GOOD[name]()), work, LIMITS)
    assert unpacked is not None
    assert unpacked.read_bytes() == hostile.vmdk("streamOptimized")
    assert list(work.iterdir()) == [unpacked]


def test_a_bare_image_is_left_alone(hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path) -> None:
    assert unwrap(build("x", hostile.qcow2()), work, LIMITS) is None
    assert list(work.iterdir()) == []


def test_the_disk_is_the_one_that_the_descriptor_names(
    hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    data = hostile.ova(("another.vmdk", hostile.vmdk()), ("cloud init.iso", hostile.iso()))
    unpacked = unwrap(build("x", data), work, LIMITS)
    assert unpacked is not None
    assert unpacked.read_bytes() == hostile.vmdk("streamOptimized")


def test_a_name_that_would_be_an_option_is_only_a_name(
    hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    name = "--checkpoint-action=exec=touch INJECTED #.vmdk"
    disk = hostile.vmdk("streamOptimized")
    data = hostile.tar(("a.ovf", hostile.ovf(len(disk), href=name)), (name, disk))
    assert unwrap(build("x", data), work, LIMITS) == work / "unpacked"
    assert [path.name for path in work.parent.rglob("*INJECTED*")] == []


def test_long_names_and_sizes_in_extension_headers_are_read(
    hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    name = "d" * 150 + ".vmdk"
    disk = hostile.vmdk("streamOptimized")
    members = (("a.ovf", hostile.ovf(len(disk), href=name)), (name, disk))
    for number, kind in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        into = work / str(number)
        into.mkdir()
        unpacked = unwrap(build(f"x{number}", hostile.tar(*members, format=kind)), into, LIMITS)
        assert unpacked is not None
        assert unpacked.read_bytes() == disk


def test_holes_stay_holes(build: Callable[[str, bytes], Path], hostile: ModuleType, work: Path) -> None:
    packed = build("x", gzip.compress(hostile.put(hostile.mbr(12 * MIB), 11 * MIB, b"end"), mtime=0))
    unpacked = unwrap(packed, work, LIMITS)
    assert unpacked is not None
    assert unpacked.stat().st_size == 12 * MIB
    assert unpacked.stat().st_blocks * 512 <= 256 << 10


def test_the_bound_in_bytes_holds_where_the_ratio_would_allow_more(
    build: Callable[[str, bytes], Path], hostile: ModuleType, work: Path
) -> None:
    packed = build("x", gzip.compress(hostile.mbr(4 * MIB), mtime=0))
    with pytest.raises(HostileImageError, match="archive-bomb"):
        unwrap(packed, work, UnpackLimits(max_bytes=3 * MIB))
    assert (work / "unpacked").stat().st_size <= 3 * MIB


def test_a_ratio_below_the_bound_is_accepted_after_16_mib(
    build: Callable[[str, bytes], Path], hostile: ModuleType, work: Path
) -> None:
    packed = build("x", gzip.compress(hostile.mbr() + os.urandom(MIB) + bytes(30 * MIB), mtime=0))
    assert unwrap(packed, work, LIMITS) is not None


def test_unpacking_that_takes_too_long_is_ended(
    build: Callable[[str, bytes], Path], hostile: ModuleType, work: Path
) -> None:
    packed = build("x", gzip.compress(hostile.mbr(), mtime=0))
    with pytest.raises(HostileImageError, match="archive-too-slow"):
        unwrap(packed, work, UnpackLimits(max_bytes=64 * MIB, patience=0.0, min_rate=1 << 60))


def test_the_wait_for_a_disk_of_ours_is_not_put_down_to_the_archive(
    build: Callable[[str, bytes], Path], hostile: ModuleType, work: Path
) -> None:
    patience = 0.5
    packed = build("x", gzip.compress(hostile.mbr(4 * MIB), mtime=0))

    @contextmanager
    def slow_disk(_count: int, _file: Path) -> Iterator[None]:
        time.sleep(2 * patience)
        yield

    limits = UnpackLimits(64 * MIB, patience=patience, min_rate=1 << 60, reserve=slow_disk)
    assert unwrap(packed, work, limits) is not None


def test_room_is_asked_for_before_anything_is_written(
    build: Callable[[str, bytes], Path], hostile: ModuleType, work: Path
) -> None:
    def none_left(count: int, _file: Path) -> NoReturn:
        raise NoSpaceError("cache", f"{count} needed")

    packed = build("x", gzip.compress(hostile.mbr(), mtime=0))
    with pytest.raises(NoSpaceError):
        unwrap(packed, work, UnpackLimits(max_bytes=64 * MIB, reserve=none_left))
    assert (work / "unpacked").stat().st_size == 0


def test_room_is_held_step_by_step_until_all_of_a_step_is_written(
    build: Callable[[str, bytes], Path], hostile: ModuleType, work: Path
) -> None:
    size, held, written = 260 * MIB, list[int](), list[int]()

    @contextmanager
    def reserve(count: int, file: Path) -> Iterator[None]:
        assert held == []
        held.append(count)
        yield
        held.clear()
        written.append(file.stat().st_size)

    packed = build("x", gzip.compress(hostile.put(hostile.mbr(size), 255 * MIB, b"x"), 1, mtime=0))
    unwrap(packed, work, UnpackLimits(2 * size, free_bytes=2 * size, reserve=reserve))
    assert held == []
    assert [255 * MIB < count <= 256 * MIB for count in written] == [True, False]
    assert written[-1] == size
