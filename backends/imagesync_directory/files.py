"""The bytes of images: copying with a digest, hashing, and whether somebody uses a file.

Decision: a file of the catalogue is never a hard link to the one that was handed over. A guest that is started on the
catalogue's file by mistake, or libvirt giving the file to another user, would then change the cache's file as well,
and with it what other targets get. Where the file system can share blocks copy-on-write (XFS, Btrfs), that is used:
it costs no space and no writing, and the copies are independent. Elsewhere the bytes are copied and holes stay holes.

What is attested was read: the digest is computed from the very buffers that are written, or, for shared blocks, from
the new file. Nothing is taken over from names, sizes or the caller.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from imagesync.backend import Digest, Progress
from imagesync_directory.disk import Disk
from imagesync_directory.entry import Sighting

_CHUNK = 1 << 20
_MODE = 0o444

# QEMU holds byte-range locks on every image that it has open: from byte 100 for what it does, from 200 for what it
# forbids others (block/file-posix.c). A lock for writing over them conflicts with any.
_QEMU_LOCKS = (100, 200)
_NO_LOCKS = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def copy(source: Path, into: Path, disk: Disk, progress: Progress) -> Digest:
    """Copy ``source`` to the new file ``into``, bring it to the disk, and return the SHA-512 of what it holds."""
    with source.open("rb", buffering=0) as reader:
        writer = disk.create(into)
        try:
            cloned = disk.clone(reader.fileno(), writer)
            digest = _hash_all(writer, progress) if cloned else _copy_all(reader.fileno(), writer, disk, progress)
            disk.finish(writer, _MODE)
        finally:
            os.close(writer)
    return digest


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
