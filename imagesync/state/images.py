"""Images on targets, with their back-off, and the files that were made for them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from imagesync.model import Digest, Fingerprint, Format, ImageId, ImageKey, ListId
from imagesync.state.database import insert
from imagesync.state.records import ArtifactRecord, ImageRecord
from imagesync.state.tables import artifact, image

_IN_AT_MOST = 10_000
"""Values in one ``IN``: SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535."""

_KEY = (image.c.target, image.c.key_sha256)


# --- images ----------------------------------------------------------------------------------------------------------
def find_all(connection: sa.Connection, target: str) -> tuple[ImageRecord, ...]:
    """Return every image known on ``target``, by owner, list and image."""
    order = (image.c.owner, image.c.list, image.c.image)
    rows = connection.execute(sa.select(image).where(image.c.target == target).order_by(*order))
    return tuple(_record(row) for row in rows)


def find_owners(connection: sa.Connection, target: str) -> frozenset[str]:
    """Return the owners of the images known on ``target``."""
    return frozenset(connection.scalars(sa.select(image.c.owner).where(image.c.target == target).distinct()))


def record(connection: sa.Connection, target: str, records: Sequence[ImageRecord]) -> None:
    """Insert or update ``records``. ``since`` of a record stays what it was as long as its state stays."""
    if not records:
        return
    statement = insert(connection, image)
    new = statement.excluded
    values: dict[str, Any] = {column.name: new[column.name] for column in image.c if column not in _KEY}
    values["since"] = sa.case((image.c.state == new.state, image.c.since), else_=new.since)
    differs = sa.or_(*(image.c[name].is_distinct_from(new[name]) for name in values if name != "since"))
    change = statement.on_conflict_do_update(index_elements=_KEY, set_=values, where=differs)
    connection.execute(change, [_row(target, item) for item in records])


def forget(connection: sa.Connection, target: str, keys: Collection[ImageKey]) -> None:
    """Remove the records of ``keys``."""
    for some in _portions([_hash(key) for key in keys]):
        connection.execute(sa.delete(image).where(image.c.target == target, image.c.key_sha256.in_(some)))


def _hash(key: ImageKey) -> str:
    return hashlib.sha256(f"{key.owner}\0{key.list}\0{key.image}".encode("utf-8", "replace")).hexdigest()


def _row(target: str, item: ImageRecord) -> dict[str, Any]:
    return {
        "target": target,
        "key_sha256": _hash(item.key),
        "owner": item.key.owner,
        "list": item.key.list,
        "image": item.key.image,
        "title": item.title,
        "state": item.state,
        "reason": item.reason,
        "since": item.since,
        "digest": item.digest,
        "format": item.format,
        "failures": item.failures,
        "retry_at": item.retry_at,
        "attempted": item.attempted,
    }


def _record(row: sa.Row[Any]) -> ImageRecord:
    return ImageRecord(
        key=ImageKey(row.owner, ListId(row.list), ImageId(row.image)),
        title=row.title,
        state=row.state,
        reason=row.reason,
        since=row.since,
        digest=Digest(row.digest) if row.digest else None,
        format=row.format,
        failures=row.failures,
        retry_at=row.retry_at,
        attempted=row.attempted,
    )


# --- artifacts -------------------------------------------------------------------------------------------------------
def artifacts(connection: sa.Connection, fingerprints: Collection[Fingerprint]) -> dict[Fingerprint, ArtifactRecord]:
    """Return what is known of those of ``fingerprints`` that are known."""
    found = (
        _artifact(row)
        for some in _portions(fingerprints)
        for row in connection.execute(sa.select(artifact).where(artifact.c.fingerprint.in_(some)))
    )
    return {item.fingerprint: item for item in found}


def remember(connection: sa.Connection, items: Sequence[ArtifactRecord]) -> None:
    """Insert or replace ``items``."""
    if not items:
        return
    statement = insert(connection, artifact)
    values = {column.name: statement.excluded[column.name] for column in artifact.c if not column.primary_key}
    change = statement.on_conflict_do_update(index_elements=[artifact.c.fingerprint], set_=values)
    connection.execute(change, [_artifact_row(item) for item in items])


def source_formats(connection: sa.Connection, digests: Collection[Digest]) -> dict[Digest, Format]:
    """Return the format found in the bytes of those sources that were inspected before."""
    columns = sa.select(artifact.c.source, artifact.c.source_format).distinct()
    return {
        Digest(row.source): Format(row.source_format)
        for some in _portions(digests)
        for row in connection.execute(columns.where(artifact.c.source.in_(some)))
    }


def made(connection: sa.Connection, digest: Digest) -> tuple[ArtifactRecord, ...]:
    """Return what files with this digest were made here."""
    rows = connection.execute(sa.select(artifact).where(artifact.c.digest == digest).limit(_IN_AT_MOST))
    return tuple(_artifact(row) for row in rows)


def sources(connection: sa.Connection, digests: Collection[Digest]) -> dict[Digest, frozenset[str]]:
    """Return what those files were made from that were made here, by the digest of the file."""
    found: defaultdict[Digest, set[str]] = defaultdict(set)
    for some in _portions(digests):
        columns = sa.select(artifact.c.digest, artifact.c.source).where(artifact.c.digest.in_(some))
        for row in connection.execute(columns):
            found[Digest(row.digest)].add(row.source)
    return {digest: frozenset(known) for digest, known in found.items()}


def _artifact_row(item: ArtifactRecord) -> dict[str, Any]:
    return {
        "fingerprint": item.fingerprint,
        "source": item.source,
        "source_format": item.source_format,
        "digest": item.digest,
        "format": item.format,
        "size": item.size,
        "virtual_size": item.virtual_size,
    }


def _artifact(row: sa.Row[Any]) -> ArtifactRecord:
    return ArtifactRecord(
        fingerprint=Fingerprint(row.fingerprint),
        source=Digest(row.source),
        source_format=Format(row.source_format),
        digest=Digest(row.digest),
        format=Format(row.format),
        size=row.size,
        virtual_size=row.virtual_size,
    )


def _portions(values: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(set(values))
    return (ordered[start : start + _IN_AT_MOST] for start in range(0, len(ordered), _IN_AT_MOST))
