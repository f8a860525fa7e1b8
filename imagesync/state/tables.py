"""The tables. ``migrations`` builds the same; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

HEAD = "0010"
"""The newest revision under ``migrations``. Kept here so that opening an up-to-date state needs no Alembic."""

VERSION_TABLE = "imagesync_version"
"""Where Alembic keeps the revision. The name also tells a state of ours from anybody else's database."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware point in time. SQLite has no such type: there it is stored without its zone, in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the same moment in UTC.

        Raises:
            ValueError: ``value`` is naive.
        """
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment as aware UTC, whatever the database gives."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CleanText(TypeDecorator[str]):
    """Text that any database takes. Titles come from strangers: NUL and lone surrogates become U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return ``value`` without what PostgreSQL or UTF-8 refuse."""
        if value is None:
            return None
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


metadata = MetaData()

message = Table(
    "message",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
"""Signed messages as received, each once."""

list_version = Table(
    "list_version",
    metadata,
    Column("subscription", CleanText, primary_key=True),
    Column("message", String(64), ForeignKey("message.sha256"), primary_key=True),
    Column("list", CleanText, nullable=False),
    Column("version", CleanText, nullable=False),
    Column("signer_dn", CleanText, nullable=False),
    Column("signer_ca", CleanText, nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("last_seen", UtcDateTime, nullable=False),
    Column("digest", String(128)),
    Index("list_version_message", "message"),
)
"""Which message was accepted for which subscription, and from when to when."""

proof = Table(
    "proof",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("kind", CleanText, nullable=False),
    Column("der", LargeBinary, nullable=False),
)
"""Certificates and CRLs by which messages were verified, each once."""

evidence = Table(
    "evidence",
    metadata,
    Column("message", String(64), ForeignKey("message.sha256"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("proof", String(64), ForeignKey("proof.sha256"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("evidence_proof", "proof"),
)
"""By what a message was verified when it was accepted for the first time: the path in order, then CRLs."""

accepted = Table(
    "accepted",
    metadata,
    Column("subscription", CleanText, primary_key=True),
    Column("list", CleanText, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("lifted", Boolean, nullable=False),
    Column("version", CleanText),
    Column("digest", String(128), nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False),
    Column("accepted_at", UtcDateTime, nullable=False),
    Column("signer_dn", CleanText, nullable=False),
    Column("signer_ca", CleanText, nullable=False),
    Column("signer_not_after", UtcDateTime, nullable=False),
    Column("signer_sha256", String(64), nullable=False),
    Column("signer_expects_pin", Boolean, nullable=False),
    Column("expiries", JSON, nullable=False),
    Column("message", String(64), ForeignKey("message.sha256"), nullable=False),
    Column("etag", CleanText),
    Column("last_modified", CleanText),
    Column("url_sha256", String(64)),
)
"""The last accepted version of each subscription's list: pin, floor and dates."""

lifted_floor = Table(
    "lifted_floor",
    metadata,
    Column("subscription", CleanText, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)
"""Subscriptions whose floor the operator lifted while nothing was accepted for them, and when; until something is."""

begun_list = Table(
    "begun_list",
    metadata,
    Column("subscription", CleanText, primary_key=True),
    Column("list", CleanText, primary_key=True),
    Column("version", CleanText, nullable=False),
    Column("digest", String(128), nullable=False),
)
"""Versions of lists that a pass began to apply to a target; until they are accepted."""

list_reset = Table(
    "list_reset",
    metadata,
    Column("subscription", CleanText, primary_key=True),
    Column("identifier", Integer, nullable=False),
    Column("version", Integer, nullable=False),
)
"""How often the operator dropped each subscription's pin and lifted its floor: a pass has to notice it."""

image = Table(
    "image",
    metadata,
    Column("target", CleanText, primary_key=True),
    Column("key_sha256", String(64), primary_key=True),
    Column("owner", CleanText, nullable=False),
    Column("list", CleanText, nullable=False),
    Column("image", CleanText, nullable=False),
    Column("title", CleanText, nullable=False),
    Column("state", CleanText, nullable=False),
    Column("reason", CleanText, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("digest", String(128)),
    Column("format", CleanText, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("retry_at", UtcDateTime),
    Column("attempted", CleanText, nullable=False),
)
"""What ``status`` shows of each endorsed image per target, and its back-off.

Identifiers come from strangers and may be longer than PostgreSQL can index: the primary key has their hash.
"""

image_metadata = Table(
    "image_metadata",
    metadata,
    Column("target", CleanText, primary_key=True),
    Column("key_sha256", String(64), primary_key=True),
    Column("name", CleanText, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("properties", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)
"""What the record of an image says to its users, as it was written last. Apart from ``image``: only a page reads it."""

attempt = Table(
    "attempt",
    metadata,
    Column("key_sha256", String(64), primary_key=True),
    Column("list", CleanText, nullable=False),
    Column("image", CleanText, nullable=False),
    Column("attempted", String(64), nullable=False),
    Column("sha512", String(128), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("last", UtcDateTime, nullable=False),
    Column("retry_at", UtcDateTime, nullable=False),
    Column("cause", CleanText, nullable=False),
    Column("error", CleanText, nullable=False),
)
"""Images that could not be got, whatever the target. The primary key has a hash, as above."""

artifact = Table(
    "artifact",
    metadata,
    Column("fingerprint", CleanText, primary_key=True),
    Column("source", String(128), nullable=False),
    Column("source_format", CleanText, nullable=False),
    Column("digest", String(128), nullable=False),
    Column("format", CleanText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("virtual_size", BigInteger, nullable=False),
    Index("artifact_source", "source"),
)
"""What was uploaded under a fingerprint: a record on a target that holds other bytes was tampered with."""

boot_check = Table(
    "boot_check",
    metadata,
    Column("digest", String(128), primary_key=True),
    Column("machine", String(200), primary_key=True),
    Column("source", String(128), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("verdict", CleanText, nullable=False),
    Column("rule", CleanText, nullable=False),
    Column("why", CleanText, nullable=False),
    Column("accelerator", CleanText, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("console", CleanText, nullable=False),
    Column("screen", LargeBinary),
    Index("boot_check_source", "source"),
)
"""What became of files that were started, by the machine that was asked for."""

run = Table(
    "run",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("kind", CleanText, nullable=False),
    Column("started", UtcDateTime, nullable=False),
    Column("finished", UtcDateTime),
    Column("exit", Integer),
    Column("report", JSON),
    Column("clock", CleanText),
    Column("number", Integer),
    Index("run_started", "started"),
    Index("run_number", "number"),
)
"""Runs and their reports. They are ordered by ``number``: a clock that was wrong must not put one before the others."""

action = Table(
    "action",
    metadata,
    Column("run", CleanText, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("target", CleanText, nullable=False),
    Column("key", CleanText, nullable=False),
    Column("key_sha256", String(64), nullable=False),
    Column("kind", CleanText, nullable=False),
    Column("title", CleanText, nullable=False),
    Column("reason", CleanText, nullable=False),
    Column("outcome", CleanText, nullable=False),
    Column("error", CleanText, nullable=False),
    Column("bytes_downloaded", BigInteger, nullable=False),
    Column("bytes_uploaded", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Index("action_key", "key_sha256"),
)
"""What the runs did, one row per image and target."""

last_pass = Table(
    "last_pass",
    metadata,
    Column("subscription", CleanText, primary_key=True),
    Column("ended", UtcDateTime, nullable=False),
    Column("code", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("retry_at", UtcDateTime),
    Column("settings", String(64), nullable=False),
)
"""The daemon's last pass over each subscription and last housekeeping, each with its back-off."""

list_standing = Table(
    "list_standing",
    metadata,
    Column("subscription", CleanText, primary_key=True),
    Column("verdict", CleanText, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("last", UtcDateTime, nullable=False),
    Column("good", UtcDateTime),
)
"""What the last pass said of each list and since when they say so, and when the last good pass over it ended."""

trouble = Table(
    "trouble",
    metadata,
    Column("key_sha256", String(64), primary_key=True),
    Column("key", CleanText, nullable=False),
    Column("kind", CleanText, nullable=False),
    Column("subscription", CleanText, nullable=False),
    Column("target", CleanText, nullable=False),
    Column("text", CleanText, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)
"""What is wrong and was told, so that it is not told again."""

outbox = Table(
    "outbox",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("receiver", CleanText, nullable=False),
    Column("content", JSON, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("due", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("subject", String(64)),
)
"""Messages that have yet to be delivered. Those of one receiver about one ``subject`` are delivered in their order."""

image_change = Table(
    "image_change",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("run", CleanText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", CleanText, nullable=False),
    Column("subscription", CleanText, nullable=False),
    Column("target", CleanText, nullable=False),
    Column("key", CleanText, nullable=False),
    Column("title", CleanText, nullable=False),
    Column("text", CleanText, nullable=False),
)
"""Images that came or went, until the daemon has put that into the outbox."""

pause = Table(
    "pause",
    metadata,
    Column("scope", String(8), primary_key=True),
    Column("name", CleanText, primary_key=True),
    Column("reason", CleanText, nullable=False),
    Column("who", CleanText, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
)
"""What an operator paused: a list, a target, or all (without a name)."""

target_failure = Table(
    "target_failure",
    metadata,
    Column("target", CleanText, primary_key=True),
    Column("since", UtcDateTime, nullable=False),
)
"""Targets that the last pass could not work on, and since when that is so: longer than runs are looked back on."""

holder = Table(
    "holder",
    metadata,
    Column("target", CleanText, primary_key=True),
    Column("host", CleanText, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("since", UtcDateTime, nullable=False),
)
"""Who took a target's lock last. Says who holds it, not whether it is held: that is the database's own lock."""
