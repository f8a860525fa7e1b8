"""What became of files that were started."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from imagesync.boot.machine import settings
from imagesync.boot.verdict import Verdict
from imagesync.model import Digest, ImageId, ImageKey, ListId
from imagesync.state.database import Database, insert
from imagesync.state.records import BootRecord, settings_of
from imagesync.state.tables import boot_check, image, image_metadata

_PASSED = tuple(str(verdict) for verdict in Verdict if verdict.passed)


class BootChecks:
    """What the state knows of boot checks. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        """Keep an opened database."""
        self._database = database

    def one(self, digest: Digest, machine: str) -> BootRecord | None:
        """Return what became of a file in a machine, ``None`` if it was not started there."""
        where = (boot_check.c.digest == digest) & (boot_check.c.machine == machine)
        with self._database.read() as connection:
            row = connection.execute(sa.select(boot_check).where(where)).one_or_none()
        return BootRecord(**row._mapping) if row else None  # noqa: SLF001 - documented

    def of(self, sources: Collection[Digest]) -> tuple[BootRecord, ...]:
        """Return every check of what was made of ``sources``, the newest first, without their pictures."""
        order = (boot_check.c.at.desc(), boot_check.c.digest, boot_check.c.machine)
        words = (column for column in boot_check.c if column is not boot_check.c.screen)
        query = sa.select(*words).where(boot_check.c.source.in_(sources)).order_by(*order)
        with self._database.read() as connection:
            return tuple(BootRecord(**row._mapping, screen=None) for row in connection.execute(query))  # noqa: SLF001

    def closest(self, digest: Digest | None, source: Digest, asked: str) -> BootRecord | None:
        """Return the check that tells most of an image, whose target has the file ``digest`` for ``source``.

        ``asked`` is what the image asks of its machine there, as ``boot.machine.settings`` has it.
        """
        checked = boot_check.c
        wanted = checked.source == source
        this = (checked.digest == digest) & checked.machine.startswith(f"{asked} ", autoescape=True)
        rank = sa.case(
            (wanted & this, 0),
            (wanted & checked.verdict.not_in(_PASSED), 1),  # may be why the target has it not
            (wanted, 2),
            (this, 3),
            else_=4,
        )
        either = sa.or_(wanted, checked.digest == digest)
        query = sa.select(boot_check).where(either).order_by(rank, checked.at.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return BootRecord(**row._mapping) if row else None  # noqa: SLF001

    def verdicts(self) -> dict[tuple[Digest, str], str]:
        """Return the newest verdict on each file that was started, by what was asked of the machine."""
        with self._database.read() as connection:
            return _verdicts(connection)

    def standing(self, target: str) -> dict[ImageKey, str]:
        """Return the newest verdict on each file that ``target`` has, in the machine that the image asks for there."""
        found = {}
        with self._database.read() as connection:
            known = _verdicts(connection)
            for row in connection.execute(_started_on(target)) if known else ():
                asks = settings(row.properties, row.min_ram, row.format)
                if verdict := known.get((Digest(row.digest), asks)):
                    found[ImageKey(row.owner, ListId(row.list), ImageId(row.image))] = verdict
        return found

    def totals(self) -> dict[str, tuple[int, float]]:
        """Return how many checks are remembered with each verdict, and how many seconds they took together.

        A file has one for each machine and way to run it that it was started in.
        """
        count, spent = sa.func.count(), sa.func.sum(boot_check.c.seconds)
        query = sa.select(boot_check.c.verdict, count, spent).group_by(boot_check.c.verdict)
        with self._database.read() as connection:
            return {verdict: (number, float(seconds)) for verdict, number, seconds in connection.execute(query)}

    def note(self, check: BootRecord) -> None:
        """Insert or replace what became of a file."""
        row = asdict(check)
        keys = [boot_check.c.digest, boot_check.c.machine]
        with self._database.write() as connection:
            change = insert(connection, boot_check).values(row)
            connection.execute(change.on_conflict_do_update(index_elements=keys, set_=row))


def prune(connection: sa.Connection, before: datetime) -> None:
    """Forget checks made before ``before``, but for those of files that a target has."""
    kept = sa.select(image.c.digest).where(image.c.digest.is_not(None))
    connection.execute(sa.delete(boot_check).where(boot_check.c.at < before, boot_check.c.digest.not_in(kept)))


def _verdicts(connection: sa.Connection) -> dict[tuple[Digest, str], str]:
    columns = (boot_check.c.digest, boot_check.c.machine, boot_check.c.verdict)
    rows = connection.execute(sa.select(*columns).order_by(boot_check.c.at))
    return {(Digest(digest), settings_of(machine)): verdict for digest, machine, verdict in rows}


def _started_on(target: str) -> sa.Select[Any]:
    said = image_metadata.c
    columns = (
        image.c.owner,
        image.c.list,
        image.c.image,
        image.c.digest,
        image.c.format,
        said.min_ram,
        said.properties,
    )
    same = (said.target == image.c.target) & (said.key_sha256 == image.c.key_sha256)
    started = image.c.digest.in_(sa.select(boot_check.c.digest))
    return sa.select(*columns).join(image_metadata, same).where(image.c.target == target, started)
