"""What the tests of image bytes share."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from imagesync.backend import Progress
from imagesync.images.confine import STANDARD_PATH
from imagesync.model import Digest

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


hostile_images = load(ROOT / "fixtures" / "images" / "hostile.py")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for ``hostile_name`` or ``good_name`` each of the generated files in turn."""
    for argument, table in (("hostile_name", hostile_images.CASES), ("good_name", hostile_images.GOOD)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, sorted(table))


@pytest.fixture(scope="session")
def hostile() -> ModuleType:
    return hostile_images


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Write bytes to a named file, sparsely."""

    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        hostile_images.sparsely(path, data)
        return path

    return write


def qemu_img(*arguments: Any) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk of 8 MiB with a partition and some content."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    content = hostile_images.put(hostile_images.mbr(8 << 20), 1 << 20, struct.pack("<65536I", *range(65536)))
    hostile_images.sparsely(path, content)
    return path


@pytest.fixture(scope="session")
def real(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The disk in every format, written by qemu-img."""
    directory = tmp_path_factory.mktemp("real")
    made = {"raw": disk}
    kinds = {
        "qcow2": (),
        "vmdk": (),
        "vdi": (),
        "vpc": ("-o", "subformat=dynamic,force_size=on"),
        "vhdx": (),
        "stream": ("-o", "subformat=streamOptimized"),
        "fixed": ("-o", "subformat=fixed,force_size=on"),
        "zstd": ("-c", "-o", "compression_type=zstd"),
    }
    formats = {"stream": "vmdk", "fixed": "vpc", "zstd": "qcow2"}
    for name, options in kinds.items():
        made[name] = directory / name
        qemu_img("convert", "-f", "raw", "-O", formats.get(name, name), *options, disk, made[name])
    return made


def sha512(path: Path) -> Digest:
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha512").hexdigest())


@pytest.fixture
def digest() -> Callable[[Path], Digest]:
    return sha512


class Fetcher:
    """Stands for the download: copies a file, and counts how often."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.calls = 0

    def __call__(self, into: Path, progress: Progress) -> int:
        self.calls += 1
        shutil.copyfile(self.source, into)
        progress(self.source.stat().st_size)
        return self.source.stat().st_size


@pytest.fixture
def fetcher() -> type[Fetcher]:
    return Fetcher


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[str], str]:
    """Put a shell script in the place of qemu-img, and return the path to look for programs in."""

    def install(script: str) -> str:
        directory = tmp_path / "tools"
        directory.mkdir(exist_ok=True)
        program = directory / "qemu-img"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        # Inside bubblewrap there is only the real system, and none of this.
        (directory / "bwrap").write_text("#!/bin/sh\nexit 1\n")
        (directory / "bwrap").chmod(0o755)
        return f"{directory}:{STANDARD_PATH}"

    return install


@pytest.fixture
def without_qemu(tmp_path: Path) -> str:
    """A path on which everything is but qemu-img."""
    directory = tmp_path / "without-qemu"
    directory.mkdir()
    for program in ("setpriv", "prlimit"):
        (directory / program).symlink_to(str(shutil.which(program, path=STANDARD_PATH)))
    return str(directory)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    point = tmp_path / "small"
    point.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(point)], capture_output=True, check=False
    )
    assert done.returncode == 0, f"this test mounts a tmpfs and has to run as root: {done.stderr.decode()}"
    yield point
    subprocess.run(["umount", str(point)], check=True)
