"""The target's section of the configuration, as far as the core leaves it to this backend."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagesync.errors import ConfigError

KNOWN = ("link", "lock_timeout", "path")
"""Every key that this backend reads."""

DEFAULT_LOCK_TIMEOUT = 600.0
"""Seconds; an upload of a large image by another process takes minutes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings. ``lock_timeout`` is in seconds: how long another process is waited for.

    ``link`` allows a file to be a link to that of the cache, where nothing speaks against it.
    """

    path: Path
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT
    link: bool = True


def read_settings(settings: Mapping[str, object], target: str) -> Settings:
    """Return the checked settings of ``target``.

    Raises:
        ConfigError: with every problem found.
    """
    problems = tuple(_problems(settings))
    if problems:
        raise ConfigError(f"target {target}", "; ".join(problems), problems=problems)
    timeout = settings.get("lock_timeout", DEFAULT_LOCK_TIMEOUT)
    return Settings(Path(str(settings["path"])), float(str(timeout)), link=settings.get("link") is not False)


def _problems(settings: Mapping[str, object]) -> Iterator[str]:
    for key in sorted(set(settings) - set(KNOWN)):
        near = difflib.get_close_matches(key, KNOWN, n=1, cutoff=0.5)
        yield f"{key}: unknown key, {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(KNOWN)}"
    yield from _path_problems(settings.get("path"))
    timeout = settings.get("lock_timeout", 1.0)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):
        yield f"lock_timeout: must be a number of seconds above 0, not {timeout!r}"
    if not isinstance(settings.get("link", True), bool):
        yield f"link: must be true or false, not {settings['link']!r}"


def _path_problems(path: object) -> Iterator[str]:
    if path is None:
        yield "path: is missing, give the directory that holds the images"
    elif not isinstance(path, str | Path) or not str(path).strip() or "\0" in str(path):
        yield f"path: must be the name of a directory, not {path!r}"
