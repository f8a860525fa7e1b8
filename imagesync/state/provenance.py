"""Which messages were accepted, and by what they were verified."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from imagesync.model import Identity, ListId
from imagesync.state.database import insert
from imagesync.state.records import Evidence, EvidenceKind, ListVersion
from imagesync.state.tables import evidence, list_version, message, proof


def versions(
    connection: sa.Connection, subscription: str | None = None, limit: int | None = None
) -> tuple[ListVersion, ...]:
    """Return what was accepted and is still kept, of one subscription or all, the newest first."""
    order = (list_version.c.first_seen.desc(), list_version.c.subscription)
    wanted = sa.select(list_version).order_by(*order).limit(limit)
    if subscription is not None:
        wanted = wanted.where(list_version.c.subscription == subscription)
    rows = connection.execute(wanted)
    return tuple(
        ListVersion(
            subscription=row.subscription,
            message=row.message,
            list=ListId(row.list),
            version=row.version,
            signer=Identity(row.signer_dn, row.signer_ca),
            first_seen=row.first_seen,
            last_seen=row.last_seen,
        )
        for row in rows
    )


def content(connection: sa.Connection, sha256: str) -> bytes | None:
    """Return a message as it was received."""
    found = connection.execute(sa.select(message.c.content).where(message.c.sha256 == sha256)).scalar_one_or_none()
    return bytes(found) if found is not None else None


def find(connection: sa.Connection, sha256: str) -> tuple[Evidence, ...]:
    """Return by what a message was verified when it was accepted first."""
    columns = sa.select(proof.c.kind, proof.c.der, evidence.c.at).join_from(evidence, proof)
    rows = connection.execute(columns.where(evidence.c.message == sha256).order_by(evidence.c.position))
    return tuple(Evidence(EvidenceKind(row.kind), bytes(row.der), row.at) for row in rows)


def keep(connection: sa.Connection, sha256: str, pieces: Sequence[Evidence], at: datetime) -> None:
    """Keep by what a message was verified, unless that is known."""
    known = sa.exists().where(evidence.c.message == sha256)
    if not pieces or connection.execute(sa.select(known)).scalar_one():
        return
    for position, piece in enumerate(pieces):
        digest = hashlib.sha256(piece.der).hexdigest()
        new = insert(connection, proof).values(sha256=digest, kind=str(piece.kind), der=piece.der)
        connection.execute(new.on_conflict_do_nothing())
        row = {"message": sha256, "position": position, "proof": digest, "at": at}
        connection.execute(insert(connection, evidence).values(row).on_conflict_do_nothing())


def prune(connection: sa.Connection) -> None:
    """Forget the evidence for messages that no subscription needs, and certificates and CRLs that nothing needs."""
    needed = sa.exists().where(list_version.c.message == evidence.c.message)
    connection.execute(sa.delete(evidence).where(~needed))
    connection.execute(sa.delete(proof).where(~sa.exists().where(evidence.c.proof == proof.c.sha256)))
