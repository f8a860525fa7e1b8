"""What was accepted for each subscription: pins, floors, dates, and the signed bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from imagesync.lists.admit import compare_versions
from imagesync.model import Accepted, Digest, Floor, Identity, ImageId, ListId, Signer
from imagesync.state import floors, provenance
from imagesync.state.database import insert
from imagesync.state.records import Resets, StoredList
from imagesync.state.tables import accepted, begun_list, lifted_floor, list_version, message

_VALIDATORS = ("etag", "last_modified", "url_sha256")


def find(connection: sa.Connection, subscription: str) -> Accepted | None:
    """Return what was accepted last for ``subscription``."""
    row = connection.execute(sa.select(accepted).where(accepted.c.subscription == subscription)).one_or_none()
    return _value(row) if row else None


def find_all(connection: sa.Connection) -> tuple[Accepted, ...]:
    """Return what was accepted last for every subscription, by name."""
    return tuple(_value(row) for row in connection.execute(sa.select(accepted).order_by(accepted.c.subscription)))


def messages(connection: sa.Connection) -> dict[str, str]:
    """Return the SHA-256 of the message that was accepted last for each subscription."""
    rows = connection.execute(sa.select(accepted.c.subscription, accepted.c.message))
    return {row.subscription: row.message for row in rows}


def pins(connection: sa.Connection) -> dict[ListId, str]:
    """Return which subscription each list identifier is pinned to."""
    rows = connection.execute(sa.select(accepted.c.list, accepted.c.subscription).where(accepted.c.pinned))
    return {ListId(row.list): row.subscription for row in rows}


def stored(connection: sa.Connection, subscription: str) -> StoredList | None:
    """Return the signed message that was accepted last for ``subscription``."""
    row = connection.execute(
        sa.select(message.c.content, accepted.c.etag, accepted.c.last_modified, accepted.c.url_sha256)
        .join_from(accepted, message)
        .where(accepted.c.subscription == subscription)
    ).one_or_none()
    if row is None:
        return None
    return StoredList(row.content, row.etag, row.last_modified, url_sha256=row.url_sha256)


def earlier(connection: sa.Connection, subscription: str) -> dict[ListId, tuple[Floor, ...]]:
    """Return the versions that were accepted of the lists which a subscription had before its last one."""
    current = sa.exists().where(accepted.c.subscription == subscription, accepted.c.list == list_version.c.list)
    columns = sa.select(list_version.c.list, list_version.c.version, list_version.c.digest)
    columns = columns.order_by(list_version.c.first_seen)
    found: dict[ListId, tuple[Floor, ...]] = {}
    for row in connection.execute(columns.where(list_version.c.subscription == subscription, ~current)):
        floor = Floor(row.version, Digest(row.digest) if row.digest else None)
        found[ListId(row.list)] = (*found.get(ListId(row.list), ()), floor)
    return found


def accept(connection: sa.Connection, value: Accepted, listing: StoredList, since: Resets | None) -> None:
    """Make ``value`` the last accepted version of its subscription's list; what was reset ``since`` stays reset."""
    reset = _reset(connection, value.subscription, since) if since else {}
    if _is_behind(connection, value):
        return
    sha256, outdated = hashlib.sha256(listing.blob).hexdigest(), None
    if not _see_again(connection, value, sha256):
        statement = insert(connection, message).values(sha256=sha256, content=listing.blob)
        connection.execute(statement.on_conflict_do_nothing())
        outdated = _take_place(connection, value, sha256)
        if outdated is None:
            connection.execute(sa.insert(list_version), _version_row(value, sha256))
        connection.execute(sa.delete(lifted_floor).where(lifted_floor.c.subscription == value.subscription))
    provenance.keep(connection, sha256, listing.evidence, value.accepted_at)
    row = _row(value) | {"message": sha256} | {name: getattr(listing, name) for name in _VALIDATORS} | reset
    change = insert(connection, accepted).values(row)
    connection.execute(change.on_conflict_do_update(index_elements=[accepted.c.subscription], set_=row))
    done = sa.delete(begun_list).filter_by(subscription=value.subscription, list=value.list, version=value.version)
    connection.execute(done)
    if outdated is not None:
        provenance.prune(connection)
        unused = ~sa.exists().where(list_version.c.message == message.c.sha256)
        connection.execute(sa.delete(message).where(message.c.sha256 == outdated, unused))


def _reset(connection: sa.Connection, subscription: str, since: Resets) -> dict[str, Any]:
    now, row = floors.resets(connection, subscription), dict[str, Any]()
    if now.identifier != since.identifier:
        row |= {"pinned": False} | dict.fromkeys(_VALIDATORS)
    if now.version != since.version:
        row |= {"version": None} | dict.fromkeys(_VALIDATORS)
    return row


def drop_pin(connection: sa.Connection, subscription: str) -> bool:
    """Let the next list be another one, and have it asked for without conditions. Return whether there was a pin."""
    floors.count(connection, subscription, identifier=1)
    return _change(connection, subscription, pinned=False, **dict.fromkeys(_VALIDATORS))


def lift_floor(connection: sa.Connection, subscription: str, at: datetime) -> None:
    """Let the next version be any, also while nothing is accepted: then the floor is in the records on the targets."""
    floors.count(connection, subscription, version=1)
    connection.execute(sa.delete(begun_list).where(begun_list.c.subscription == subscription))
    if not _change(connection, subscription, version=None, **dict.fromkeys(_VALIDATORS)):
        row = {"subscription": subscription, "at": at}
        connection.execute(insert(connection, lifted_floor).values(row).on_conflict_do_nothing())


def is_floor_lifted(connection: sa.Connection, subscription: str) -> bool:
    """Return whether the operator lifted the floor while nothing was accepted."""
    lifted = sa.exists().where(lifted_floor.c.subscription == subscription)
    return bool(connection.execute(sa.select(lifted)).scalar_one())


def _change(connection: sa.Connection, subscription: str, **values: object) -> bool:
    statement = sa.update(accepted).where(accepted.c.subscription == subscription).values(values)
    return connection.execute(statement).rowcount > 0


def prune(connection: sa.Connection, before: datetime) -> int:
    """Forget messages that were last accepted before ``before`` and are not the current one. Return how many."""
    current = sa.exists().where(
        accepted.c.subscription == list_version.c.subscription, accepted.c.message == list_version.c.message
    )
    connection.execute(sa.delete(list_version).where(list_version.c.last_seen < before, ~current))
    provenance.prune(connection)
    unused = ~sa.exists().where(list_version.c.message == message.c.sha256)
    return connection.execute(sa.delete(message).where(unused)).rowcount


def _is_behind(connection: sa.Connection, value: Accepted) -> bool:
    """Return whether a pass that took longer comes with a lower version than one that was accepted since."""
    columns = (accepted.c.list, accepted.c.version, accepted.c.accepted_at)
    last = connection.execute(sa.select(*columns).where(accepted.c.subscription == value.subscription)).one_or_none()
    if last is None or last.list != value.list or not last.version or not value.version:
        return False
    return compare_versions(value.version, last.version) == -1 and last.accepted_at > value.accepted_at


def _see_again(connection: sa.Connection, value: Accepted, sha256: str) -> bool:
    same = (list_version.c.subscription == value.subscription) & (list_version.c.message == sha256)
    values = {"last_seen": value.accepted_at, "digest": value.digest}
    return connection.execute(sa.update(list_version).where(same).values(values)).rowcount > 0


def _take_place(connection: sa.Connection, value: Accepted, sha256: str) -> str | None:
    """Put a message in the place of the last one, if it is the same list by the same certificate; return that one.

    What surrounds the signed part is nobody's word: whoever sits on the way could make a new message of it each time.
    """
    same = sa.select(accepted.c.message).where(
        accepted.c.subscription == value.subscription,
        accepted.c.list == value.list,
        accepted.c.version == value.version,
        accepted.c.digest == value.digest,
        accepted.c.signer_sha256 == value.signer.sha256,
    )
    last = connection.execute(same).scalar_one_or_none()
    if last is None:
        return None
    row = (list_version.c.subscription == value.subscription) & (list_version.c.message == last)
    values = {"message": sha256, "last_seen": value.accepted_at}
    moved = connection.execute(sa.update(list_version).where(row).values(values)).rowcount
    return str(last) if moved else None


def _version_row(value: Accepted, sha256: str) -> dict[str, Any]:
    return {
        "subscription": value.subscription,
        "message": sha256,
        "list": value.list,
        "version": value.version or "",
        "digest": value.digest,
        "signer_dn": value.signer.identity.dn,
        "signer_ca": value.signer.identity.ca,
        "first_seen": value.accepted_at,
        "last_seen": value.accepted_at,
    }


def _row(value: Accepted) -> dict[str, Any]:
    return {
        "subscription": value.subscription,
        "list": value.list,
        "pinned": True,
        "lifted": value.lifted,
        "version": value.version,
        "digest": value.digest,
        "created": value.created,
        "expires": value.expires,
        "accepted_at": value.accepted_at,
        "signer_dn": value.signer.identity.dn,
        "signer_ca": value.signer.identity.ca,
        "signer_not_after": value.signer.not_after,
        "signer_sha256": value.signer.sha256,
        "signer_expects_pin": value.signer.expects_pin,
        "expiries": {image: _text(moment) for image, moment in value.expiries.items()},
    }


def _value(row: sa.Row[Any]) -> Accepted:
    identity = Identity(row.signer_dn, row.signer_ca)
    return Accepted(
        subscription=row.subscription,
        list=ListId(row.list),
        version=row.version,
        digest=Digest(row.digest),
        created=row.created,
        expires=row.expires,
        accepted_at=row.accepted_at,
        signer=Signer(identity, row.signer_not_after, row.signer_sha256, row.signer_expects_pin),
        expiries=_expiries(row.expiries),
        pinned=row.pinned,
        lifted=row.lifted,
    )


def _expiries(stored_text: Mapping[str, str | None]) -> dict[ImageId, datetime | None]:
    return {ImageId(image): _moment(text) for image, text in stored_text.items()}


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
