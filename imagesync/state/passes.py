"""The daemon's last pass over each subscription, and its last housekeeping."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from imagesync.state.database import insert
from imagesync.state.records import PassRecord
from imagesync.state.tables import last_pass


def find_all(connection: sa.Connection) -> dict[str, PassRecord]:
    """Return the last pass of each subscription that had one, by name, and the last housekeeping."""
    rows = connection.execute(sa.select(last_pass))
    return {row.subscription: PassRecord(**row._mapping) for row in rows}  # noqa: SLF001 - SQLAlchemy's documented name


def note(connection: sa.Connection, record: PassRecord) -> None:
    """Make ``record`` the last pass of its subscription."""
    row = asdict(record)
    change = insert(connection, last_pass).values(row)
    connection.execute(change.on_conflict_do_update(index_elements=[last_pass.c.subscription], set_=row))
