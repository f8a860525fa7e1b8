"""Conversion by qemu-img, of what ``imagesync.images.inspect`` accepted and of nothing else.

No format is ever left to qemu-img's probing, no name is ever interpreted: input and output drivers are fixed by
options, backing chains are cut, paths are absolute and chosen by us. The output is inspected like any other image.
"""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagesync.backend import Progress
from imagesync.errors import (
    ContentError,
    ConversionError,
    ImagesyncError,
    NoSpaceError,
    SourceError,
    UnsupportedFormatError,
)
from imagesync.images import stamp
from imagesync.images.artifact import ConversionLimits, ConversionOptions
from imagesync.images.confine import Limits, confine, environment, find
from imagesync.images.faults import Fault
from imagesync.images.file import opened
from imagesync.images.identify import identify
from imagesync.images.inspect import TIB, Inspection, inspect
from imagesync.images.process import Outcome, Watch, answer, run
from imagesync.model import Digest, Format

log = logging.getLogger(__name__)

_GIB = 1 << 30
_MIB = 1 << 20

_OLDEST = (5, 1)
"""The oldest QEMU that knows every option used here: zstd in qcow2 came with it. Asked only where one failed."""

# vpc: Virtual PC and Hyper-V disagree about the size of one disk, so the larger is asked for by name.
_INPUT: Mapping[Format, str] = {
    Format.RAW: "",
    Format.QCOW2: ",backing=",
    Format.VMDK: ",backing=",
    Format.VDI: "",
    Format.VHD: ",force_size_calc=current_size",
    Format.VHDX: "",
}
_OUTPUT: Mapping[Format, tuple[str, ...]] = {
    Format.RAW: (),
    Format.QCOW2: ("-o", "compat=1.1"),
    Format.VMDK: ("-o", "subformat=monolithicSparse"),
    Format.VDI: (),
    Format.VHD: ("-o", "subformat=dynamic,force_size=on"),
    Format.VHDX: ("-o", "subformat=dynamic"),
}
_COMPRESSED_OUTPUT: Mapping[Format, tuple[str, ...]] = {
    Format.QCOW2: ("-c", "-o", "compat=1.1,compression_type=zstd"),
    Format.VMDK: ("-o", "subformat=streamOptimized"),
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """What to convert: the inspected file ``source``, to ``into`` in an existing private directory.

    ``identity`` is the SHA-512 of the image as published. Formats that carry random identifiers get ones that are
    derived from it, so that the same image always becomes the same bytes.
    """

    source: Path
    found: Inspection
    into: Path
    target: Format
    identity: Digest
    options: ConversionOptions = field(default_factory=ConversionOptions)
    limits: ConversionLimits = field(default_factory=ConversionLimits)

    @property
    def subject(self) -> str:
        """Return what errors call it."""
        return short_name(self.identity)


def short_name(sha512: Digest) -> str:
    """Return what errors call the image with that digest: enough of it to find it."""
    return f"image {sha512[:16]}"


def convert(conversion: Conversion, progress: Progress) -> Inspection:
    """Convert and return what the output was found to be. ``progress`` counts bytes of the virtual disk.

    On any error, also ``KeyboardInterrupt``, qemu-img is dead and the output is gone when this returns.

    Raises:
        ToolMissingError: qemu-img, setpriv or prlimit is not installed.
        ConversionError: qemu-img failed, was killed, took too long, or wrote something else than asked; or the two
            disks differ, where they are compared.
        HostileImageError: the disk's content would be taken for an image of another format.
        UnsupportedFormatError: there is no conversion from or to that format.
        NoSpaceError: the disk is full.
    """
    if conversion.found.format not in _INPUT or conversion.target not in _OUTPUT:
        detail = f"{conversion.found.format} cannot be converted to {conversion.target}"
        raise UnsupportedFormatError(conversion.subject, detail, "add its format to the target's formats")
    done = False
    try:
        _run(conversion, progress)
        result = _checked(conversion)
        stamp.derive_identifiers(conversion.into, result, conversion.identity)
        if conversion.options.compare:
            _compare(conversion, result, progress)
        done = True
    finally:
        if not done:
            conversion.into.unlink(missing_ok=True)
    return result


def worst_case(virtual_size: int) -> int:
    """Return the most bytes that an image of ``virtual_size`` bytes takes in any format, tables included.

    That is a compressed vmdk of what cannot be compressed: a sector more for each 64 KiB, and its tables.
    """
    return virtual_size + virtual_size // 64 + 16 * _MIB


def command(conversion: Conversion) -> tuple[str, ...]:
    """Return the qemu-img command line, without what confines it.

    Raises:
        ToolMissingError: qemu-img is not installed.
    """
    program = find("qemu-img", conversion.limits.path, "qemu-utils")
    source = _described(conversion.source, conversion.found.format)
    output = _OUTPUT[conversion.target]
    if conversion.options.compress:
        output = _COMPRESSED_OUTPUT.get(conversion.target, output)
    # Without -W: out-of-order writes are no faster and give other bytes each time.
    tail = ("--image-opts", source, str(conversion.into.absolute()))
    return (program, "convert", "-p", "-O", conversion.target.value, *output, *tail)


def _described(path: Path, kind: Format) -> str:
    """Return an image for ``--image-opts``: nothing is left to be found out, or to be followed."""
    name = str(path.absolute()).replace(",", ",,")
    return f"driver={kind},file.driver=file,file.filename={name}{_INPUT[kind]}"


def _run(conversion: Conversion, progress: Progress) -> None:
    size, reported = conversion.found.virtual_size, 0

    def share(done: float) -> None:
        nonlocal reported
        progress(int(done * size) - reported)
        reported = int(done * size)

    _judge(conversion, _supervised(conversion, command(conversion), share))
    share(1.0)


def _compare(conversion: Conversion, result: Inspection, progress: Progress) -> None:
    """Read both disks and refuse the result unless they hold the same."""
    program = find("qemu-img", conversion.limits.path, "qemu-utils")
    disks = (_described(conversion.source, conversion.found.format), _described(conversion.into, result.format))
    outcome = _supervised(conversion, (program, "compare", "-p", "--image-opts", *disks), lambda _: progress(0))
    if (outcome.status, outcome.gave_up) == (1, ""):
        detail = f"qemu-img made a {result.format} that differs from its source"
        raise ConversionError(conversion.subject, detail, "install another version of qemu-img, or check the disk")
    _judge(conversion, outcome)


def _supervised(conversion: Conversion, qemu: tuple[str, ...], share: Callable[[float], None]) -> Outcome:
    limits, size = conversion.limits, conversion.found.virtual_size
    gib = -(-size // _GIB)
    per_gib = limits.cpu_per_gib_compressed if conversion.options.compress else limits.cpu_per_gib
    kernel = Limits(limits.memory, limits.cpu + per_gib * gib, worst_case(size))
    confinement = confine(kernel, conversion.source.absolute(), conversion.into.absolute().parent, limits.path)
    log.debug("%s of %s to %s under %s", qemu[1], conversion.found.format, conversion.target, confinement.name)
    watch = Watch(conversion.into, limits.stall, limits.deadline + limits.deadline_per_gib * gib, share)
    try:
        return run((*confinement.prefix, *qemu), environment(limits.path), watch)
    except OSError as error:
        raise ConversionError(conversion.subject, f"qemu-img cannot be started: {error.strerror}") from error


def _judge(conversion: Conversion, outcome: Outcome) -> None:
    subject, said = conversion.subject, f": {outcome.stderr}" if outcome.stderr else ""
    if "No space left on device" in outcome.stderr or "Disk quota exceeded" in outcome.stderr:
        raise NoSpaceError(subject, f"the disk became full while converting to {conversion.target}", "free some space")
    if outcome.gave_up:
        raise ConversionError(subject, f"qemu-img was stopped, {outcome.gave_up}{said}")
    if outcome.signal:
        name = signal.Signals(outcome.signal).name
        why = " (its processor time was used up)" if outcome.signal == signal.SIGXCPU else ""
        raise ConversionError(subject, f"qemu-img was killed by {name}{why}{said}")
    if outcome.status:
        detail = f"qemu-img ended with status {outcome.status}{said or ' without a word'}"
        raise ConversionError(subject, detail, _advice(conversion.limits.path))


def _advice(path: str) -> str:
    """Return what to do where qemu-img failed because it is too old for what it was asked, else nothing."""
    said = answer((find("qemu-img", path, "qemu-utils"), "--version"), environment(path))
    version = re.search(r"version (\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) >= _OLDEST:
        return ""
    return f"qemu-img {version[1]}.{version[2]} is too old: install {_OLDEST[0]}.{_OLDEST[1]} or later"


def _checked(conversion: Conversion) -> Inspection:
    subject, target, size = conversion.subject, conversion.target, conversion.found.virtual_size
    if target is Format.RAW:
        _refuse_confusing_content(conversion)
    try:
        result = inspect(
            conversion.into, subject=subject, max_virtual_size=max(TIB, 2 * size), bare=target is Format.RAW
        )
    except ImagesyncError as error:
        raise ConversionError(subject, f"qemu-img ended well, but its output is no {target}: {error.detail}") from error
    if result.format != target:
        raise ConversionError(subject, f"qemu-img wrote {result.format} where {target} was asked for")
    if result.virtual_size != size:
        raise ConversionError(subject, f"the disk had {size} bytes and has {result.virtual_size} after conversion")
    return result


def _refuse_confusing_content(conversion: Conversion) -> None:
    """Refuse raw output that somebody could take for another format (the second half of CVE-2024-32498)."""
    try:
        with opened(conversion.into, conversion.subject) as file:
            kind = identify(file, bare=True) if file.size else Format.RAW
    except SourceError as error:
        raise ConversionError(conversion.subject, "qemu-img ended well, but wrote nothing") from error
    except ContentError as error:
        raise Fault.CONTENT_CONFUSION.error(conversion.subject, error.detail) from error
    if kind is not Format.RAW:
        raise Fault.CONTENT_CONFUSION.error(conversion.subject, f"it begins as {kind}")
