"""The content-addressed cache of image bytes, shared by runs and processes.

Layout below the root::

    sources/<sha512>                        a file as published
    converted/<sha512>-<format>[-<tag>]     what was made from it; <sha512> is the source's
    <entry>.json                            its side record
    partial/<sha512>                        what came of an interrupted download (``imagesync.images.partial``)
    claims/<n>                              room that somebody is writing into (``imagesync.images.claims``)
    tmp/<n>/                                one private directory per piece of work
    locks/                                  one lock file per source digest and area

An entry appears by a rename within the file system, and is never written again. Nothing waits until it is on the disk:
everything here can be made again. Its record names the run of the kernel that wrote it; in a later one, whoever uses it
reads it first, because the power may have failed in between. Work on an entry is done under its lock, so that two
processes that want the same thing do it once. Whoever uses an entry holds a shared lock on the file itself; eviction
takes only what it can lock exclusively.

A directory target in the same file system may hold a link to an entry (``imagesync_directory.files``). Such an entry
takes no room of its own, and evicting it would free none.

Eviction is by least recent use, over sources and converted results alike; a use is a pass that wanted that entry. What
a pass is going to want of a target's images is noted as used before it downloads the first of them.
Making a converted result uses its source first and the result after, and a later pass finds the result without touching
the source: so of the two the source is the older and goes first, which is right, because the result saves download and
conversion both. Where the ages are equal the source goes first too. What came of an interrupted download was used when
its last byte came: it is worth as much as what was whole then.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from imagesync.backend import FileFacts
from imagesync.errors import NoSpaceError
from imagesync.images import claims, partial
from imagesync.images.claims import Claim
from imagesync.images.diskerrors import translated
from imagesync.images.entries import (
    PARTIAL_AREA,
    RECORD_SUFFIX,
    Entry,
    EntryName,
    Record,
    allocated,
    exclusively,
    lock_file,
    partial_name,
    read_entry,
    record_path,
    write_whole,
)
from imagesync.model import Digest

log = logging.getLogger(__name__)

GIB = 1 << 30
_AREAS = ("sources", "converted", PARTIAL_AREA)
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_MODE = 0o444


class Store:
    """A cache directory. Opening creates it and sweeps what dead processes left."""

    def __init__(self, root: Path, *, max_bytes: int | None = None, reserve_bytes: int = GIB, boot: str = "") -> None:
        """Open the cache at ``root``.

        At most ``max_bytes`` are kept (``None``: no cap), and ``reserve_bytes`` of the file system stay free. ``boot``
        names the run of the kernel, if it is not to be asked.

        Raises:
            StoreError: the directory cannot be made or written.
        """
        self.root = root.absolute()
        self.max_bytes = max_bytes
        self.reserve_bytes = reserve_bytes
        self._boot = boot or _BOOT.read_text("ascii").strip()
        with self.errors():
            for area in (*_AREAS, claims.AREA, "tmp", "locks"):
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

        Call it only while ``working`` on ``name``, with a file whose bytes were read now for the digest in ``record``.
        The record's time is filled in here.

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
                os.fchmod(descriptor, _MODE)
                status = os.fstat(descriptor)
                stamped = replace(record, mtime_ns=status.st_mtime_ns, boot=self._boot)
                file.replace(target)
                write_whole(record_path(target), stamped.to_json(), file.with_name("record"))
            yield Entry(name, target, stamped, allocated(status), status.st_mtime_ns, FileFacts.of(status))
        finally:
            os.close(descriptor)

    def is_settled(self, entry: Entry) -> bool:
        """Return whether the bytes of an entry need not be read before they are used."""
        return entry.record.boot in {"", self._boot}

    def settle(self, entry: Entry) -> None:
        """Note that the bytes of an entry, which is borrowed, were read from the disk and are those of its record."""
        with self.errors(), self.workspace() as work:
            write_whole(record_path(entry.path), replace(entry.record, boot="").to_json(), work / "record")

    # --- room ---------------------------------------------------------------------------------------------------
    @contextmanager
    def room(self, needed: int, file: Path, *, kept: int = 0) -> Iterator[None]:
        """Make room as ``make_room`` does and keep it for what is going to be written to ``file``, until the end.

        Raises:
            NoSpaceError: not enough beside what others are writing, even with everything evicted that nobody uses.
        """
        with ExitStack() as held:
            with self._room_lock():
                self._make_room(needed, kept)
                claim = Claim(needed, kept, str(file), claims.taken(file))
                held.enter_context(self.errors())
                held.enter_context(claims.claimed(self.root, claim))
            yield

    def make_room(self, needed: int, *, kept: int = 0) -> None:
        """Evict until ``needed`` bytes can be written above the reserve, and ``kept`` bytes fit below the cap.

        What others have yet to write is left to them.

        ``needed`` is the worst case (for a conversion: the virtual size); ``kept`` is what is sure to stay.

        Raises:
            NoSpaceError: not enough, even with everything evicted that nobody uses.
        """
        with self._room_lock():
            self._make_room(needed, kept)

    def trim(self) -> None:
        """Evict what nobody uses down to cap and reserve, as far as that goes.

        Raises:
            StoreError: the directory cannot be read or written.
        """
        with suppress(NoSpaceError):
            self.make_room(0)

    def _make_room(self, needed: int, kept: int) -> None:
        if self.max_bytes is not None and kept > self.max_bytes:
            where = f"the cache at {self.root} keeps at most {_size(self.max_bytes)}"
            raise NoSpaceError("cache", f"{_size(kept)} needed, but {where}", "raise cache_max_bytes")
        with self.errors():
            others, others_kept = claims.outstanding(self.root)
            total = self._shrink(needed + others, kept + others_kept)
            free = self._free() - others
        if kept and self.max_bytes is not None and total + kept + others_kept > self.max_bytes:
            detail = f"{_size(kept)} needed of {_size(self.max_bytes)}, and other images use the rest now"
            raise NoSpaceError("cache", detail, "tried again later; raise cache_max_bytes or lower parallel_images")
        if free < needed:
            detail = f"{_size(needed)} needed, {_size(max(free, 0))} free at {self.root}"
            detail += f" beside the {_size(self.reserve_bytes)} that stay reserved"
            detail += f" and {_size(others)} that others are writing" if others else ""
            raise NoSpaceError("cache", detail, "free some space, or lower cache_reserve_bytes")

    def _shrink(self, needed: int, kept: int) -> int:
        """Evict until there is room, and return how many bytes the entries take then. Without a cap nobody counts."""
        if self.max_bytes is None and self._free() >= needed:
            return 0
        candidates = self._by_last_use()
        total = sum(entry.allocated for entry in candidates)
        for entry in candidates:
            over = self.max_bytes is not None and total + kept > self.max_bytes
            if not over and self._free() >= needed:
                break
            total -= entry.allocated if self._evict(entry) else 0
        return total

    def _free(self) -> int:
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize - self.reserve_bytes

    def _by_last_use(self) -> list[Entry]:
        def order(entry: Entry) -> tuple[int, bool, str]:
            return entry.used_ns, not entry.name.startswith("sources/"), entry.name

        return sorted((entry for entry in self.ls() if entry.allocated), key=order)

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
                if not name.startswith(f"{PARTIAL_AREA}/"):  # sweeping looks after those
                    self._drop_if_broken(name)
            self.trim()
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
    @contextmanager
    def _room_lock(self) -> Iterator[None]:
        lock = FileLock(self.root / "locks" / "room")
        with self.errors():
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

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

    def errors(self) -> AbstractContextManager[None]:
        """Return what turns an ``OSError`` into one of ours.

        Raises:
            NoSpaceError: the disk or a quota is full.
            StoreError: anything else.
        """
        return translated("cache", self.root)


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.1f} MiB"
