"""What an image is and whether it is safe to let any other program read it.

Nothing outside this package opens an image before ``inspect`` accepted it; even ``qemu-img info`` follows references
(CVE-2024-32498). Two readers have to agree: the rules of ``imagesync.images.formats``, and the format inspector that
OpenStack services use themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from imagesync.images.faults import Fault
from imagesync.images.file import Header, ImageFile, check, opened
from imagesync.images.formats import disk, qcow2, vdi, vhd, vhdx, vmdk
from imagesync.images.identify import Wrapper, identify
from imagesync.model import Format

if TYPE_CHECKING:
    from oslo_utils.imageutils.format_inspector import FileInspector

TIB = 1 << 40

_READERS: Mapping[Format, Callable[[ImageFile], Header]] = {
    Format.RAW: disk.read,
    Format.ISO: disk.read,
    Format.QCOW2: qcow2.read,
    Format.VMDK: vmdk.read,
    Format.VDI: vdi.read,
    Format.VHD: vhd.read,
    Format.VHDX: vhdx.read,
}

# The inspector's names for what we read; it knows partition tables as "gpt" and no fixed VHD.
_AGREEMENT: Mapping[Format, tuple[frozenset[str], ...]] = {
    Format.RAW: (frozenset({"gpt"}), frozenset({"raw"})),
    Format.ISO: (frozenset({"iso"}), frozenset({"iso", "gpt"})),
    Format.QCOW2: (frozenset({"qcow2"}),),
    Format.VMDK: (frozenset({"vmdk"}),),
    Format.VDI: (frozenset({"vdi"}),),
    Format.VHD: (frozenset({"vhd"}), frozenset({"gpt"}), frozenset({"raw"})),
    Format.VHDX: (frozenset({"vhdx"}),),
}
_CHECKED_BY_INSPECTOR = frozenset({Format.QCOW2, Format.VMDK})
_HEAD = (1 << 20) + (64 << 10)
_TAIL = 1536  # the footer of a stream-optimized VMDK


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found. ``virtual_size`` is what a guest sees and ``size`` the file's length, both in bytes."""

    format: Format
    virtual_size: int
    size: int
    features: tuple[str, ...] = ()


def inspect(path: Path, *, subject: str = "", max_virtual_size: int = TIB, bare: bool = False) -> Inspection:
    """Return what the image at ``path`` is, after every safety rule held. Only headers are read.

    ``subject`` is what errors call it (default: its file name); ``max_virtual_size`` is in bytes; ``bare`` accepts raw
    bytes without a partition table, which is right only for the output of a conversion.

    Raises:
        UnsupportedFormatError: no disk format that is known and supported, or an archive.
        HostileImageError: it refers to other files, is in two formats, encrypted, damaged, or too large.
        UnreachableError: the file cannot be read.
    """
    try:
        with opened(path, subject) as file:
            return _inspect(file, max_virtual_size, bare=bare)
    except OSError as error:
        raise Fault.DAMAGED.error(subject or path.name, f"cannot be read: {error.strerror}") from error


def _inspect(file: ImageFile, max_virtual_size: int, *, bare: bool) -> Inspection:
    kind = identify(file, bare=bare)
    if isinstance(kind, Wrapper):
        raise Fault.IS_ARCHIVE.error(file.subject, kind.value)
    header = _READERS[kind](file)
    size = header.virtual_size
    check(
        file,
        (
            (size == 0, Fault.EMPTY_DISK, ""),
            (size > max_virtual_size, Fault.TOO_LARGE_DISK, f"{size} bytes, the limit is {max_virtual_size}"),
        ),
    )
    _second_opinion(file, kind)
    return Inspection(kind, size, file.size, header.features)


def _second_opinion(file: ImageFile, kind: Format) -> None:
    """Refuse what the OpenStack inspector reads as something else, or thinks unsafe."""
    from oslo_utils.imageutils.format_inspector import ImageFormatError, SafetyCheckFailed

    try:
        found = _inspectors(file)
        names = frozenset(str(inspector) for inspector in found)
        if names not in _AGREEMENT[kind]:
            raise Fault.TWO_FORMATS.error(file.subject, f"{kind} here, elsewhere {', '.join(sorted(names))}")
        if kind in _CHECKED_BY_INSPECTOR:
            found[0].safety_check()
    except SafetyCheckFailed as error:
        raise Fault.SECOND_OPINION.error(file.subject, ", ".join(sorted(error.failures))) from error
    except (ImageFormatError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise Fault.SECOND_OPINION.error(file.subject, "it cannot read the headers") from error


def _inspectors(file: ImageFile) -> list[FileInspector]:
    """Return the inspectors that match, after showing them only what they look at: the beginning and the end."""
    from oslo_utils.imageutils.format_inspector import InspectWrapper

    wrapper = InspectWrapper(cast(IO[bytes], _ends(file)))
    for _chunk in wrapper:
        pass
    return list(wrapper.formats or ())


def _ends(file: ImageFile) -> Iterator[bytes]:
    step = 64 << 10
    for offset in range(0, min(_HEAD, file.size), step):
        yield file.at(offset, step)
    if file.size > _HEAD:
        yield file.at(max(_HEAD, file.size - _TAIL), _TAIL)
