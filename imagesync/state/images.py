"""Images on targets, with their back-off, and the files that were made for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from imagesync.model import Digest, Fingerprint, Format, ImageId, ImageKey, ListId
from imagesync.state.database import insert
from imagesync.state.records import ArtifactRecord, ImageRecord, MetadataRecord, key_digest
from imagesync.state.tables import artifact, image, image_metadata

_IN_AT_MOST = 10_000
"""Values in one ``IN``: SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535."""

_KEY = (image.c.target, image.c.key_sha256)
_LATE = ("failed", "missing")


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
    """Insert or update ``records``. ``since`` of a record stays what it was as long as its state stays.

    An image that is not there at all is late since the first pass that missed it, whether it fails or waits.
    """
    if not records:
        return
    statement = insert(connection, image)
    new = statement.excluded
    states = (image.c.state, new.state)
    values: dict[str, Any] = {column.name: new[column.name] for column in image.c if column not in _KEY}
    late = sa.and_(image.c.digest.is_(None), *(sa.or_(*(state == word for word in _LATE)) for state in states))
    values["since"] = sa.case((sa.or_(image.c.state == new.state, late), image.c.since), else_=new.since)
    differs = sa.or_(*(image.c[name].is_distinct_from(new[name]) for name in values if name != "since"))
    change = statement.on_conflict_do_update(index_elements=_KEY, set_=values, where=differs)
    connection.execute(change, [_row(target, item) for item in records])


def forget(connection: sa.Connection, target: str, keys: Collection[ImageKey]) -> None:
    """Remove the records of ``keys``."""
    for some in _portions([key_digest(key) for key in keys]):
        for table in (image, image_metadata):
            connection.execute(sa.delete(table).where(table.c.target == target, table.c.key_sha256.in_(some)))


def _row(target: str, item: ImageRecord) -> dict[str, Any]:
    return {
        "target": target,
        "key_sha256": key_digest(item.key),
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


# --- what they say to their users ------------------------------------------------------------------------------------
def find_metadata(connection: sa.Connection, target: str, key: ImageKey) -> MetadataRecord | None:
    """Return what is known of one image."""
    table = image_metadata
    wanted = sa.select(table).where(table.c.target == target, table.c.key_sha256 == key_digest(key))
    row = connection.execute(wanted).one_or_none()
    return MetadataRecord(key, row.name, row.min_ram, row.properties, row.at) if row else None


def find_described(connection: sa.Connection, target: str) -> frozenset[str]:
    """Return the hashes of the keys of which something is known."""
    wanted = sa.select(image_metadata.c.key_sha256).where(image_metadata.c.target == target)
    return frozenset(connection.scalars(wanted))


def describe(connection: sa.Connection, target: str, records: Sequence[MetadataRecord]) -> None:
    """Insert or replace ``records``."""
    statement = insert(connection, image_metadata)
    keys = [image_metadata.c.target, image_metadata.c.key_sha256]
    values = {column.name: statement.excluded[column.name] for column in image_metadata.c if not column.primary_key}
    change = statement.on_conflict_do_update(index_elements=keys, set_=values)
    rows = [
        {"target": target, "key_sha256": key_digest(item.key), "name": item.name, "min_ram": item.min_ram}
        | {"properties": dict(item.properties), "at": item.at}
        for item in records
    ]
    connection.execute(change, rows)


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
