"""Where each list stands by the word of its passes: longer than runs are looked back on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from imagesync.state.database import Database, insert
from imagesync.state.records import ListStandingRecord
from imagesync.state.tables import list_standing


class Standings:
    """What the state knows of where lists stand. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        """Keep an opened database."""
        self._database = database

    def all(self) -> dict[str, ListStandingRecord]:
        """Return where each list stands of which a pass said something, by subscription."""
        with self._database.read() as connection:
            return _all(connection)

    def note(self, verdicts: Mapping[str, str], began: datetime, ended: datetime, *, good: bool) -> None:
        """Note what a pass said of lists, by subscription, and whether it was good."""
        with self._database.write() as connection:
            known = _all(connection)
            for subscription, verdict in verdicts.items():
                before = known.get(subscription, ListStandingRecord("", began, None))
                # Not later than it began: a clock that was ahead must not tell of a verdict that is yet to come.
                since = min(before.since, began) if before.verdict == verdict else began
                row = {"verdict": verdict, "since": since, "last": ended, "good": ended if good else before.good}
                change = insert(connection, list_standing).values(subscription=subscription, **row)
                connection.execute(
                    change.on_conflict_do_update(index_elements=[list_standing.c.subscription], set_=row)
                )


def prune(connection: sa.Connection, before: datetime) -> None:
    """Forget lists of which no pass said anything since ``before``."""
    connection.execute(sa.delete(list_standing).where(list_standing.c.last < before))


def _all(connection: sa.Connection) -> dict[str, ListStandingRecord]:
    rows = connection.execute(sa.select(list_standing))
    return {row.subscription: ListStandingRecord(row.verdict, row.since, row.good) for row in rows}
