"""What an interrupted download leaves, so that the next attempt asks for the rest only (RFC 9110, 13.1.5 and 14).

Layout in the store, beside the finished entries::

    partial/<sha512>         the first bytes of the file that has this digest, as far as they came
    partial/<sha512>.json    the mark: from which URL, and which version of it

The bytes are never trusted: whoever goes on reads them again, and the SHA-512 of the whole decides. A file without a
mark cannot be gone on with and is removed. Whoever downloads holds a shared lock on the file, as users of entries do.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from imagesync.http import http_date
from imagesync.images.entries import (
    PARTIAL_AREA,
    RECORD_SUFFIX,
    Entry,
    EntryName,
    Record,
    allocated,
    exclusively,
    lock_file,
    record_path,
)
from imagesync.model import Digest

log = logging.getLogger(__name__)

KEPT = timedelta(days=7)
"""How long after its last byte an interrupted download can be gone on with."""

_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')
_SETTLED = timedelta(minutes=1)
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Mark:
    """Which version of what the bytes are of: a strong validator, and the SHA-256 of the URL, which may hold a secret.

    Exactly one of ``etag`` and ``modified`` is given, as the server wrote it.
    """

    url: str
    etag: str = ""
    modified: str = ""

    def headers(self, start: int) -> dict[str, str]:
        """Return what asks for the bytes from ``start`` on, if they are still those of the same file."""
        return {"Range": f"bytes={start}-", "If-Range": self.etag or self.modified}

    def fits(self, headers: Mapping[str, str]) -> bool:
        """Return whether an answer is about the same version. A partial one must repeat the ETag (RFC 9110, 15.3.7)."""
        if self.etag:
            return headers.get("ETag") == self.etag
        return headers.get("Last-Modified", self.modified) == self.modified


def mark_of(url: str, headers: Mapping[str, str]) -> Mark | None:
    """Return the mark for the bytes of an answer, ``None`` without a validator that tells every change.

    A time is one only where it lies well before the answer: else the file may change twice within a second.
    """
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    if _STRONG_TAG.fullmatch(etag):
        return Mark(_hash(url), etag=etag)
    changed, answered = http_date(modified), http_date(headers.get("Date", ""))
    if not etag and changed is not None and answered is not None and answered - changed >= _SETTLED:
        return Mark(_hash(url), modified=modified)
    return None


def is_rest(headers: Mapping[str, str], start: int, size: int) -> bool:
    """Return whether the body is said to be everything from ``start`` on of a file of ``size`` bytes."""
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    return found is not None and tuple(map(int, found.groups())) == (start, size - 1, size)


def _hash(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


# --- beside the file -------------------------------------------------------------------------------------------------
def read_mark(path: Path) -> Mark | None:
    """Return the mark of the bytes at ``path``, ``None`` if there is none that can be read."""
    try:
        mark = Mark(**json.loads(record_path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return mark if mark.etag or mark.modified else None


def kept(path: Path, url: str) -> Mark | None:
    """Return the mark of the bytes at ``path`` if they came from ``url``."""
    mark = read_mark(path)
    return mark if mark is not None and mark.url == _hash(url) else None


def write_mark(path: Path, mark: Mark) -> None:
    """Say of which version the bytes at ``path`` will be. A torn mark is none, and every byte is checked anyway."""
    record_path(path).write_text(json.dumps(asdict(mark)) + "\n", "utf-8")


def drop_mark(path: Path) -> None:
    """Let nobody go on with what is at ``path``."""
    record_path(path).unlink(missing_ok=True)


# --- in the store ----------------------------------------------------------------------------------------------------
@contextmanager
def held(path: Path) -> Iterator[Path]:
    """Yield ``path``, made if necessary and held against eviction; afterwards it stays only if it can be gone on with.

    Call it only while working on the source of that digest: this is what keeps a second writer away.
    """
    descriptor = _held(path)
    try:
        yield path
    finally:
        if read_mark(path) is None or not _size(path):
            _remove(path)
        os.close(descriptor)


def _held(path: Path) -> int:
    while True:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
        # Another process may have swept it between the two steps.
        descriptor = lock_file(path, shared=True, wait=True)
        if descriptor is not None:
            return descriptor


def read_partial(root: Path, name: EntryName) -> Entry | None:
    """Return what there is of an interrupted or running download. Its digest is the one that it should get."""
    path = root / name
    try:
        status = path.lstat()
    except OSError:
        return None
    record = Record(Digest(path.name), status.st_size)
    return Entry(name, path, record, allocated(status), status.st_mtime_ns)


def sweep(root: Path) -> None:
    """Remove what no attempt can or will go on with, as far as nobody is downloading it."""
    directory = root / PARTIAL_AREA
    # The file system's clock: the times of its files are by that, also on a share.
    os.utime(directory)
    oldest = directory.stat().st_mtime - KEPT.total_seconds()
    for path in {each.with_name(each.name.removesuffix(RECORD_SUFFIX)) for each in directory.iterdir()}:
        if not path.exists():
            drop_mark(path)
            continue
        with exclusively(path) as ours:
            if ours and (read_mark(path) is None or path.stat().st_mtime < oldest):
                log.info("removing a download that cannot be gone on with: %s", path.name)
                _remove(path)


def _remove(path: Path) -> None:
    # First the mark: bytes without one are nothing, a mark must never meet other bytes.
    drop_mark(path)
    path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
