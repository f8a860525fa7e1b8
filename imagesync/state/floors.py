"""Versions of lists that a pass began with: a floor that is written before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from imagesync.lists.admit import compare_versions
from imagesync.model import Digest, Floor, ListId
from imagesync.state.database import Database, insert
from imagesync.state.tables import begun_list


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

    def begin(self, subscription: str, identifier: ListId, floor: Floor) -> None:
        """Make a version the floor of its list, unless another pass began with a higher one."""
        key = {"subscription": subscription, "list": identifier}
        row = key | {"version": floor.version, "digest": floor.digest}
        with self._database.write() as connection:
            known = connection.execute(sa.select(begun_list.c.version).filter_by(**key)).scalar_one_or_none()
            if known is not None and compare_versions(floor.version, known) == -1:
                return
            change = insert(connection, begun_list).values(row)
            columns = [begun_list.c.subscription, begun_list.c.list]
            connection.execute(change.on_conflict_do_update(index_elements=columns, set_=row))
