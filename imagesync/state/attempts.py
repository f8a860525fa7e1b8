"""Which images could not be got, whatever the target: how often, since when, and when to ask again."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from imagesync.model import Digest, ImageId, ListId
from imagesync.state.database import insert
from imagesync.state.records import AttemptRecord
from imagesync.state.tables import attempt


def find_all(connection: sa.Connection) -> tuple[AttemptRecord, ...]:
    """Return every image that could not be got, by list and image."""
    rows = connection.execute(sa.select(attempt).order_by(attempt.c.list, attempt.c.image))
    return tuple(_record(row) for row in rows)


def record(connection: sa.Connection, records: Sequence[AttemptRecord]) -> None:
    """Insert or replace ``records``."""
    for item in records:
        row = _row(item)
        change = insert(connection, attempt).values(row)
        connection.execute(change.on_conflict_do_update(index_elements=[attempt.c.key_sha256], set_=row))


def forget(connection: sa.Connection, keys: Collection[tuple[ListId, ImageId]]) -> None:
    """Remove what is known of ``keys``."""
    for key in keys:
        connection.execute(sa.delete(attempt).where(attempt.c.key_sha256 == _hash(*key)))


def prune(connection: sa.Connection, before: datetime) -> None:
    """Forget what was tried last before ``before``: no list has it any more."""
    connection.execute(sa.delete(attempt).where(attempt.c.last < before))


def _hash(identifier: ListId, image: ImageId) -> str:
    return hashlib.sha256(f"{identifier}\0{image}".encode("utf-8", "replace")).hexdigest()


def _row(item: AttemptRecord) -> dict[str, Any]:
    return {
        "key_sha256": _hash(item.list, item.image),
        "list": item.list,
        "image": item.image,
        "attempted": item.attempted,
        "sha512": item.sha512,
        "failures": item.failures,
        "since": item.since,
        "last": item.last,
        "retry_at": item.retry_at,
        "cause": item.cause,
        "error": item.error,
    }


def _record(row: sa.Row[Any]) -> AttemptRecord:
    return AttemptRecord(
        list=ListId(row.list),
        image=ImageId(row.image),
        attempted=row.attempted,
        sha512=Digest(row.sha512),
        failures=row.failures,
        since=row.since,
        last=row.last,
        retry_at=row.retry_at,
        cause=row.cause,
        error=row.error,
    )
