"""Every step that changes something on the disk. Nothing else in this package does.

A step either happens or does not. The crash tests wrap a ``Disk``, count its calls, and die before and after each.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS, errno.ETXTBSY}

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}


class Disk:
    """The real one. Every method may raise ``OSError``."""

    def mkdir(self, path: Path) -> None:
        """Make a directory unless it is there."""
        path.mkdir(exist_ok=True)

    def create(self, path: Path) -> int:
        """Open a new file for reading and writing, in place of what is there, and return its descriptor.

        What is there is never opened for writing: it may be a link to a file that others have, too.
        """
        self.unlink(path)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def clone(self, source: int, into: int) -> bool:
        """Share the blocks of ``source`` copy-on-write. Return ``False`` where the file system cannot."""
        try:
            fcntl.ioctl(into, _FICLONE, source)
        except OSError as error:
            if error.errno in _NO_CLONE:
                return False
            raise
        return True

    def link(self, source: Path, path: Path) -> bool:
        """Give ``source`` a second name, in place of what has it. Return ``False`` where that cannot be."""
        self.unlink(path)
        try:
            os.link(source, path, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        return True

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of ``data`` at the current position."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def truncate(self, descriptor: int, size: int) -> None:
        """Set the size; what was not written reads as zeros."""
        os.ftruncate(descriptor, size)

    def finish(self, descriptor: int, mode: int) -> None:
        """Set the permissions and bring the file's bytes to the disk."""
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its final name, in place of what has it."""
        old.rename(new)

    def symlink(self, target: str, path: Path) -> None:
        """Make a symbolic link."""
        path.symlink_to(target)

    def unlink(self, path: Path) -> None:
        """Remove a name. What is absent is fine."""
        with suppress(FileNotFoundError):
            path.unlink()

    def sync_directory(self, path: Path) -> None:
        """Bring the names in a directory to the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
