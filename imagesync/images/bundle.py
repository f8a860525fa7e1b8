"""The images of a bundle, which takes lists to places without a network: ``<bundle>/images/<sha512>``.

Nothing is taken over from names: whoever reads an image compares its bytes with the signed list, as for a download.
Reading follows no links and opens nothing but a name made from the digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from imagesync.backend import Progress
from imagesync.errors import DigestMismatchError, LockedError, NoSpaceError, StoreError, UnreachableError
from imagesync.images.entries import exclusively, sync_directory
from imagesync.images.partial import drop_mark
from imagesync.model import Digest

IMAGES = "images"

_STEP = 1 << 20
_PARTIAL = ".partial"
_NAME = re.compile(r"[0-9a-f]{128}")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def fetch_image(root: Path, sha512: Digest, size: int, into: Path, progress: Progress) -> int:
    """Write the image ``sha512`` of the bundle at ``root`` to ``into``; return 0, because nothing came over a network.

    ``progress`` counts bytes.

    Raises:
        UnreachableError: the bundle does not have it, or it cannot be read.
        DigestMismatchError: SHA-512 or size are not the endorsed ones.
        OSError: ``into`` cannot be written.
    """
    drop_mark(into)  # what a download left there is overwritten
    with _opened(root, sha512) as file:
        copy_verified(file, (sha512, size), into, progress)
    return 0


@contextmanager
def _opened(root: Path, sha512: Digest) -> Iterator[IO[bytes]]:
    try:
        directory = os.open(root / IMAGES, _DIRECTORY | os.O_NOFOLLOW)
        try:
            descriptor = os.open(sha512, _FILE, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        detail = f"the bundle has no image {sha512}: {(error.strerror or '').lower()}"
        raise UnreachableError(str(root), detail, "export the list again and bring the whole bundle") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreachableError(str(root), f"{IMAGES}/{sha512} is no regular file", "export the list again")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def copy_verified(file: IO[bytes], endorsed: tuple[Digest, int], into: Path, progress: Progress) -> None:
    """Copy ``file`` to ``into`` and bring it to the disk; ``endorsed`` are its SHA-512 and size.

    What was in ``into`` is lost. Bytes that are not the endorsed ones do not stay there.

    Raises:
        UnreachableError: it cannot be read.
        DigestMismatchError: the bytes are not the endorsed ones.
        OSError: ``into`` cannot be written.
    """
    sha512, size = endorsed
    found, done = hashlib.sha512(), 0
    progress(0)  # which may raise: whoever was asked to stop wants nothing more
    with into.open("wb") as out:
        for block in _blocks(file, size):
            found.update(block)
            out.write(block)
            done += len(block)
            progress(len(block))
        is_endorsed = (found.hexdigest(), done) == (sha512, size)
        if not is_endorsed:
            out.truncate(0)
        out.flush()
        os.fsync(out.fileno())
    if not is_endorsed:
        detail = f"{done} bytes or more with SHA-512 {found.hexdigest()[:16]}…, the list says {size} and {sha512[:16]}…"
        raise DigestMismatchError(f"image {sha512[:16]}", detail, "the file is damaged or was changed: export it again")


def _blocks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield the content, but one byte more than ``size`` at most."""
    left = size + 1
    try:
        while left > 0 and (block := file.read(min(_STEP, left))):
            left -= len(block)
            yield block
    except OSError as error:
        raise UnreachableError("bundle", f"cannot be read: {(error.strerror or '').lower()}") from error


class Bundle:
    """A bundle that is being made. Everything in it appears by a rename, after its bytes are on the disk."""

    def __init__(self, root: Path) -> None:
        """Make what is missing of the bundle at ``root``.

        Raises:
            StoreError: it cannot be made.
        """
        self.root = root
        self._images = root / IMAGES
        with self.errors():
            self._images.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other exports out.

        Raises:
            LockedError: another one is at work.
        """
        with exclusively(self.root) as ours:
            if not ours:
                raise LockedError(str(self.root), "another export is at work there", "wait until it is done")
            yield

    def has(self, sha512: Digest, size: int) -> bool:
        """Return whether the image is there, whole: it is read, so that what was damaged since is exported again."""
        path = self._images / sha512
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                return False
            with path.open("rb", buffering=0) as file:
                return hashlib.file_digest(file, "sha512").hexdigest() == sha512
        except OSError:
            return False

    def add(self, sha512: Digest, write: Callable[[Path], object]) -> None:
        """Add an image that ``write`` writes to the new file that it is given, verified.

        Raises:
            NoSpaceError: the disk or a quota is full.
            StoreError: the bundle cannot be written.
        """
        self._put(self._images / sha512, write)

    def publish(self, name: str, message: bytes) -> None:
        """Put ``message`` there under ``name``, last of all: from then on it is what a site reads.

        Raises:
            NoSpaceError: the disk or a quota is full.
            StoreError: the bundle cannot be written.
        """

        def write(path: Path) -> None:
            with path.open("xb") as out:
                out.write(message)
                out.flush()
                os.fsync(out.fileno())

        self._put(self.root / name, write)

    def drop_others(self, kept: Collection[str]) -> int:
        """Remove the images that are not among ``kept``, and return how many. What no export made is left alone."""
        with self.errors():
            gone = [path for path in self._images.iterdir() if _NAME.fullmatch(path.name) and path.name not in kept]
            for path in gone:
                path.unlink()
        return len(gone)

    def _put(self, path: Path, write: Callable[[Path], object]) -> None:
        fresh = self._images / _PARTIAL
        with self.errors():
            try:
                fresh.unlink(missing_ok=True)
                write(fresh)
                fresh.replace(path)
                sync_directory(path.parent)
            finally:
                with suppress(OSError):
                    drop_mark(fresh)
                    fresh.unlink(missing_ok=True)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn an ``OSError`` into one of ours.

        Raises:
            NoSpaceError: the disk or a quota is full.
            StoreError: anything else.
        """
        try:
            yield
        except OSError as error:
            text = (error.strerror or "cannot be written").lower()
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise NoSpaceError(str(self.root), text, "free some space, or export to another place") from error
            raise StoreError(str(self.root), text, "check the directory") from error
