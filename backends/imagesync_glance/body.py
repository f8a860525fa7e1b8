"""A file as the body of a request: read in blocks, never held as a whole, with its length known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from imagesync.backend import Progress
from imagesync.errors import BackendRefusedError, StoredDigestError

_BLOCK = 1 << 18
"""Bytes. The stall time-out is for one of them, so that small ones tell a slow connection from a dead one."""

_REPORT_EVERY = 1 << 20


class Body:
    """What requests sends with a Content-Length, because it has a length, and can send again from its beginning.

    Reading errors come out as errors of ours: requests would take them for a broken connection.
    """

    def __init__(self, path: Path, size: int, progress: Progress) -> None:
        """Read nothing yet. ``size`` is in bytes."""
        self._path = path
        self._size = size
        self._progress = progress
        self._reported = 0

    def __len__(self) -> int:
        """Return the length in bytes."""
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        """Yield the file from its beginning, exactly as long as it is said to be."""
        sent = 0
        for block in blocks(self._path):
            sent += len(block)
            if sent > self._size:
                break
            if sent - self._reported >= _REPORT_EVERY or sent == self._size:
                self._report(sent)
            yield block
        if sent != self._size:
            raise StoredDigestError(str(self._path), f"has no longer {self._size} bytes", "the upload is repeated")

    def _report(self, sent: int) -> None:
        """Say how much was sent; what is sent again, after a token was renewed, counts once."""
        if sent > self._reported:
            self._progress(sent - self._reported)
            self._reported = sent


def check_size(path: Path, size: int) -> None:
    """Return if the file is there and has ``size`` bytes.

    Raises:
        BackendRefusedError: it cannot be read, or is empty: Glance makes an image of nothing.
        StoredDigestError: it has another size.
    """
    try:
        found = path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    if found != size:
        raise StoredDigestError(str(path), f"has {found} bytes instead of {size}", "the upload is repeated")
    if size == 0:
        raise BackendRefusedError(str(path), "is empty", "an image has at least one byte")


def blocks(path: Path) -> Iterator[bytes]:
    """Yield a file in blocks.

    Raises:
        BackendRefusedError: it cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as reader:
            while block := reader.read(_BLOCK):
                yield block
    except OSError as error:
        raise _unreadable(path, error) from error


def hash_file(path: Path, *algorithms: str) -> dict[str, str]:
    """Return the hashes of a file by algorithm, read once."""
    hashes = {name: hashlib.new(name) for name in algorithms}
    for block in blocks(path):
        for one in hashes.values():
            one.update(block)
    return {name: one.hexdigest() for name, one in hashes.items()}


def _unreadable(path: Path, error: OSError) -> BackendRefusedError:
    return BackendRefusedError(str(path), error.strerror or str(error), "see whether the cache was cleared meanwhile")
