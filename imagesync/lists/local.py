"""Lists in the file system: a signed message in a file, or a bundle that holds one with its images.

A bundle is a directory that ``imagesync bundle export`` made: the message in ``list``, and below ``images`` the files
that it endorses (``imagesync.images.bundle``).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from imagesync.errors import ForbiddenAddressError
from imagesync.http import redact, split

LIST = "list"
"""The signed message in a bundle."""


def local_path(url: str) -> Path | None:
    """Return the path that a ``file:`` URL names, ``None`` for a URL with another scheme.

    Raises:
        ForbiddenAddressError: it names another host, or no absolute path.
    """
    parts = split(url)
    if parts.scheme.lower() != "file":
        return None
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
        raise ForbiddenAddressError(redact(url), "not the URL of a local file", "write file:///absolute/path")
    return Path(path)


def bundle_of(url: str) -> Path | None:
    """Return the bundle that the URL of a list names, ``None`` for a list that stands alone.

    That is a directory, or the directory of a file called ``list``. Where nothing is any more there was a bundle: what
    is missing from one is never looked for elsewhere.

    Raises:
        ForbiddenAddressError: a ``file:`` URL that names another host, or no absolute path.
    """
    path = local_path(url)
    if path is None or (path.name != LIST and path.is_file()):
        return None
    return path.parent if path.name == LIST and not path.is_dir() else path
