"""The port on a directory."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from imagesync.backend import (
    Backend,
    Capabilities,
    Context,
    Digest,
    Format,
    ImageSpec,
    Metadata,
    OwnedImage,
    Progress,
    Retirement,
    State,
)
from imagesync.errors import BackendConflictError, BackendError, BackendUnavailableError, StoredDigestError
from imagesync_directory.catalogue import Catalogue, partial_name
from imagesync_directory.disk import Disk
from imagesync_directory.entry import Entry, Sighting, begin
from imagesync_directory.faults import translated
from imagesync_directory.files import copy, in_use, look
from imagesync_directory.folder import Folder
from imagesync_directory.names import file_name
from imagesync_directory.settings import Settings, read_settings

LOG = logging.getLogger(__name__)

_Commit = Callable[[Callable[[Catalogue], Catalogue]], None]


def open_backend(settings: Mapping[str, object], context: Context) -> DirectoryTarget:
    """Return a directory target that is opened by entering it.

    Raises:
        ConfigError: with every problem of the settings.
    """
    return DirectoryTarget(read_settings(settings, context.target), context)


class DirectoryTarget:
    """A checked target. Entering makes the directory, if only its parent is there, and finishes what was left."""

    def __init__(self, settings: Settings, context: Context, disk: Disk | None = None) -> None:
        """Do no I/O. ``disk`` is for tests."""
        self._settings = settings
        self._instance = context.instance
        self._disk = disk or Disk()
        self._opened: DirectoryBackend | None = None

    def __enter__(self) -> Backend:
        """Return the opened target.

        Raises:
            BackendUnavailableError: the directory cannot be made or written, or holds a broken catalogue.
        """
        folder = Folder(self._settings.path, self._settings.lock_timeout, self._disk)
        with translated(self._settings.path):
            folder.prepare()
        self._opened = DirectoryBackend(folder, self._instance, link=self._settings.link)
        return self._opened

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the updates that are still in memory.

        Raises:
            BackendError: they cannot be written; only logged when leaving because of another error.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            opened.flush()
        except BackendError as error:
            if kind is None:
                raise
            LOG.warning("updates are lost, the next pass repeats them: %s", error)


class DirectoryBackend:
    """The opened target. See ``imagesync.backend.Backend`` for what each method promises."""

    def __init__(self, folder: Folder, instance: str, *, link: bool = True) -> None:
        """Act on the records of ``instance`` in ``folder``; ``link`` allows links to what is uploaded."""
        self._folder = folder
        self._instance = instance
        self._link = link
        self._updates: dict[str, Metadata] = {}

    def capabilities(self) -> Capabilities:
        """Return that every format is taken; the size is limited by the disk alone."""
        return Capabilities(frozenset(Format))

    def owners(self, vo: str) -> Sequence[str]:  # noqa: ARG002 - the port's signature
        """Return the one owner of a target without projects."""
        return [""]

    def fit(self, metadata: Metadata) -> Metadata:
        """Return ``metadata``: all of it can be held."""
        return metadata

    def owned(self) -> Sequence[OwnedImage]:
        """Return our records, ordered by key.

        Reads the catalogue and the facts of each file. Only a file whose size or time of change differs from what
        the catalogue says is read, once.
        """
        self.flush()
        with translated(self._folder.root):
            mine = [entry for entry in self._folder.read().entries if entry.instance == self._instance]
            found = [(entry, self._look(entry)) for entry in mine]
        self._note([(entry, sighting) for entry, sighting in found if sighting is not None])
        images = [entry.owned(sighting) for entry, sighting in found]
        return tuple(sorted(images, key=lambda image: (image.key, image.created_at, image.ref)))

    def publish(self, ref: str) -> None:
        """Give the image its link and list it as published; its file is verified first if it was touched."""
        with self._change(ref) as (entry, commit):
            if entry is None or not entry.complete:
                raise self._conflict(entry, ref, "is not completely there")
            if entry.state is State.PUBLISHED:
                return
            if not _is_intact(entry, self._look(entry)):
                raise self._conflict(entry, ref, "has other bytes than were uploaded")
            published = entry.moved(State.PUBLISHED)
            commit(lambda catalogue: catalogue.append(published))

    def update(self, ref: str, metadata: Metadata) -> None:
        """Replace name, properties and ``min_ram``; keys that others wrote into the record stay.

        Kept in memory and written with the next change of a state, before the next listing, or on leaving: a new
        version of a list updates every image of it, and each write is of the whole catalogue.
        """
        with translated(self._folder.root):
            entry = self._folder.read().find(self._instance, ref)
        if entry is None:
            raise self._conflict(None, ref, "")
        self._updates[ref] = metadata

    def flush(self) -> None:
        """Write the updates that are still in memory; records that are gone by now are left out."""
        if self._updates:
            with self._change("") as (_, commit):
                commit(lambda catalogue: catalogue)

    def retire(self, ref: str, retirement: Retirement) -> None:
        """Remove the link and mark the record. The file stays: overlays of running guests stand on it."""
        with self._change(ref) as (entry, commit):
            if entry is None or entry.state in (State.PARTIAL, State.STAGED):
                raise self._conflict(entry, ref, "was never published")
            first = entry.retirement
            retired = entry.moved(State.RETIRED, first.followed_by(retirement) if first else retirement)
            commit(lambda catalogue: catalogue.put(retired))

    def delete(self, ref: str) -> None:
        """Remove the record, and its file unless another record has the same.

        Raises:
            BackendConflictError: a running guest has the file open, or another process is uploading it.
        """
        with translated(self._folder.root):
            entry = self._folder.read().find(self._instance, ref)
            if entry is None:
                return
            with self._folder.reserved(entry.fingerprint):
                self._delete(entry)

    def _delete(self, entry: Entry) -> None:
        with self._change(entry.ref) as (_, commit):
            shared = any(other.file == entry.file and other.ref != entry.ref for other in self._folder.read().entries)
            if not shared and in_use(self._folder.root / entry.file):
                raise self._conflict(entry, entry.ref, "is open in a running QEMU")
            commit(lambda catalogue: catalogue.drop(entry.ref))

    # --- upload -------------------------------------------------------------------------------------------------------
    def upload(self, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        """Copy ``data``, or link to it, under its fingerprint. Several records with equal bytes share one file."""
        self.flush()
        with translated(self._folder.root), self._folder.reserved(spec.fingerprint):
            present = self._present(spec)
            if present is not None:
                return present
            self._check_size(spec, data)
            entry = self._begin(spec)
            try:
                return self._fill(entry, spec, data, progress)
            except BaseException:  # also when the pass is asked to stop
                self._abandon(entry)
                raise

    def _present(self, spec: ImageSpec) -> OwnedImage | None:
        """Return the record that already holds what is to be uploaded."""
        for entry in self._folder.read().entries:
            if entry.serves(self._instance, spec) and entry.complete:
                sighting = self._look(entry)
                if sighting is not None and sighting.sha512 == spec.digest:
                    return self._refreshed(entry, spec).owned(sighting)
        return None

    def _refreshed(self, entry: Entry, spec: ImageSpec) -> Entry:
        """Return a staged record with the metadata of now; it may have been staged for an older version of its list."""
        fresh = entry.described(spec.metadata)
        if entry.state is not State.STAGED or fresh == entry:
            return entry
        with self._change(entry.ref) as (_, commit):
            commit(lambda catalogue: catalogue.put(fresh))
        return fresh

    def _check_size(self, spec: ImageSpec, data: Path) -> None:
        size = data.stat().st_size
        if size != spec.size:
            raise StoredDigestError(spec.metadata.name, f"{data} has {size} bytes instead of {spec.size}")

    def _begin(self, spec: ImageSpec) -> Entry:
        """Record what is going to be written, before it is."""
        entry = begin(spec, self._instance, self._choose_file(spec))
        with self._folder.locked():
            before = self._folder.read()
            after = before
            for other in before.entries:
                if other.serves(self._instance, spec) and not other.complete:
                    after = after.drop(other.ref)
            self._folder.commit(before, after.put(entry))
        return entry

    def _choose_file(self, spec: ImageSpec) -> str:
        """Return the first name for the fingerprint that is free or holds the right bytes.

        A file with other bytes is never replaced: it may have been converted by another version of qemu-img, and
        guests may stand on it.
        """
        catalogue = self._folder.read()
        attempt = 0
        while True:
            name = file_name(spec.fingerprint, spec.format, attempt)
            if self._is_usable(name, spec.digest, catalogue):
                return name
            attempt += 1

    def _is_usable(self, name: str, digest: Digest, catalogue: Catalogue) -> bool:
        path = self._folder.root / name
        if not os.path.lexists(path):
            # A record whose file is missing stays broken: its successor has a name, and a ref, of its own.
            return not any(entry.complete for entry in catalogue.entries if entry.file == name)
        users = [entry for entry in catalogue.entries if entry.file == name]
        sighting = None if path.is_symlink() else self._look_at(name, users)
        return sighting is not None and sighting.sha512 == digest

    def _fill(self, entry: Entry, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        users = [other for other in self._folder.read().entries if other.file == entry.file]
        sighting = self._look_at(entry.file, users)
        if sighting is None:
            self._copy(entry, spec, data, progress)
            facts = (self._folder.root / entry.file).stat()
            sighting = Sighting(facts.st_size, facts.st_mtime_ns, spec.digest)
        staged = replace(entry, stored=sighting, size=sighting.size).moved(State.STAGED)
        with self._folder.locked():
            before = self._folder.read()
            self._folder.commit(before, before.put(staged))
        return staged.owned(sighting)

    def _copy(self, entry: Entry, spec: ImageSpec, data: Path, progress: Progress) -> None:
        root, disk = self._folder.root, self._folder.disk
        partial = root / partial_name(entry)
        known = (spec.linkable, spec.digest) if spec.linkable and self._link else None
        digest = copy(data, partial, disk, progress, known)
        if digest != spec.digest:
            hint = "the file changed on its way, or the disk is bad; it is tried again later"
            raise StoredDigestError(spec.metadata.name, f"stored bytes have SHA-512 {digest[:16]}…", hint)
        disk.rename(partial, root / entry.file)
        disk.sync_directory(root)

    def _abandon(self, entry: Entry) -> None:
        """Remove what a failed upload began. If that fails as well, it stays listed as partial."""
        with suppress(OSError, BackendError), self._folder.locked():
            self._folder.disk.unlink(self._folder.root / partial_name(entry))  # first: the disk may be full
            before = self._folder.read()
            self._folder.commit(before, before.drop(entry.ref))

    # --- small steps --------------------------------------------------------------------------------------------------
    @contextmanager
    def _change(self, ref: str) -> Iterator[tuple[Entry | None, _Commit]]:
        """Give our record, and a function that commits a changed catalogue with all updates, under the lock."""
        with translated(self._folder.root), self._folder.locked():
            before = self._folder.read()
            current = before.described(self._instance, self._updates)

            def commit(change: Callable[[Catalogue], Catalogue]) -> None:
                self._folder.commit(before, change(current))
                self._updates.clear()

            yield current.find(self._instance, ref), commit

    def _look(self, entry: Entry) -> Sighting | None:
        """Return what the file of a complete record is now."""
        return self._look_at(entry.file, [entry]) if entry.complete else None

    def _look_at(self, name: str, users: Sequence[Entry]) -> Sighting | None:
        """Return what a file is now, without reading it if one of its records knows."""
        path = f"{self._folder.root}/{name}"  # for every image of a pass: a Path costs more than the question
        try:
            facts = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            return None
        known = (entry.sighting(facts.st_size, facts.st_mtime_ns) for entry in users)
        sighting = next(filter(None, known), None)
        return sighting if sighting is not None and stat.S_ISREG(facts.st_mode) else look(Path(path), sighting)

    def _note(self, found: list[tuple[Entry, Sighting]]) -> None:
        """Remember what changed files were found to be, so that they are read once and not in every pass."""
        fresh = {entry.ref: sighting for entry, sighting in found if sighting not in (entry.stored, entry.observed)}
        if not fresh:
            return
        try:
            with translated(self._folder.root), self._folder.locked():
                before = self._folder.read()
                seen = (entry.seen(fresh[entry.ref]) if entry.ref in fresh else entry for entry in before.entries)
                self._folder.commit(before, replace(before, entries=tuple(seen)))
        except BackendUnavailableError as error:
            LOG.warning("cannot note changed files, they are read again next time: %s", error)

    def _conflict(self, entry: Entry | None, ref: str, what: str) -> BackendConflictError:
        if entry is None:
            return BackendConflictError(ref, "there is no such record of this instance", "observe the target again")
        return BackendConflictError(entry.metadata.name, what, "observe the target again")


def _is_intact(entry: Entry, sighting: Sighting | None) -> bool:
    return sighting is not None and entry.stored is not None and sighting.sha512 == entry.stored.sha512
