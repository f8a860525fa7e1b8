"""Unpacking what is around an image: OVA, gz, xz, bz2, zst, zip.

Everything is streamed to a file whose name the caller chose; nothing is extracted by name. One level of compression
around an image or an OVA is accepted, and what comes out is as untrusted as what went in.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from imagesync.images import compressed, ova
from imagesync.images.faults import Fault
from imagesync.images.file import ImageFile, check, opened
from imagesync.images.identify import Kind, Wrapper, identify

log = logging.getLogger(__name__)

_STEP = 1 << 20
_HOLE = 64 << 10
_ZEROS = bytes(_HOLE)
_RESERVE_STEP = 256 << 20


def _no_reserve(_length: int, _file: Path) -> AbstractContextManager[object]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """Bounds of one unpacking.

    At most ``max_bytes`` come out, and at most ``ratio`` times the archive's size after the first ``free_bytes``.
    After ``patience`` seconds of processor time the mean rate has to be at least ``min_rate`` bytes per second.
    ``reserve`` is called with a number of bytes before they are written, and the file that they are written to; it may
    raise. What it returns is held while they are written.
    """

    max_bytes: int
    ratio: int = 200
    free_bytes: int = 16 << 20
    patience: float = 120.0
    min_rate: int = 4 << 20
    reserve: Callable[[int, Path], AbstractContextManager[object]] = _no_reserve


def unwrap(source: Path, into: Path, limits: UnpackLimits, subject: str = "") -> Path | None:
    """Unpack ``source`` into the directory ``into`` and return the image's path there, or ``None`` for a bare image.

    Raises:
        UnsupportedFormatError: no format or wrapper that is known; an archive inside an archive.
        HostileImageError: truncated, damaged, a bomb, or an OVA that breaks a rule.
    """
    kind = _kind(source, subject)
    if not isinstance(kind, Wrapper):
        return None
    outer = into / "unpacked"
    _unpack(source, kind, outer, limits, subject)
    inner = _kind(outer, subject or source.name)
    if kind is not Wrapper.TAR and inner is Wrapper.TAR:
        disk = into / "disk"
        _unpack(outer, inner, disk, limits, subject or source.name)
        outer.unlink()
        outer, inner = disk, _kind(disk, subject or source.name)
    if isinstance(inner, Wrapper):
        raise Fault.NESTED_ARCHIVE.error(subject or source.name, f"{inner} in {kind}")
    return outer


def _kind(path: Path, subject: str) -> Kind:
    with opened(path, subject) as file:
        return identify(file)


def _unpack(source: Path, wrapper: Wrapper, into: Path, limits: UnpackLimits, subject: str) -> None:
    log.debug("unpacking %s from %s", wrapper, source.name)
    with opened(source, subject) as file:
        pieces = _disk(file) if wrapper is Wrapper.TAR else compressed.unpacked(file, wrapper)
        _write(file, _bounded(file, pieces, limits), into, limits)


def _disk(file: ImageFile) -> Iterator[bytes]:
    disk = ova.find_disk(file)
    digest = hashlib.new(disk.digest[0] if disk.digest else "sha256", usedforsecurity=False)
    end = disk.member.offset + disk.member.size
    for offset in range(disk.member.offset, end, _STEP):
        piece = file.need(offset, min(_STEP, end - offset))
        if disk.digest:
            digest.update(piece)
        yield piece
    ova.verify(file, disk, digest.hexdigest())


def _bounded(file: ImageFile, pieces: Iterator[bytes], limits: UnpackLimits) -> Iterator[bytes]:
    most = min(limits.max_bytes, max(limits.free_bytes, limits.ratio * file.size))
    # A disk of ours that is slow, or a wait for room on it, says nothing about the archive: only work counts.
    start, total = time.thread_time(), 0
    for piece in pieces:
        total += len(piece)
        late = time.thread_time() - start - limits.patience
        check(
            file,
            (
                (total > most, Fault.ARCHIVE_BOMB, f"more than {most} bytes from {file.size}"),
                (late > total / limits.min_rate, Fault.ARCHIVE_TOO_SLOW, f"{total} bytes so far"),
            ),
        )
        yield piece


def _write(file: ImageFile, pieces: Iterator[bytes], into: Path, limits: UnpackLimits) -> None:
    total = reserved = 0
    with into.open("xb") as out, ExitStack() as step:
        for piece in pieces:
            while reserved < total + len(piece):
                step.close()
                step.enter_context(limits.reserve(_RESERVE_STEP, into))
                reserved += _RESERVE_STEP
            _sparsely(out, piece)
            total += len(piece)
        check(file, ((total == 0, Fault.EMPTY, "inside the archive"),))
        out.truncate(total)


def _sparsely(out: IO[bytes], piece: bytes) -> None:
    """Write ``piece`` with holes for zeros, so that a mostly empty disk stays small."""
    view = memoryview(piece)
    for start in range(0, len(view), _HOLE):
        block = view[start : start + _HOLE]
        if block == _ZEROS[: len(block)]:
            out.seek(len(block), 1)
        else:
            out.write(block)
