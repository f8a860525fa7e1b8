"""The content-addressed cache of image bytes, shared by runs and processes.

Layout below the root::

    sources/<sha512>                        a file as published
    converted/<sha512>-<format>[-<tag>]     what was made from it; <sha512> is the source's
    <entry>.json                            its side record
    partial/<sha512>                        what came of an interrupted download (``imagesync.images.partial``)
    tmp/<n>/                                one private directory per piece of work
    locks/                                  one lock file per source digest and area

An entry appears by a rename within the file system, after its bytes are on disk. Work on an entry is done under its
lock, so that two processes that want the same thing do it once. Whoever uses an entry holds a shared lock on the file
itself; eviction takes only what it can lock exclusively.

Eviction is by least recent use, over sources and converted results alike; a use is a pass that wanted that entry.
Making a converted result uses its source first and the result after, and a later pass finds the result without touching
the source: so of the two the source is the older and goes first, which is right, because the result saves download and
conversion both. Where the ages are equal the source goes first too. Interrupted downloads go before anything whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from imagesync.errors import NoSpaceError, StoreError
from imagesync.images import partial
from imagesync.images.entries import (
    PARTIAL_AREA,
    RECORD_SUFFIX,
    Entry,
    EntryName,
    Record,
    exclusively,
    lock_file,
    partial_name,
    read_entry,
    record_path,
    sync_directory,
    write_durably,
)
from imagesync.model import Digest

log = logging.getLogger(__name__)

GIB = 1 << 30
_AREAS = ("sources", "converted", PARTIAL_AREA)


class Store:
    """A cache directory. Opening creates it and sweeps what dead processes left."""

    def __init__(self, root: Path, *, max_bytes: int | None = None, reserve_bytes: int = GIB) -> None:
        """Open the cache at ``root``.

        At most ``max_bytes`` are kept (``None``: no cap), and ``reserve_bytes`` of the file system stay free.

        Raises:
            StoreError: the directory cannot be made or written.
        """
        self.root = root.absolute()
        self.max_bytes = max_bytes
        self.reserve_bytes = reserve_bytes
        with self.errors():
            for area in (*_AREAS, "tmp", "locks"):
                (self.root / area).mkdir(mode=0o750, parents=True, exist_ok=True)
            self.sweep()

    # --- use ----------------------------------------------------------------------------------------------------
    @contextmanager
    def borrow(self, name: EntryName) -> Iterator[Entry | None]:
        """Yield an entry, held against eviction, or ``None``. Borrowing counts as use.

        One whose size or time is not what its record says counts as absent; it is replaced when it is made anew, and
        ``prune`` removes it.
        """
        descriptor = lock_file(self.root / name, shared=True, wait=True)
        try:
            entry = None if descriptor is None else read_entry(self.root, name)
            if entry is not None:
                os.utime(record_path(entry.path))
            yield entry
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @contextmanager
    def working(self, name: EntryName) -> Iterator[None]:
        """Hold the right to make an entry; wait for whoever is making it now."""
        lock = self._lock(name)
        with self.errors():
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yield an empty private directory in the store's file system; it is gone afterwards, whatever happens."""
        with self.errors():
            path, descriptor = self._new_workspace()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)

    @contextmanager
    def partial(self, sha512: Digest) -> Iterator[Path]:
        """Yield the file to download into, with what an interrupted attempt left; it stays if it can be gone on with.

        Call it only while ``working`` on the source, and move the file away when it is whole.
        """
        with ExitStack() as held:
            with self.errors():
                path = held.enter_context(partial.held(self.root / partial_name(sha512)))
            yield path

    @contextmanager
    def add(self, name: EntryName, file: Path, record: Record) -> Iterator[Entry]:
        """Move ``file``, which is in a workspace, into the store and yield the entry, held against eviction.

        Call it only while ``working`` on ``name``. The record's time is filled in here.

        Raises:
            NoSpaceError: no room for the record.
            StoreError: the directory cannot be written.
        """
        target = self.root / name
        with self.errors():
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self.errors():
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                os.fsync(descriptor)
                stamped = replace(record, mtime_ns=os.fstat(descriptor).st_mtime_ns)
                file.replace(target)
                sync_directory(target.parent)
                write_durably(record_path(target), stamped.to_json(), file.with_name("record"))
                status = os.fstat(descriptor)
            yield Entry(name, target, stamped, status.st_blocks * 512, status.st_mtime_ns)
        finally:
            os.close(descriptor)

    # --- room ---------------------------------------------------------------------------------------------------
    def make_room(self, needed: int, *, kept: int = 0) -> None:
        """Evict until ``needed`` bytes can be written above the reserve, and ``kept`` bytes fit below the cap.

        ``needed`` is the worst case (for a conversion: the virtual size); ``kept`` is what is sure to stay.

        Raises:
            NoSpaceError: not enough, even with everything evicted that nobody uses.
        """
        if self.max_bytes is not None and kept > self.max_bytes:
            where = f"the cache at {self.root} keeps at most {_size(self.max_bytes)}"
            raise NoSpaceError("cache", f"{_size(kept)} needed, but {where}", "raise cache_max_bytes")
        with self.errors():
            if self.max_bytes is None and self._free() >= needed:
                return
            candidates = self._by_last_use()
            total = sum(entry.allocated for entry in candidates)
            for entry in candidates:
                over = self.max_bytes is not None and total + kept > self.max_bytes
                if not over and self._free() >= needed:
                    return
                total -= entry.allocated if self._evict(entry) else 0
            free = self._free()
        if free < needed:
            detail = f"{_size(needed)} needed, {_size(max(free, 0))} free at {self.root}"
            detail += f" beside the {_size(self.reserve_bytes)} that stay reserved"
            raise NoSpaceError("cache", detail, "free some space, or lower cache_reserve_bytes")

    def _free(self) -> int:
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize - self.reserve_bytes

    def _by_last_use(self) -> list[Entry]:
        def order(entry: Entry) -> tuple[bool, int, bool, str]:
            return entry.is_whole, entry.used_ns, not entry.name.startswith("sources/"), entry.name

        return sorted(self.ls(), key=order)

    def _evict(self, entry: Entry) -> bool:
        """Remove an entry if nobody uses it, and return whether it is gone."""
        with exclusively(entry.path) as ours:
            if ours:
                record_path(entry.path).unlink(missing_ok=True)
                entry.path.unlink(missing_ok=True)
                log.info("evicted %s from the cache", entry.name)
        return ours

    # --- upkeep -------------------------------------------------------------------------------------------------
    def ls(self) -> tuple[Entry, ...]:
        """Return the entries, and what there is of interrupted downloads, by name."""
        with self.errors():
            found = (self._read(name) for name in self._names())
            return tuple(entry for entry in found if entry is not None)

    def discard(self, name: EntryName) -> bool:
        """Remove an entry that must not be used again, unless somebody uses it now; return whether it is gone."""
        with self.errors():
            entry = self._read(name)
            return entry is None or self._evict(entry)

    def _read(self, name: EntryName) -> Entry | None:
        read = partial.read_partial if name.startswith(f"{PARTIAL_AREA}/") else read_entry
        return read(self.root, name)

    def prune(self) -> tuple[EntryName, ...]:
        """Remove leftovers and broken entries, then evict down to cap and reserve. Return what is gone, by name.

        Raises:
            StoreError: the directory cannot be written.
        """
        with self.errors():
            before = set(self._names())
            self.sweep()
            for name in sorted(before):
                self._drop_if_broken(name)
            with suppress(NoSpaceError):
                self.make_room(0)
            return tuple(sorted(before - set(self._names())))

    def verify(self) -> tuple[EntryName, ...]:
        """Read all entries and remove those whose bytes are not what their record says; return their names.

        One that is in use now stays; its user compares digests of its own.

        Raises:
            StoreError: the directory cannot be read or written.
        """
        damaged = [entry for entry in self.ls() if entry.is_whole and self._is_damaged(entry)]
        for entry in damaged:
            log.warning("the cache entry %s is damaged", entry.name)
            self.discard(entry.name)
        return tuple(entry.name for entry in damaged)

    def _is_damaged(self, entry: Entry) -> bool:
        descriptor = lock_file(entry.path, shared=True, wait=True)
        if descriptor is None:
            return False
        with self.errors(), os.fdopen(descriptor, "rb") as file:
            return hashlib.file_digest(file, "sha512").hexdigest() != entry.record.digest

    def sweep(self) -> None:
        """Remove the workspaces of dead processes, and their downloads that nobody can or will go on with."""
        for path in (self.root / "tmp").iterdir():
            with exclusively(path) as ours:
                if ours:
                    log.info("removing what an interrupted process left: %s", path)
                    shutil.rmtree(path, ignore_errors=True)
        partial.sweep(self.root)

    def _names(self) -> Iterator[EntryName]:
        for area in _AREAS:
            paths = {path.with_name(path.name.removesuffix(RECORD_SUFFIX)) for path in (self.root / area).iterdir()}
            yield from (EntryName(f"{area}/{path.name}") for path in sorted(paths))

    def _drop_if_broken(self, name: EntryName) -> None:
        lock = self._lock(name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return
        try:
            if self._read(name) is None:
                log.warning("removing the broken cache entry %s", name)
                record_path(self.root / name).unlink(missing_ok=True)
                (self.root / name).unlink(missing_ok=True)
        finally:
            lock.release()

    # --- plumbing -----------------------------------------------------------------------------------------------
    def _lock(self, name: EntryName) -> FileLock:
        # One per digest: what is made from one source is made in turn.
        return FileLock(self.root / "locks" / name.split("-")[0].replace("/", "-"))

    def _new_workspace(self) -> tuple[Path, int]:
        for number in itertools.count():
            path = self.root / "tmp" / str(number)
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            # Another process may have swept it between the two steps.
            descriptor = lock_file(path, shared=False, wait=True)
            if descriptor is not None:
                return path, descriptor
        raise AssertionError

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn an ``OSError`` into one of ours.

        Raises:
            NoSpaceError: the disk or a quota is full.
            StoreError: anything else.
        """
        try:
            yield
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                free = _size(max(self._free() + self.reserve_bytes, 0))
                detail = f"the disk is full: {free} free at {self.root}"
                raise NoSpaceError("cache", detail, "free some space") from error
            raise StoreError(
                "cache", f"{error.filename or self.root}: {error.strerror}", "check the directory"
            ) from error


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.1f} MiB"
