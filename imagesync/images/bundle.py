"""The images of a bundle, which takes lists to places without a network: ``<bundle>/images/<sha512>``.

Nothing is taken over from names: whoever reads an image compares its bytes with the signed list, as for a download.
Reading follows no links and opens nothing but a name made from the digest.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

from imagesync.backend import Progress
from imagesync.errors import BundleError, DigestMismatchError, LockedError
from imagesync.images.diskerrors import text, translated
from imagesync.images.entries import exclusively, sync
from imagesync.images.partial import drop_mark
from imagesync.model import Digest

IMAGES = "images"

_STEP = 1 << 20
_BRING = "export the list again and bring the whole bundle"
_PARTIAL = ".partial"
_NAME = re.compile(r"[0-9a-f]{128}")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def fetch_image(root: Path, sha512: Digest, size: int, into: Path, progress: Progress) -> int:
    """Write the image ``sha512`` of the bundle at ``root`` to ``into``; return 0, because nothing came over a network.

    ``progress`` counts bytes.

    Raises:
        BundleError: the bundle does not have it, it cannot be read, or SHA-512 or size are not the endorsed ones.
        OSError: ``into`` cannot be written.
    """
    drop_mark(into)  # what a download left there is overwritten
    try:
        with _opened(root, sha512) as file:
            copy_verified(file, (sha512, size), into, progress)
    except DigestMismatchError as error:
        raise BundleError(str(root), f"{error.subject}: {error.detail}", error.hint) from error
    return 0


@contextmanager
def _opened(root: Path, sha512: Digest) -> Iterator[IO[bytes]]:
    directory = _images(root)
    try:
        descriptor = os.open(sha512, _FILE, dir_fd=directory)
    except OSError as error:
        raise BundleError(str(root), f"the bundle has no image {sha512}: {text(error)}", _BRING) from error
    finally:
        os.close(directory)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(str(root), f"{IMAGES}/{sha512} is no regular file", _BRING)
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _images(root: Path) -> int:
    """Open the directory of the images, and nothing that it may be a link to."""
    path = root / IMAGES
    try:
        return os.open(path, _DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if path.is_symlink():
            hint = "put the directory itself there, or name the bundle that it leads to in the url"
            raise BundleError(str(root), f"{IMAGES} is a symbolic link, which is not followed", hint) from error
        raise BundleError(str(root), f"the bundle has no directory {IMAGES}: {text(error)}", _BRING) from error


def copy_verified(file: IO[bytes], endorsed: tuple[Digest, int], into: Path, progress: Progress) -> None:
    """Copy ``file`` to ``into``; ``endorsed`` are its SHA-512 and size.

    What was in ``into`` is lost. Bytes that are not the endorsed ones do not stay there.

    Raises:
        BundleError: it cannot be read.
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
        raise BundleError("bundle", f"cannot be read: {text(error)}", "see whether its disk is sound") from error


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
                sync(fresh)
                fresh.replace(path)
                sync(path.parent)
            finally:
                with suppress(OSError):
                    drop_mark(fresh)
                    fresh.unlink(missing_ok=True)

    def errors(self) -> AbstractContextManager[None]:
        """Return what turns an ``OSError`` into one of ours.

        Raises:
            NoSpaceError: the disk or a quota is full.
            StoreError: anything else.
        """
        return translated("bundle", self.root)
