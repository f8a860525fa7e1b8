"""Random access to a file that nobody vouches for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagesync.errors import UnreachableError
from imagesync.images.faults import Fault


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An opened regular file. ``size`` is in bytes; ``subject`` is what errors call it."""

    path: Path
    subject: str
    size: int
    descriptor: int

    def at(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``offset``: fewer at the end of the file, none beyond it."""
        if not 0 <= offset < self.size:
            return b""
        return os.pread(self.descriptor, length, offset)

    def need(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``.

        Raises:
            HostileImageError: the file ends before.
        """
        data = self.at(offset, length)
        if len(data) != length:
            raise Fault.DAMAGED.error(self.subject, f"it ends before byte {offset + length}")
        return data


@dataclass(frozen=True, slots=True)
class Header:
    """What a format's header says. ``virtual_size`` is in bytes; ``features`` are short words for people."""

    virtual_size: int
    features: tuple[str, ...] = ()


@contextmanager
def opened(path: Path, subject: str = "") -> Iterator[ImageFile]:
    """Open ``path`` for reading; it has to be a regular file (a device or pipe would have no end).

    Raises:
        UnreachableError: it cannot be opened.
        UnsupportedFormatError: it is no regular file.
    """
    name = subject or path.name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UnreachableError(name, f"cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Fault.NOT_A_FILE.error(name)
        yield ImageFile(path, name, status.st_size, descriptor)
    finally:
        os.close(descriptor)


def check(file: ImageFile, rules: tuple[tuple[bool, Fault, str], ...]) -> None:
    """Raise the fault of the first rule that is broken; a rule is (broken, fault, what was found)."""
    for broken, fault, more in rules:
        if broken:
            raise fault.error(file.subject, more)
