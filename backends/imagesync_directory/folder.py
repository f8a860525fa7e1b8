"""The directory on the disk: locks, the catalogue file, and making names follow the catalogue.

Every change is: write the catalogue (one rename), then make the names on the disk follow it. Whoever dies in between
is finished by the next one who opens the directory, whatever its instance.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from imagesync.backend import Fingerprint, State
from imagesync.errors import BackendConflictError, BackendUnavailableError
from imagesync_directory.catalogue import FILE, INTERNAL, Catalogue, Encoder, decode, with_links
from imagesync_directory.disk import Disk
from imagesync_directory.entry import Entry

LOG = logging.getLogger(__name__)

_STRIPES = 16
"""Lock files for uploads: a fixed number, because a lock file cannot be removed safely."""


class Folder:
    """A directory with a catalogue. Its methods raise ``OSError`` besides what they name."""

    def __init__(self, root: Path, lock_timeout: float, disk: Disk) -> None:
        """Touch nothing yet. ``lock_timeout`` is in seconds."""
        self.root = root
        self.disk = disk
        self._internal = root / INTERNAL
        self._lock_timeout = lock_timeout
        self._last: tuple[tuple[int, int, int], Catalogue] | None = None
        self._encoder = Encoder()
        self._is_behind = True

    def prepare(self) -> None:
        """Make what is missing, and finish what somebody left half-done.

        Raises:
            BackendUnavailableError: the catalogue cannot be read.
        """
        self.disk.mkdir(self.root)
        self.disk.mkdir(self._internal)
        self.disk.mkdir(self._internal / "partial")
        with self.locked():
            catalogue = self.read()
            self._sweep(catalogue)
            if not (self.root / FILE).exists():
                self._write(catalogue)
            if catalogue.removing or not all(self._points(entry) for entry in catalogue.entries):
                self.commit(catalogue, catalogue)
            self._is_behind = False

    # --- locks --------------------------------------------------------------------------------------------------------
    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the catalogue. Short; nothing else is waited for inside.

        Raises:
            BackendUnavailableError: somebody else held it for too long.
        """
        with self._lock("catalogue.lock") as held:
            if not held:
                hint = "see which process hangs, or raise lock_timeout"
                raise BackendUnavailableError(str(self.root), "another process holds the catalogue's lock", hint)
            yield

    @contextmanager
    def reserved(self, fingerprint: Fingerprint) -> Iterator[None]:
        """Hold the files of a fingerprint, for as long as an upload takes. Taken before the catalogue's lock.

        Raises:
            BackendConflictError: somebody else held it for too long.
        """
        stripe = hashlib.sha256(fingerprint.encode()).digest()[0] % _STRIPES
        with self._lock(f"files-{stripe:x}.lock") as held:
            if not held:
                raise BackendConflictError(str(self.root), "another process is uploading", "it is tried again later")
            yield

    @contextmanager
    def _lock(self, name: str) -> Iterator[bool]:
        lock = FileLock(self._internal / name, timeout=self._lock_timeout)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    # --- the catalogue ------------------------------------------------------------------------------------------------
    def read(self) -> Catalogue:
        """Return the catalogue as it is; needs no lock.

        Raises:
            BackendUnavailableError: there is a file, but it holds no catalogue. It never counts as empty.
        """
        path = self.root / FILE
        try:
            identity = _identity(path)
            if self._last is None or self._last[0] != identity:
                self._last = identity, decode(path.read_bytes())
            return self._last[1]
        except FileNotFoundError:
            return Catalogue()
        except ValueError as error:
            hint = (
                "restore it from a backup; without one, move it away: then images whose files are there and intact are"
                " entered again without copying"
            )
            raise BackendUnavailableError(str(path), f"is no catalogue: {error}", hint) from error

    def commit(self, before: Catalogue, after: Catalogue) -> Catalogue:
        """Write ``after`` in place of ``before``, make the names on the disk follow, and return what is written.

        The caller holds the lock and read ``before`` under it. Only links of records that change are looked at on the
        disk; all of them on opening, and after a commit that failed half-way.
        """
        ours = before.files() | after.files() | before.removing.keys()
        settled = frozenset[str]() if self._is_behind else after.unchanged(before)
        after = with_links(after, lambda name: self._is_free(name, ours), settled)
        settled = frozenset[str]() if self._is_behind else after.unchanged(before)
        self._is_behind = True
        after = self._follow(before, after, settled)
        self._is_behind = False
        return after

    def _follow(self, before: Catalogue, after: Catalogue, settled: frozenset[str]) -> Catalogue:
        """Write ``after`` and make the names on the disk follow, but for the links of ``settled`` records."""
        after = replace(after, removing=self._gone(before, after, settled))
        if after != before:
            self._write(after)
        for entry in after.entries:
            if entry.link and entry.ref not in settled and not self._points(entry):
                self._point(entry.link, entry.file)
        if not after.removing:
            return after
        for name, target in after.removing.items():
            self._remove(name, target)
        self.disk.sync_directory(self.root)
        after = replace(after, removing={})
        self._write(after)
        return after

    def _write(self, catalogue: Catalogue) -> None:
        fresh = self._internal / "catalogue.new"
        writer = self.disk.create(fresh)
        try:
            self.disk.write(writer, self._encoder.encode(catalogue))
            self.disk.finish(writer, 0o644)
        finally:
            os.close(writer)
        self.disk.rename(fresh, self.root / FILE)
        self._last = _identity(self.root / FILE), catalogue
        self.disk.sync_directory(self.root)

    # --- names --------------------------------------------------------------------------------------------------------
    def _gone(self, before: Catalogue, after: Catalogue, settled: frozenset[str]) -> dict[str, str]:
        """Return the names on the disk that the catalogue no longer accounts for, with their targets."""
        names = {**before.removing, **before.names(but=settled)}
        kept = after.names() if names else {}
        return {
            name: target
            for name, target in sorted(item for item in names.items() if item[0] not in kept)
            if os.path.lexists(self.root / name)
        }

    def _is_free(self, name: str, ours: frozenset[str]) -> bool:
        path = self.root / name
        return not os.path.lexists(path) or (path.is_symlink() and str(path.readlink()) in ours)

    def _points(self, entry: Entry) -> bool:
        """Return whether the link of a record is as it should be."""
        if not entry.link:
            return entry.state is not State.PUBLISHED
        try:
            return os.readlink(f"{self.root}/{entry.link}") == entry.file  # noqa: PTH115 - for every image of a pass
        except OSError:
            return False

    def _point(self, link: str, file: str) -> None:
        fresh = self._internal / "link.new"
        self.disk.unlink(fresh)
        self.disk.symlink(file, fresh)
        self.disk.rename(fresh, self.root / link)

    def _remove(self, name: str, target: str) -> None:
        """Remove a name unless somebody put something else there."""
        path = self.root / name
        is_ours = (str(path.readlink()) == target) if path.is_symlink() else (not target and path.is_file())
        if is_ours:
            self.disk.unlink(path)
        elif os.path.lexists(path):
            LOG.warning("%s is not what imagesync put there, and is left alone", path)

    def _sweep(self, catalogue: Catalogue) -> None:
        """Remove what a killed process was writing. Everything in the internal directory is ours."""
        known = {entry.ref for entry in catalogue.entries if not entry.complete}
        for path in (self._internal / "link.new", self._internal / "catalogue.new"):
            if os.path.lexists(path):
                self.disk.unlink(path)
        for path in sorted((self._internal / "partial").iterdir()):
            if path.name not in known and stat.S_ISREG(path.lstat().st_mode):
                self.disk.unlink(path)


def _identity(path: Path) -> tuple[int, int, int]:
    """Return what tells one version of a file from the next: each is a new file."""
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
