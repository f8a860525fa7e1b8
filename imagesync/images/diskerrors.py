"""Errors of our own disk as errors of ours, in one place: the cache and bundles say the same of the same."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagesync.errors import NoSpaceError, StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What says that something does not fit: on the disk, in a quota, in a file of this file system."""


def text(error: OSError) -> str:
    """Return what the system says, as a part of a sentence."""
    return (error.strerror or "cannot be read or written").lower()


@contextmanager
def translated(subject: str, root: Path) -> Iterator[None]:
    """Turn an ``OSError`` of what is below ``root`` into one of ours; ``subject`` is what that is called.

    Raises:
        NoSpaceError: the disk or a quota is full.
        StoreError: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoSpaceError(subject, f"{text(error)}{_free(root)} at {root}", "free some space there") from error
        detail = f"{error.filename or root}: {text(error)}"
        raise StoreError(subject, detail, "check the directory, its owner and its file system") from error


def _free(root: Path) -> str:
    with suppress(OSError):
        status = os.statvfs(root)
        return f", {status.f_bavail * status.f_frsize >> 20} MiB free"
    return ""
