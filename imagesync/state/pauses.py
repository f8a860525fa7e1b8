"""What an operator paused, and since when targets fail."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa

from imagesync.state.database import insert
from imagesync.state.records import Pausable, PauseRecord
from imagesync.state.tables import pause, target_failure


# --- pauses ----------------------------------------------------------------------------------------------------------
def find_all(connection: sa.Connection) -> tuple[PauseRecord, ...]:
    """Return every pause, also those whose end has come, by what is paused."""
    rows = connection.execute(sa.select(pause).order_by(pause.c.scope, pause.c.name))
    return tuple(PauseRecord(**{**row._mapping, "scope": Pausable(row.scope)}) for row in rows)  # noqa: SLF001 - as documented


def put(connection: sa.Connection, record: PauseRecord) -> None:
    """Insert or replace a pause."""
    row = asdict(record) | {"scope": str(record.scope)}
    change = insert(connection, pause).values(row)
    connection.execute(change.on_conflict_do_update(index_elements=[pause.c.scope, pause.c.name], set_=row))


def drop(connection: sa.Connection, scope: Pausable, name: str) -> bool:
    """Remove a pause and return whether there was one."""
    return bool(connection.execute(sa.delete(pause).where(pause.c.scope == str(scope), pause.c.name == name)).rowcount)


def prune(connection: sa.Connection, before: datetime) -> None:
    """Forget pauses that ended before ``before``."""
    connection.execute(sa.delete(pause).where(pause.c.until < before))


# --- failures of targets ---------------------------------------------------------------------------------------------
def failing(connection: sa.Connection) -> dict[str, datetime]:
    """Return since when each target fails that does."""
    return {row.target: row.since for row in connection.execute(sa.select(target_failure))}


def note(connection: sa.Connection, failed: Collection[str], good: Collection[str], now: datetime) -> None:
    """Note which targets failed, keeping since when, and which did not."""
    for target in failed:
        row = insert(connection, target_failure).values(target=target, since=now)
        connection.execute(row.on_conflict_do_nothing())
    connection.execute(sa.delete(target_failure).where(target_failure.c.target.in_(good)))
