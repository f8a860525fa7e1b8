"""Errors of the operating system as errors of the port."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagesync.errors import BackendError, BackendRefusedError, BackendUnavailableError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def translated(root: Path) -> Iterator[None]:
    """Turn every ``OSError`` inside into a ``BackendError`` that names the directory.

    Raises:
        BackendRefusedError: no space, quota, too large for the file system.
        BackendUnavailableError: everything else.
    """
    try:
        yield
    except OSError as error:
        raise _fault(root, error) from error


def _fault(root: Path, error: OSError) -> BackendError:
    what = error.strerror or str(error)
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL:
        return BackendRefusedError(str(root), f"{what}{where}", "free some space, or give the directory more")
    if error.errno == errno.EFBIG:
        return BackendRefusedError(str(root), f"{what}{where}", "the file system takes no file of that size")
    if error.errno in _DENIED:
        return BackendUnavailableError(str(root), f"{what}{where}", "let the user of imagesync write there")
    return BackendUnavailableError(str(root), f"{what}{where}", "see whether the file system is mounted and sound")
