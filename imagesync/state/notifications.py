"""What has to be told, troubles that were, and messages on their way."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import sqlalchemy as sa

from imagesync.errors import StateError
from imagesync.state.database import insert
from imagesync.state.records import ChangeRecord, MessageRecord, TroubleRecord
from imagesync.state.tables import image_change, outbox, run, trouble


def note(connection: sa.Connection, run_id: str, changes: Iterable[ChangeRecord]) -> None:
    """Note what became of images, in the transaction that notes where they stand."""
    rows = [{name: value for name, value in asdict(one).items() if name != "number"} for one in changes]
    if rows:
        connection.execute(sa.insert(image_change), [row | {"run": run_id} for row in rows])


def changes(connection: sa.Connection, limit: int, *, ended: bool) -> tuple[ChangeRecord, ...]:
    """Return the oldest ``limit`` changes that were not told; with ``ended`` only those of runs that did."""
    wanted = sa.select(image_change).order_by(image_change.c.number).limit(limit)
    if ended:
        wanted = wanted.join(run, run.c.id == image_change.c.run).where(run.c.finished.is_not(None))
    return tuple(ChangeRecord(**row._mapping) for row in connection.execute(wanted))  # noqa: SLF001 - documented name


def prune(connection: sa.Connection, before: datetime) -> None:
    """Forget changes from before ``before``: nobody is there to be told."""
    connection.execute(sa.delete(image_change).where(image_change.c.at < before))


def settle(connection: sa.Connection, told: Sequence[int]) -> None:
    """Forget the changes with these numbers: they are being told.

    Raises:
        StateError: another process was first.
    """
    if told and connection.execute(sa.delete(image_change).where(image_change.c.number.in_(told))).rowcount < len(told):
        raise StateError("notifications", "another process tells them", "run one daemon per state")


def troubles(connection: sa.Connection) -> tuple[TroubleRecord, ...]:
    """Return what is wrong and was told, the oldest first."""
    columns = [column for column in trouble.c if column.name != "key_sha256"]
    rows = connection.execute(sa.select(*columns).order_by(trouble.c.since, trouble.c.key))
    return tuple(TroubleRecord(*row) for row in rows)


def change(
    connection: sa.Connection,
    begun: Iterable[TroubleRecord],
    ended: Collection[str],
    messages: Iterable[MessageRecord],
) -> None:
    """Note troubles that began and ended, with the messages that tell of them."""
    for record in begun:
        row = asdict(record) | {"key_sha256": _hash(record.key)}
        connection.execute(insert(connection, trouble).values(row).on_conflict_do_nothing())
    if ended:
        connection.execute(sa.delete(trouble).where(trouble.c.key_sha256.in_([_hash(key) for key in ended])))
    rows = [{name: value for name, value in asdict(one).items() if name != "number"} for one in messages]
    if rows:
        connection.execute(sa.insert(outbox), rows)


def due(connection: sa.Connection, receiver: str, now: datetime, longest: timedelta) -> MessageRecord | None:
    """Return the oldest message of ``receiver`` whose time has come, and that waits for none before it.

    So has the time of one that would wait longer than ``longest``: it was noted by a clock that was wrong.
    """
    has_come = sa.or_(outbox.c.due <= now, outbox.c.due > now + longest)
    older = outbox.alias()
    same = sa.and_(older.c.receiver == receiver, older.c.subject == outbox.c.subject, older.c.number < outbox.c.number)
    wanted = sa.select(outbox).where(outbox.c.receiver == receiver, has_come, ~sa.exists().where(same))
    row = connection.execute(wanted.order_by(outbox.c.number).limit(1)).one_or_none()
    return MessageRecord(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's documented name


def postpone(connection: sa.Connection, number: int, until: datetime) -> None:
    """Note that a delivery failed."""
    change = {"due": until, "attempts": outbox.c.attempts + 1}
    connection.execute(sa.update(outbox).where(outbox.c.number == number).values(change))


def drop(connection: sa.Connection, number: int) -> None:
    """Forget a message."""
    connection.execute(sa.delete(outbox).where(outbox.c.number == number))


def drop_others(connection: sa.Connection, receivers: Collection[str]) -> int:
    """Forget the messages of receivers that are not among these, and return how many."""
    return connection.execute(sa.delete(outbox).where(outbox.c.receiver.not_in(receivers))).rowcount


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
