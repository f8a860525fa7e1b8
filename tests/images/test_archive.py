"""Unpacking what is around an image."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
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


@pytest.mark.parametrize("name", ["gz", "gz-two-members", "xz", "xz-two-streams", "bz2", "zip"])
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


READ = 64 << 10
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("over", [-4, 0, 4, 8, READ, 3 * READ + 4, None], ids=lambda over: f"{over}")
@pytest.mark.parametrize("program", PACKERS)
def test_two_streams_with_zeros_between_are_read_whole_or_refused_as_the_program_does(
    program: str, over: int | None, hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    disk, pack = hostile.mbr(4096) + os.urandom(6 * READ), PACKERS[program]
    first = pack(disk[: 3 * READ])
    # ``over``: by how much the zeros end behind what is read at once. xz has streams of fours.
    zeros = 0 if over is None else -len(first) % READ + over
    packed = build("x", first + bytes(zeros) + pack(disk[3 * READ :]))

    said = subprocess.run([program, "-dc", str(packed)], capture_output=True, check=False, stdin=subprocess.DEVNULL)

    if said.returncode == 0 and not said.stderr:
        assert said.stdout == disk
        unpacked = unwrap(packed, work, LIMITS)
        assert unpacked is not None
        assert unpacked.read_bytes() == disk
    else:
        assert said.stdout != disk
        with pytest.raises(HostileImageError, match=f"archive-damaged: .*something follows {zeros} zeros"):
            unwrap(packed, work, LIMITS)


@pytest.mark.parametrize("zeros", [1, 2, 512, READ, 5 * READ + 1])
@pytest.mark.parametrize("program", PACKERS)
def test_zeros_may_pad_the_end(
    program: str, zeros: int, hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    unpacked = unwrap(build("x", PACKERS[program](hostile.mbr()) + bytes(zeros)), work, LIMITS)
    assert unpacked is not None
    assert unpacked.read_bytes() == hostile.mbr()


def test_zeros_between_streams_of_xz_are_read_in_fours(
    hostile: ModuleType, build: Callable[[str, bytes], Path], work: Path
) -> None:
    packed = build("x", lzma.compress(hostile.mbr()) + bytes(6) + lzma.compress(b"x"))
    with pytest.raises(HostileImageError, match="something follows 6 zeros"):
        unwrap(packed, work, LIMITS)


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
