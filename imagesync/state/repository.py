"""The state as the rest of imagesync sees it. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Self

from imagesync.errors import StateError
from imagesync.model import Accepted, Digest, Fingerprint, Floor, Format, ImageId, ImageKey, ListId
from imagesync.state import (
    acceptance,
    attempts,
    boots,
    floors,
    history,
    images,
    lock,
    notifications,
    passes,
    pauses,
    provenance,
    standings,
)
from imagesync.state.database import Database, connect
from imagesync.state.records import (
    ActionRecord,
    ArtifactRecord,
    AttemptRecord,
    ChangeRecord,
    Evidence,
    ImageRecord,
    ListVersion,
    MessageRecord,
    MetadataRecord,
    PassRecord,
    Pausable,
    PauseRecord,
    Pruned,
    Resets,
    RunRecord,
    StoredList,
    TroubleRecord,
)


class Repository:
    """An opened state. Every method raises ``StateError`` when the database does not do its part."""

    def __init__(self, database: Database, *, readonly: bool) -> None:
        """Keep an opened database; use ``imagesync.state.open_state``."""
        self._database = database
        self._readonly = readonly
        self.boots = boots.BootChecks(database)
        self.floors = floors.Floors(database)
        self.standings = standings.Standings(database)
        self._run = ""

    @classmethod
    def open(cls, url: str, password: str | None, *, readonly: bool) -> Self:
        """Return the state at ``url``; see ``imagesync.state.open_state``."""
        return cls(connect(url, password, readonly=readonly), readonly=readonly)

    def __enter__(self) -> Self:
        """Return the repository itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close every connection."""
        self._database.close()

    @property
    def fresh(self) -> bool:
        """Return whether there was no state before this opening, so that pins and history are not known."""
        return self._database.fresh

    # --- lists ---
    def accepted(self, subscription: str) -> Accepted | None:
        """Return what was accepted last for ``subscription``, ``None`` if nothing ever was."""
        with self._database.read() as connection:
            return acceptance.find(connection, subscription)

    def all_accepted(self) -> tuple[Accepted, ...]:
        """Return what was accepted last for every subscription, also those no longer configured, by name."""
        with self._database.read() as connection:
            return acceptance.find_all(connection)

    def pins(self) -> Mapping[ListId, str]:
        """Return which subscription each list identifier is pinned to, also for those no longer configured."""
        with self._database.read() as connection:
            return acceptance.pins(connection)

    def accept(self, accepted: Accepted, listing: StoredList, since: Resets | None = None) -> None:
        """Make ``accepted`` the last accepted version, pinned; ``listing`` is the message that it came in.

        If another pass accepted a higher version in the meantime, that one stays; so does what was reset ``since``.
        """
        with self._database.write() as connection:
            acceptance.accept(connection, accepted, listing, since)

    def stored(self, subscription: str) -> StoredList | None:
        """Return the message that was accepted last for ``subscription``, ``None`` if none ever was."""
        with self._database.read() as connection:
            return acceptance.stored(connection, subscription)

    def earlier(self, subscription: str) -> Mapping[ListId, tuple[Floor, ...]]:
        """Return the versions that were accepted of the lists which a subscription had before its last one."""
        with self._database.read() as connection:
            return acceptance.earlier(connection, subscription)

    def drop_pin(self, subscription: str) -> bool:
        """Let the next list be another one, and return whether any was accepted; ``Accepted.pinned`` is off then."""
        with self._database.write() as connection:
            return acceptance.drop_pin(connection, subscription)

    def lift_floor(self, subscription: str, at: datetime) -> None:
        """Let the next list be of any version: ``Accepted.version`` is ``None``, or ``is_floor_lifted`` says so."""
        with self._database.write() as connection:
            acceptance.lift_floor(connection, subscription, at)

    def is_floor_lifted(self, subscription: str) -> bool:
        """Return whether the floor was lifted at a time when nothing was accepted, as it still is."""
        with self._database.read() as connection:
            return acceptance.is_floor_lifted(connection, subscription)

    # --- provenance ---
    def versions(self) -> tuple[ListVersion, ...]:
        """Return every list version that was accepted and is still kept, the newest first."""
        with self._database.read() as connection:
            return provenance.versions(connection)

    def versions_of(self, subscription: str, limit: int) -> tuple[ListVersion, ...]:
        """Return the newest ``limit`` list versions that were accepted for one subscription, the newest first."""
        with self._database.read() as connection:
            return provenance.versions(connection, subscription, limit)

    def current_messages(self) -> Mapping[str, str]:
        """Return the SHA-256 of the message that was accepted last for each subscription."""
        with self._database.read() as connection:
            return acceptance.messages(connection)

    def message(self, sha256: str) -> bytes | None:
        """Return an accepted message by its SHA-256, as it was received."""
        with self._database.read() as connection:
            return provenance.content(connection, sha256)

    def evidence(self, sha256: str) -> tuple[Evidence, ...]:
        """Return by what a message was verified when it was accepted first: its path in order, then CRLs."""
        with self._database.read() as connection:
            return provenance.find(connection, sha256)

    # --- images ---
    def images(self, target: str) -> tuple[ImageRecord, ...]:
        """Return every image known on ``target``, ordered by key."""
        with self._database.read() as connection:
            return images.find_all(connection, target)

    def owners(self, target: str) -> frozenset[str]:
        """Return the projects in which images on ``target`` are known."""
        with self._database.read() as connection:
            return images.find_owners(connection, target)

    def record(self, target: str, rows: Sequence[ImageRecord], changes: Iterable[ChangeRecord] = ()) -> None:
        """Insert or update ``rows`` and note the ``changes`` that led to them, all or none.

        A row whose state did not change keeps its ``since``.
        """
        with self._database.write() as connection:
            images.record(connection, target, rows)
            notifications.note(connection, self._run, changes)

    def forget(self, target: str, keys: Collection[ImageKey]) -> None:
        """Remove the records of ``keys`` on ``target``. What is absent is success."""
        with self._database.write() as connection:
            images.forget(connection, target, keys)

    def metadata(self, target: str, key: ImageKey) -> MetadataRecord | None:
        """Return what the record of an image says to its users, ``None`` if it is not known."""
        with self._database.read() as connection:
            return images.find_metadata(connection, target, key)

    def described(self, target: str) -> frozenset[str]:
        """Return of which images on ``target`` that is known, by ``key_digest``."""
        with self._database.read() as connection:
            return images.find_described(connection, target)

    def describe(self, target: str, rows: Sequence[MetadataRecord]) -> None:
        """Insert or replace ``rows``, all or none."""
        if rows:
            with self._database.write() as connection:
                images.describe(connection, target, rows)

    # --- attempts ---
    def attempts(self) -> tuple[AttemptRecord, ...]:
        """Return the images that could not be got, whatever the target, by list and image."""
        with self._database.read() as connection:
            return attempts.find_all(connection)

    def attempted(self, failed: Sequence[AttemptRecord], got: Collection[tuple[ListId, ImageId]]) -> None:
        """Insert or replace ``failed``, and forget what is known of ``got``, all or none."""
        if failed or got:
            with self._database.write() as connection:
                attempts.record(connection, failed)
                attempts.forget(connection, got)

    # --- artifacts ---
    def artifact(self, fingerprint: Fingerprint) -> ArtifactRecord | None:
        """Return the file that was made for ``fingerprint``, ``None`` if it is not known."""
        return self.artifacts((fingerprint,)).get(fingerprint)

    def artifacts(self, fingerprints: Collection[Fingerprint]) -> Mapping[Fingerprint, ArtifactRecord]:
        """Return the files that were made, for those of ``fingerprints`` that are known."""
        with self._database.read() as connection:
            return images.artifacts(connection, fingerprints)

    def made(self, digest: Digest) -> tuple[ArtifactRecord, ...]:
        """Return what files with this digest were made here."""
        with self._database.read() as connection:
            return images.made(connection, digest)

    def remember(self, *artifacts: ArtifactRecord) -> None:
        """Insert or replace ``artifacts``, all or none."""
        with self._database.write() as connection:
            images.remember(connection, artifacts)

    def source_formats(self, digests: Collection[Digest]) -> Mapping[Digest, Format]:
        """Return the formats of those sources that were inspected before, by their SHA-512."""
        with self._database.read() as connection:
            return images.source_formats(connection, digests)

    def sources(self, digests: Collection[Digest]) -> Mapping[Digest, frozenset[str]]:
        """Return the SHA-512 of what files were made from, by the digest of the file, as far as they were made here."""
        with self._database.read() as connection:
            return images.sources(connection, digests)

    # --- history ---
    def begin_run(self, run_id: str, kind: str, at: datetime) -> None:
        """Note that a run began; changes that are recorded from now on are its."""
        with self._database.write() as connection:
            history.begin(connection, run_id, kind, at)
        self._run = run_id

    def finish_run(self, run_id: str, at: datetime, exit: int, report: Mapping[str, Any]) -> None:  # noqa: A002
        """Note that a run ended with the code ``exit``.

        ``report`` is the JSON report; each of ``targets[].actions[]`` that is no ``keep`` can be found by its ``key``
        afterwards.
        """
        with self._database.write() as connection:
            history.finish(connection, run_id, at, (exit, report))

    def last_end(self, *clocks: str, at: datetime) -> datetime | None:
        """Return when the last run ended whose report says one of ``clocks`` of its clock, ``None`` if none did.

        One that was going on ``at`` that time does not count: its end lies after it whatever the clock is.
        """
        with self._database.read() as connection:
            return history.last_end(connection, clocks, at)

    def runs(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest ``limit`` runs, the newest first."""
        with self._database.read() as connection:
            return history.runs(connection, limit)

    def run_heads(self, limit: int) -> tuple[RunRecord, ...]:
        """Return the newest ``limit`` runs without their reports, the newest first."""
        with self._database.read() as connection:
            return history.heads(connection, limit)

    def report(self, run_id: str) -> Mapping[str, Any] | None:
        """Return the report of one run, ``None`` if it has none."""
        with self._database.read() as connection:
            return history.report(connection, run_id)

    def actions(self, key: str, limit: int = 50) -> tuple[ActionRecord, ...]:
        """Return the newest ``limit`` actions about ``key`` (as in the reports), the newest first."""
        with self._database.read() as connection:
            return history.actions(connection, key, limit)

    def actions_about(self, key: str, limit: int = 50) -> tuple[ActionRecord, ...]:
        """Return the newest ``limit`` actions about the image ``list/image``, whoever owns it, the newest first."""
        with self._database.read() as connection:
            return history.actions_about(connection, key, limit)

    def prune(self, before: datetime) -> Pruned:
        """Forget runs, and messages that are no longer current, from before ``before``. Return how many of each."""
        with self._database.write() as connection:
            attempts.prune(connection, before)
            boots.prune(connection, before)
            pauses.prune(connection, before)
            notifications.prune(connection, before)
            standings.prune(connection, before)
            return Pruned(history.prune(connection, before), acceptance.prune(connection, before))

    # --- pauses ---
    def pauses(self) -> tuple[PauseRecord, ...]:
        """Return what is paused, also pauses whose end has come."""
        with self._database.read() as connection:
            return pauses.find_all(connection)

    def pause(self, records: Iterable[PauseRecord]) -> None:
        """Pause, all or none. What is paused already gets another reason and end."""
        with self._database.write() as connection:
            for record in records:
                pauses.put(connection, record)

    def resume(self, scope: Pausable, name: str) -> bool:
        """End a pause and return whether there was one."""
        with self._database.write() as connection:
            return pauses.drop(connection, scope, name)

    # --- targets ---
    def failing(self) -> Mapping[str, datetime]:
        """Return since when each target fails that does."""
        with self._database.read() as connection:
            return pauses.failing(connection)

    def note_targets(self, failed: Collection[str], good: Collection[str], now: datetime) -> None:
        """Note which targets a pass could not work on, and on which it could."""
        with self._database.write() as connection:
            pauses.note(connection, failed, good, now)

    # --- the daemon ---
    def last_passes(self) -> Mapping[str, PassRecord]:
        """Return the daemon's last pass over each subscription that had one, by name, and its last housekeeping."""
        with self._database.read() as connection:
            return passes.find_all(connection)

    def note_pass(self, record: PassRecord) -> None:
        """Make ``record`` the daemon's last pass over its subscription."""
        with self._database.write() as connection:
            passes.note(connection, record)

    def troubles(self) -> tuple[TroubleRecord, ...]:
        """Return what is wrong and was told, the oldest first."""
        with self._database.read() as connection:
            return notifications.troubles(connection)

    def changes(self, limit: int, *, ended: bool) -> tuple[ChangeRecord, ...]:
        """Return the oldest ``limit`` changes of images that were not told; with ``ended`` only those of ended runs."""
        with self._database.read() as connection:
            return notifications.changes(connection, limit, ended=ended)

    def tell(
        self,
        begun: Iterable[TroubleRecord],
        ended: Collection[str],
        messages: Iterable[MessageRecord],
        changes: Iterable[ChangeRecord] = (),
    ) -> None:
        """Note troubles that began and the keys of those that ended, with the messages that tell of them.

        The messages also tell of ``changes``, which are forgotten with that: all or none.
        """
        with self._database.write() as connection:
            notifications.settle(connection, [change.number for change in changes])
            notifications.change(connection, begun, ended, messages)

    def next_message(self, receiver: str, now: datetime, longest: timedelta) -> MessageRecord | None:
        """Return the oldest message of ``receiver`` that is due. None was put off for longer than ``longest``."""
        with self._database.read() as connection:
            return notifications.due(connection, receiver, now, longest)

    def postpone_message(self, number: int, until: datetime) -> None:
        """Note that a message could not be delivered, and when that is tried again."""
        with self._database.write() as connection:
            notifications.postpone(connection, number, until)

    def drop_message(self, number: int) -> None:
        """Forget a message: it was delivered, or never will be."""
        with self._database.write() as connection:
            notifications.drop(connection, number)

    def drop_messages_but_of(self, receivers: Collection[str]) -> int:
        """Forget the messages of receivers that are no longer configured, and return how many."""
        with self._database.write() as connection:
            return notifications.drop_others(connection, receivers)

    def run(self, run_id: str) -> RunRecord | None:
        """Return a run, ``None`` if there is none of that name."""
        with self._database.read() as connection:
            return history.find(connection, run_id)

    # --- lock ---
    def is_locked(self, target: str) -> bool:
        """Return whether a process holds the lock of ``target``."""
        return lock.is_held(self._database, target)

    def lock(self, target: str, now: datetime) -> AbstractContextManager[None]:
        """Return a context manager that holds the lock of ``target``; ``now`` is when it was taken.

        Raises:
            LockedError: on entering: another process holds it; says which, where, and since when.
            StateError: on entering: the lock cannot be taken. On calling: the state was opened for reading.
        """
        if self._readonly:
            raise StateError(self._database.place, "was opened for reading only", "open it for writing to lock")
        return lock.hold(self._database, target, now)
