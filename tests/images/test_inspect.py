"""What is accepted, and what is refused by which name."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from imagesync.errors import HostileImageError, ImagesyncError, UnreachableError, UnsupportedFormatError
from imagesync.images.archive import UnpackLimits, unwrap
from imagesync.images.faults import Fault
from imagesync.images.inspect import inspect
from imagesync.model import Format

MIB = 1 << 20
GIB = 1 << 30

EXPECTED = {
    "raw": Format.RAW,
    "qcow2": Format.QCOW2,
    "vmdk": Format.VMDK,
    "vdi": Format.VDI,
    "vpc": Format.VHD,
    "vhdx": Format.VHDX,
    "stream": Format.VMDK,
    "fixed": Format.VHD,
    "zstd": Format.QCOW2,
}


def judge(path: Path, work: Path) -> None:
    image = unwrap(path, work, UnpackLimits(max_bytes=GIB))
    inspect(image or path)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_qemu_img_writes_is_known_by_its_bytes(name: str, real: dict[str, Path]) -> None:
    found = inspect(real[name])
    assert (found.format, found.virtual_size) == (EXPECTED[name], 8 * MIB)
    assert found.size == real[name].stat().st_size


def test_a_valid_file_is_accepted(good_name: str, hostile: ModuleType, tmp_path: Path) -> None:
    hostile.sparsely(tmp_path / "file", hostile.GOOD[good_name]())
    judge(tmp_path / "file", tmp_path)


def test_a_hostile_file_is_refused_by_name(hostile_name: str, hostile: ModuleType, tmp_path: Path) -> None:
    case = hostile.CASES[hostile_name]
    case.write(tmp_path / hostile_name)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ImagesyncError) as refused:
        judge(tmp_path / hostile_name, work)
    assert isinstance(refused.value, HostileImageError | UnsupportedFormatError)
    assert refused.value.detail.split(":")[0] == case.fault


def test_hostile_files_are_small(hostile_name: str, hostile: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / hostile_name
    hostile.CASES[hostile_name].write(path)
    assert path.stat().st_blocks * 512 <= 3 * MIB


def test_every_fault_has_a_text_and_most_a_hostile_file(hostile: ModuleType) -> None:
    covered = {case.fault for case in hostile.CASES.values()}
    elsewhere = {"not-a-file", "is-archive", "content-confusion", "archive-too-slow", "second-opinion"}
    assert all(fault.text for fault in Fault)
    assert {fault.value for fault in Fault} - covered - elsewhere == set()


PROBED = [
    b"version=1\n",
    b"version=2\r\n",
    b"version=3\n",
    b"version=4\n",
    b"version=1 \n",
    b"# a comment\nversion=1\n",
    b"#\0\r\n  \r\n \nversion=1\n",
    b"\nversion=1\n",
    b" version=1\n",
    b"#".ljust(501) + b"\nversion=1\n",
    b"#".ljust(502) + b"\nversion=1\n",
]
"""Beginnings of a disk, at the edges of what QEMU takes for a VMDK."""


@pytest.mark.parametrize("start", PROBED)
def test_what_qemu_would_take_for_a_vmdk_is_refused_and_nothing_else(
    start: bytes, build: Callable[[str, bytes], Path]
) -> None:
    path = build("x", start.ljust(MIB, b"\0"))
    said = subprocess.run(["qemu-img", "info", str(path)], capture_output=True, text=True, check=False)
    if "file format: raw" in said.stdout:
        assert inspect(path, bare=True).format is Format.RAW
    else:
        with pytest.raises(HostileImageError, match="vmdk-subformat"):
            inspect(path, bare=True)


def test_qemu_takes_some_of_these_for_a_vmdk_and_some_not(tmp_path: Path) -> None:
    found = set()
    for start in PROBED:
        (tmp_path / "x").write_bytes(start.ljust(MIB, b"\0"))
        found.add(
            subprocess.run(["qemu-img", "info", str(tmp_path / "x")], capture_output=True, check=False).returncode
        )
    assert found == {0, 1}


LONG = MIB - 2048
"""What a line of a descriptor of 1 MiB can have, in bytes."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "line",
    [
        "a=" + " " * LONG + '"x"y',
        "a" * LONG,
        "a" + " " * LONG + "b",
        "RW" + " " * LONG + "x",
        "RW " + "1" * LONG,
        "RW 1 SPARSE " + '"' + "a" * LONG,
        "a=1\n" * (LONG // 4),
        "RW 1 SPARSE\n" * (LONG // 12),
        "#" * LONG,
        'createType="' * (LONG // 12),
    ],
    ids=lambda line: line[:12].replace("\n", "+"),
)
def test_a_vmdk_descriptor_of_1_mib_is_read_in_seconds(
    line: str, build: Callable[[str, bytes], Path], hostile: ModuleType
) -> None:
    image = hostile.vmdk(hint=line, descriptor_size=2047, redundant=2048, directory=2056)
    path = build("x", hostile.put(image, 2 * MIB, b"\0"))
    began = time.process_time()
    with suppress(HostileImageError):
        inspect(path)
    assert time.process_time() - began < 5


def test_names_and_suffixes_do_not_matter(real: dict[str, Path], tmp_path: Path) -> None:
    lying = tmp_path / "image.raw"
    lying.write_bytes(real["qcow2"].read_bytes())
    assert inspect(lying).format is Format.QCOW2


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_only_regular_files_are_read(path: str) -> None:
    with pytest.raises(UnsupportedFormatError, match="not-a-file"):
        inspect(Path(path), subject="it")


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnsupportedFormatError, match="not-a-file"):
        inspect(tmp_path / "pipe")


def test_a_missing_file_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        inspect(tmp_path / "nothing")


def test_an_archive_is_no_image(build: Callable[[str, bytes], Path], hostile: ModuleType) -> None:
    with pytest.raises(UnsupportedFormatError, match="is-archive"):
        inspect(build("x", hostile.ova()))


def test_a_disk_over_the_limit_is_refused(real: dict[str, Path]) -> None:
    with pytest.raises(HostileImageError, match="too-large-disk"):
        inspect(real["qcow2"], max_virtual_size=8 * MIB - 1)


def test_raw_output_needs_no_partition_table(build: Callable[[str, bytes], Path]) -> None:
    assert inspect(build("x", bytes(MIB)), bare=True).format is Format.RAW


def test_a_raw_file_counts_in_whole_sectors(build: Callable[[str, bytes], Path], hostile: ModuleType) -> None:
    assert inspect(build("x", hostile.mbr() + b"x")).virtual_size == MIB + 512


def test_the_openstack_inspector_is_asked_too(build: Callable[[str, bytes], Path], hostile: ModuleType) -> None:
    # Only that inspector takes a line it does not know for a reason to refuse.
    with pytest.raises(HostileImageError, match="second-opinion"):
        inspect(build("x", hostile.vmdk(hint="something unheard of")))


def test_a_huge_sparse_file_is_inspected_without_reading_it(
    build: Callable[[str, bytes], Path], hostile: ModuleType
) -> None:
    path = build("x", hostile.mbr())
    os.truncate(path, 900 * GIB)
    began = time.process_time()
    assert inspect(path).virtual_size == 900 * GIB
    assert time.process_time() - began < 5
