"""What passes and operators say of floors: versions that were begun with, and how often pins and floors were reset."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from imagesync.lists.admit import compare_versions
from imagesync.model import Digest, Floor, ListId
from imagesync.state.database import Database, insert
from imagesync.state.records import Resets
from imagesync.state.tables import begun_list, list_reset


class Floors:
    """What the state knows of lists that are not accepted yet. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        """Keep an opened database."""
        self._database = database

    def begun(self) -> Mapping[str, Mapping[ListId, Floor]]:
        """Return the versions that were begun with and are not accepted yet, by subscription and list."""
        found: dict[str, dict[ListId, Floor]] = {}
        with self._database.read() as connection:
            for row in connection.execute(sa.select(begun_list)):
                found.setdefault(row.subscription, {})[ListId(row.list)] = Floor(row.version, Digest(row.digest))
        return found

    def resets(self) -> Mapping[str, Resets]:
        """Return how often each subscription was reset that was, by name."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(list_reset))
            return {row.subscription: Resets(row.identifier, row.version) for row in rows}

    def begin(self, subscription: str, identifier: ListId, floor: Floor, since: Resets) -> None:
        """Make a version the floor of its list, unless another pass began with a higher one.

        ``since`` are the resets that the pass knows: if the floor was lifted after them, it stays so.
        """
        key = {"subscription": subscription, "list": identifier}
        row = key | {"version": floor.version, "digest": floor.digest}
        with self._database.write() as connection:
            if resets(connection, subscription).version != since.version:
                return
            known = connection.execute(sa.select(begun_list.c.version).filter_by(**key)).scalar_one_or_none()
            if known is not None and compare_versions(floor.version, known) == -1:
                return
            change = insert(connection, begun_list).values(row)
            columns = [begun_list.c.subscription, begun_list.c.list]
            connection.execute(change.on_conflict_do_update(index_elements=columns, set_=row))


def resets(connection: sa.Connection, subscription: str) -> Resets:
    """Return how often ``subscription`` was reset. Until the transaction ends, nobody can do it."""
    nothing = insert(connection, list_reset).values(subscription=subscription, identifier=0, version=0)
    connection.execute(nothing.on_conflict_do_nothing())
    columns = sa.select(list_reset.c.identifier, list_reset.c.version).filter_by(subscription=subscription)
    return Resets(*connection.execute(columns.with_for_update()).one())


def count(connection: sa.Connection, subscription: str, *, identifier: int = 0, version: int = 0) -> None:
    """Count resets; before anything else of the transaction, so that no pass accepts meanwhile."""
    known = resets(connection, subscription)
    change = sa.update(list_reset).where(list_reset.c.subscription == subscription)
    connection.execute(change.values(identifier=known.identifier + identifier, version=known.version + version))
