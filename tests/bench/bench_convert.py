"""Conversions of an image with 4 GiB of disk and 1.5 GiB of data, against the best line for qemu-img that we know.

Ours is what a pass does: confinement, qemu-img, inspection of the result, identifiers that make it reproducible. The
reference is the bare program with the fastest options for that pair of formats: for uncompressed formats nothing beats
its defaults on a local disk (``-W`` and ``-m`` change nothing that can be measured, ``-t none`` is slower).
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import harness

from imagesync.images.artifact import ConversionLimits, ConversionOptions
from imagesync.images.convert import Conversion, convert
from imagesync.images.inspect import inspect
from imagesync.model import Digest, Format
from imagesync.testing.disks import Disk, Kind, write_disk

SIZE, DATA = 4 << 30, 3 << 29
_PAIRS = ((Kind.VMDK_SPARSE, Format.VMDK, Format.QCOW2), (Kind.QCOW2, Format.QCOW2, Format.RAW))


def measure() -> list[harness.Measurement]:
    """Return our seconds divided by those of qemu-img alone, for each pair of formats.

    Processor time is not compared: that of what runs below bubblewrap is not counted for us.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-convert-") as folder:
        root = Path(folder)
        for kind, source, target in _PAIRS:
            disk = write_disk(root / f"disk{kind.suffix}", kind, Disk("bench", SIZE, data=DATA))
            found.append(_pair(disk, source, target))
            disk.unlink()
    return found


def _pair(disk: Path, source: Format, target: Format) -> harness.Measurement:
    into = disk.with_name(f"result.{target}")
    conversion = Conversion(
        disk,
        inspect(disk, subject="bench", max_virtual_size=SIZE),
        into,
        target,
        Digest("0" * 128),
        ConversionOptions(),
        ConversionLimits(),
    )
    command = ["qemu-img", "convert", "-f", source.value, "-O", target.value, str(disk), str(into)]
    return harness.ratio(
        f"{source} to {target}, 1.5 of 4 GiB / qemu-img",
        lambda: _timed(into, lambda: convert(conversion, lambda _: None)),
        lambda: _timed(into, lambda: subprocess.run(command, check=True)),
        at_most=1.05,
        rounds=9,
    )


def _timed(into: Path, action: Callable[[], object]) -> float:
    os.sync()
    seconds = harness.wall(action)
    into.unlink()
    return seconds
