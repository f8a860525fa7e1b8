"""The bytes of images: copying with a digest, linking, hashing, and whether somebody uses a file.

Where the file system can share blocks copy-on-write (XFS, Btrfs), that is done: it costs no space and no writing, and
the copies are independent. Elsewhere the file becomes a second name (hard link) of the one that was handed over, if
the core says that nobody writes to that any more and that its digest is of bytes that were read in this pass. Else the
bytes are copied, and holes stay holes. ADR 0012 has the reasons, and what a link needs to be safe.

What is attested was read: the digest is computed from the very buffers that are written, for shared blocks from the new
file, and for a link by the core, of the same file as it still is. Nothing is taken over from names and sizes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagesync.backend import Digest, FileFacts, Progress
from imagesync_directory.disk import Disk
from imagesync_directory.entry import Sighting

_CHUNK = 1 << 20
_MODE = 0o444

# QEMU holds byte-range locks on every image that it has open: from byte 100 for what it does, from 200 for what it
# forbids others (block/file-posix.c). A lock for writing over them conflicts with any.
_QEMU_LOCKS = (100, 200)
_NO_LOCKS = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


Known = tuple[FileFacts, Digest]
"""What a file was when it had that digest."""


def copy(source: Path, into: Path, disk: Disk, progress: Progress, known: Known | None = None) -> Digest:
    """Make ``into`` a file with the bytes of ``source``, on the disk, and return their SHA-512.

    ``known`` allows it to be a link to ``source``.
    """
    with source.open("rb", buffering=0) as file:
        reader = file.fileno()
        digest = _cloned(reader, into, disk, progress)
        if digest is None and known is not None and _is_linked(reader, source, into, disk, known[0]):
            progress(known[0].size)
            digest = known[1]
        return digest or _copied(reader, into, disk, progress)


def _cloned(reader: int, into: Path, disk: Disk, progress: Progress) -> Digest | None:
    with _created(into, disk) as writer:
        if not disk.clone(reader, writer):
            return None
        digest = _hash_all(writer, progress)
        disk.finish(writer, _MODE)
    return digest


def _copied(reader: int, into: Path, disk: Disk, progress: Progress) -> Digest:
    with _created(into, disk) as writer:
        digest = _copy_all(reader, writer, disk, progress)
        disk.finish(writer, _MODE)
    return digest


@contextmanager
def _created(into: Path, disk: Disk) -> Iterator[int]:
    writer = disk.create(into)
    try:
        yield writer
    finally:
        os.close(writer)


def _is_linked(reader: int, source: Path, into: Path, disk: Disk, facts: FileFacts) -> bool:
    """Link ``into`` to the open ``source`` if nothing speaks against it, and return whether that is done."""
    status = os.fstat(reader)
    # One target, or one guest that writes where it should not, must not reach the files of another target.
    if status.st_nlink != 1 or FileFacts.of(status) != facts or _is_marked(source, into.parent) or in_use(source):
        return False
    if not disk.link(source, into):
        return False
    linked = os.open(into, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        is_same = FileFacts.of(os.fstat(linked)) == facts
        if is_same:
            disk.finish(linked, _MODE)
    finally:
        os.close(linked)
    return is_same


def _is_marked(source: Path, directory: Path) -> bool:
    """Return whether labels or access lists are in use: a copy gets those of its directory, a link keeps its own."""
    with suppress(OSError):
        return bool(os.listxattr(source) or os.listxattr(directory))
    return False


def look(path: Path, known: Sighting | None = None) -> Sighting | None:
    """Return what ``path`` is now, hashing it unless ``known`` fits; ``None`` if there is no such file."""
    try:
        with path.open("rb", buffering=0) as reader:
            facts = os.fstat(reader.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return None
            if known is not None and (known.size, known.mtime_ns) == (facts.st_size, facts.st_mtime_ns):
                return known
            digest = _hash_all(reader.fileno(), lambda _: None)
    except (FileNotFoundError, IsADirectoryError):
        return None
    return Sighting(facts.st_size, facts.st_mtime_ns, digest)


def in_use(path: Path) -> bool:
    """Return whether a QEMU on this host has the file open.

    Stopped guests, other hosts, and file systems without such locks cannot be seen.
    """
    try:
        with path.open("rb", buffering=0) as reader:
            return any(_is_locked(reader.fileno(), start) for start in _QEMU_LOCKS)
    except FileNotFoundError:
        return False


def _is_locked(descriptor: int, start: int) -> bool:
    # struct flock: type, whence, start, length, pid; 64 bytes cover every permission bit of QEMU.
    question = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 64, 0)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, question)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return bool(struct.unpack("@hhqqi4x", answer)[0] != fcntl.F_UNLCK)


def _hash_all(descriptor: int, progress: Progress) -> Digest:
    sha512 = hashlib.sha512()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while chunk := os.read(descriptor, _CHUNK):
        sha512.update(chunk)
        progress(len(chunk))
    return Digest(sha512.hexdigest())


def _copy_all(reader: int, writer: int, disk: Disk, progress: Progress) -> Digest:
    sha512 = hashlib.sha512()
    size = os.fstat(reader).st_size
    zeros = bytes(_CHUNK)
    for start, length, is_hole in _extents(reader, size):
        os.lseek(writer, start, os.SEEK_SET)
        os.lseek(reader, start, os.SEEK_SET)
        for chunk in _zeros(zeros, length) if is_hole else _data(reader, length):
            sha512.update(chunk)
            if not is_hole:
                disk.write(writer, chunk)
            progress(len(chunk))
    disk.truncate(writer, size)
    return Digest(sha512.hexdigest())


def _zeros(zeros: bytes, length: int) -> Iterator[memoryview]:
    for done in range(0, length, len(zeros)):
        yield memoryview(zeros)[: length - done]


def _data(reader: int, length: int) -> Iterator[bytes]:
    while length and (chunk := os.read(reader, min(_CHUNK, length))):
        length -= len(chunk)
        yield chunk


def _extents(reader: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Yield start, length and whether it is a hole, in order, for the whole of a file."""
    position = 0
    while position < size:
        data = _seek(reader, position, os.SEEK_DATA, size)
        if data > position:
            yield position, data - position, True
        end = _seek(reader, data, os.SEEK_HOLE, size)
        if end > data:
            yield data, end - data, False
        position = end


def _seek(reader: int, position: int, whence: int, size: int) -> int:
    try:
        return min(os.lseek(reader, position, whence), size)
    except OSError:  # ENXIO: nothing of that kind follows
        return size
