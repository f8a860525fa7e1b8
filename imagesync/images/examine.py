"""What would become of a file if a list named it: for people who ask about one, not for a pass."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from imagesync.errors import ContentError
from imagesync.images.archive import UnpackLimits, unwrap
from imagesync.images.convert import worst_case
from imagesync.images.file import opened
from imagesync.images.identify import Wrapper, identify
from imagesync.images.inspect import TIB, Inspection, inspect
from imagesync.model import Digest


@dataclass(frozen=True, slots=True)
class Examination:
    """What a file is. ``wrapper`` names the archive around the image, if there is one.

    Exactly one of ``found`` and ``refusal`` is there. ``size`` is the file's length in bytes, ``sha512`` its digest.
    """

    size: int
    sha512: Digest
    wrapper: Wrapper | None = None
    found: Inspection | None = None
    refusal: ContentError | None = None


def examine(
    path: Path, work: Path, *, subject: str = "", max_virtual_size: int = TIB, unpack_ratio: int = 200
) -> Examination:
    """Return what the file at ``path`` is, by the same rules as in a pass.

    What is inside of an archive is unpacked into the empty directory ``work``. ``subject`` is what errors call the
    file (default: its name); ``max_virtual_size`` is in bytes.

    Raises:
        OSError: the file cannot be read, or ``work`` not written.
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
        limits = UnpackLimits(worst_case(max_virtual_size), ratio=unpack_ratio)
        unpacked = unwrap(path, work, limits, subject)
        found = inspect(unpacked or path, subject=subject, max_virtual_size=max_virtual_size)
    except ContentError as error:
        return Examination(size, digest, wrapper, refusal=error)
    return Examination(size, digest, wrapper, found)
