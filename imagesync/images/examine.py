"""What would become of a file if a list named it: for people who ask about one, not for a pass."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from imagesync.errors import ContentError, NoSpaceError
from imagesync.images.archive import UnpackLimits, unwrap
from imagesync.images.convert import worst_case
from imagesync.images.file import opened
from imagesync.images.identify import Wrapper, identify
from imagesync.images.inspect import TIB, Inspection, inspect
from imagesync.model import Digest


@dataclass(frozen=True, slots=True)
class Examination:
    """What a file is. ``wrapper`` names the archive around the image, if there is one; ``image`` is the disk itself.

    Exactly one of ``found`` and ``refusal`` is there. ``size`` is the file's length in bytes, ``sha512`` its digest.
    """

    size: int
    sha512: Digest
    wrapper: Wrapper | None = None
    found: Inspection | None = None
    refusal: ContentError | None = None
    image: Path | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """A directory to work in, of whose file system ``reserve`` bytes stay free."""

    directory: Path
    reserve: int

    def free(self) -> int:
        """Return how many bytes may be written."""
        status = os.statvfs(self.directory)
        return status.f_bavail * status.f_frsize - self.reserve

    def ask(self, needed: int) -> None:
        """Make sure that ``needed`` bytes may be written.

        Raises:
            NoSpaceError: there is no room for them.
        """
        if (free := self.free()) < needed:
            detail = f"{needed} bytes needed, {max(free, 0)} free beside the {self.reserve} that stay reserved"
            hint = "set TMPDIR to a directory with more room, or lower cache_reserve_bytes"
            raise NoSpaceError(str(self.directory), detail, hint)

    def held(self, needed: int, _file: Path) -> AbstractContextManager[None]:
        """Ask, and keep nothing for what is going to be written: nobody else works here."""
        self.ask(needed)
        return nullcontext()


def examine(
    path: Path, room: Room, *, subject: str = "", max_virtual_size: int = TIB, unpack_ratio: int = 200
) -> Examination:
    """Return what the file at ``path`` is, by the same rules as in a pass.

    What is inside of an archive is unpacked into the empty directory of ``room``. ``subject`` is what errors call the
    file (default: its name); ``max_virtual_size`` is in bytes.

    Raises:
        NoSpaceError: there is no room for what is inside of an archive.
        OSError: the file cannot be read, or the directory not written.
    """
    subject = subject or path.name
    with path.open("rb") as file:
        digest = Digest(hashlib.file_digest(file, "sha512").hexdigest())
    size = path.stat().st_size
    wrapper: Wrapper | None = None
    try:
        with opened(path, subject) as image:
            kind = identify(image)
        wrapper = kind if isinstance(kind, Wrapper) else None
        limits = UnpackLimits(worst_case(max_virtual_size), ratio=unpack_ratio, reserve=room.held)
        unpacked = unwrap(path, room.directory, limits, subject)
        found = inspect(unpacked or path, subject=subject, max_virtual_size=max_virtual_size)
    except NoSpaceError:
        raise  # says nothing about the file
    except ContentError as error:
        return Examination(size, digest, wrapper, refusal=error)
    return Examination(size, digest, wrapper, found, image=unpacked or path)
