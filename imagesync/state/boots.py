"""What became of files that were started."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from imagesync.model import Digest
from imagesync.state.database import Database, insert
from imagesync.state.records import BootRecord
from imagesync.state.tables import boot_check, image

_PASSED = ("login", "kernel", "reading")


def find(connection: sa.Connection, sources: Collection[Digest]) -> tuple[BootRecord, ...]:
    """Return every check of what was made of ``sources``, the newest first, without their pictures."""
    order = (boot_check.c.at.desc(), boot_check.c.digest, boot_check.c.machine)
    words = (column for column in boot_check.c if column is not boot_check.c.screen)
    rows = connection.execute(sa.select(*words).where(boot_check.c.source.in_(sources)).order_by(*order))
    return tuple(BootRecord(**row._mapping, screen=None) for row in rows)  # noqa: SLF001 - documented


def closest(connection: sa.Connection, digest: Digest | None, source: Digest) -> BootRecord | None:
    """Return the check that tells most of an image, whose target has the file ``digest`` for ``source``."""
    checked = boot_check.c
    wanted = checked.source == source
    rank = sa.case(
        (wanted & (checked.digest == digest), 0),
        (wanted & checked.verdict.not_in(_PASSED), 1),  # may be why the target has it not
        (wanted, 2),
        else_=3,
    )
    either = sa.or_(wanted, checked.digest == digest)
    row = connection.execute(sa.select(boot_check).where(either).order_by(rank, checked.at.desc()).limit(1)).first()
    return BootRecord(**row._mapping) if row else None  # noqa: SLF001


def verdicts(connection: sa.Connection) -> dict[Digest, str]:
    """Return the newest verdict on each file that was started."""
    rows = connection.execute(sa.select(boot_check.c.digest, boot_check.c.verdict).order_by(boot_check.c.at))
    return {Digest(digest): verdict for digest, verdict in rows}


def find_for(connection: sa.Connection, digest: Digest, machine: str) -> BootRecord | None:
    """Return the check of a file in a machine, ``None`` if there was none."""
    where = (boot_check.c.digest == digest) & (boot_check.c.machine == machine)
    row = connection.execute(sa.select(boot_check).where(where)).one_or_none()
    return BootRecord(**row._mapping) if row else None  # noqa: SLF001


def totals(connection: sa.Connection) -> dict[str, tuple[int, float]]:
    """Return how many files got each verdict, and how many seconds that took together."""
    count, spent = sa.func.count(), sa.func.sum(boot_check.c.seconds)
    rows = connection.execute(sa.select(boot_check.c.verdict, count, spent).group_by(boot_check.c.verdict))
    return {verdict: (number, float(seconds)) for verdict, number, seconds in rows}


def record(connection: sa.Connection, item: BootRecord) -> None:
    """Insert or replace a check."""
    row = asdict(item)
    change = insert(connection, boot_check).values(row)
    keys = [boot_check.c.digest, boot_check.c.machine]
    connection.execute(change.on_conflict_do_update(index_elements=keys, set_=row))


def prune(connection: sa.Connection, before: datetime) -> None:
    """Forget checks made before ``before``, but for those of files that a target has."""
    kept = sa.select(image.c.digest).where(image.c.digest.is_not(None))
    connection.execute(sa.delete(boot_check).where(boot_check.c.at < before, boot_check.c.digest.not_in(kept)))


class BootChecks:
    """What the state knows of boot checks. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        """Keep an opened database."""
        self._database = database

    def one(self, digest: Digest, machine: str) -> BootRecord | None:
        """Return what became of a file in a machine, ``None`` if it was not started there."""
        with self._database.read() as connection:
            return find_for(connection, digest, machine)

    def of(self, sources: Collection[Digest]) -> tuple[BootRecord, ...]:
        """Return every check of what was made of ``sources``, the newest first, without their pictures."""
        with self._database.read() as connection:
            return find(connection, sources)

    def closest(self, digest: Digest | None, source: Digest) -> BootRecord | None:
        """Return the check that tells most of an image, whose target has the file ``digest`` for ``source``."""
        with self._database.read() as connection:
            return closest(connection, digest, source)

    def verdicts(self) -> Mapping[Digest, str]:
        """Return the newest verdict on each file that was started."""
        with self._database.read() as connection:
            return verdicts(connection)

    def totals(self) -> Mapping[str, tuple[int, float]]:
        """Return how many files got each verdict, and how many seconds that took together."""
        with self._database.read() as connection:
            return totals(connection)

    def note(self, check: BootRecord) -> None:
        """Insert or replace what became of a file."""
        with self._database.write() as connection:
            record(connection, check)
