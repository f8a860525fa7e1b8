"""What the state keeps, as values. Every ``datetime`` is aware and in UTC."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from imagesync.model import Digest, Fingerprint, Format, Identity, ImageId, ImageKey, ListId


class EvidenceKind(StrEnum):
    """What a piece of evidence is."""

    CERTIFICATE = "certificate"
    CRL = "crl"


@dataclass(frozen=True, slots=True)
class Evidence:
    """A certificate or CRL, in DER, by which a message was verified. ``at`` is when; ``None`` before it is stored."""

    kind: EvidenceKind
    der: bytes
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredList:
    """The signed message that was accepted last, as received, and what to ask its server with next time.

    ``evidence`` is what it was verified by: first the certificates from the signer to the root, then CRLs.
    ``url_sha256`` is of the URL that it came from, which may hold a secret; ``etag`` and ``last_modified`` are for that
    URL alone (RFC 9110, 8.8).
    """

    blob: bytes
    etag: str | None = None
    last_modified: str | None = None
    evidence: tuple[Evidence, ...] = ()
    url_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Resets:
    """How often the pin of a subscription was dropped (``identifier``) and its floor lifted (``version``)."""

    identifier: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class ListVersion:
    """A message that was accepted for a subscription. ``message`` is its SHA-256 in hexadecimal digits."""

    subscription: str
    message: str
    list: ListId
    version: str
    signer: Identity
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What is known of one endorsed image on one target.

    ``since`` is when ``state`` began. ``digest`` is the SHA-512 of the file on the target, ``None`` while there is
    none. ``failures`` counts attempts that failed in a row, ``retry_at`` is when the next may be made, and
    ``attempted`` names what was attempted (list version and source digest): when it changes, the back-off is over.
    """

    key: ImageKey
    title: str
    state: str
    reason: str
    since: datetime
    digest: Digest | None
    format: str
    failures: int = 0
    retry_at: datetime | None = None
    attempted: str = ""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An image that could not be got, whatever target it was for.

    ``attempted`` is a digest of what was tried: when it changes, the next attempt is at once. ``failures`` counts
    passes in a row, ``last`` is when the latest one was, ``since`` when these bytes could not be got first.
    ``cause`` names the kind of error, ``error`` says it.
    """

    list: ListId
    image: ImageId
    attempted: str
    sha512: Digest
    failures: int
    since: datetime
    last: datetime
    retry_at: datetime
    cause: str
    error: str


@dataclass(frozen=True, slots=True)
class ArtifactRecord:
    """A file that was made for upload: what a target should hold for ``fingerprint``.

    ``source`` and ``source_format`` describe what the list names, the rest the final file. Sizes in bytes.
    """

    fingerprint: Fingerprint
    source: Digest
    source_format: Format
    digest: Digest
    format: Format
    size: int
    virtual_size: int


@dataclass(frozen=True, slots=True)
class BootRecord:
    """What became of a file when it was started.

    ``digest`` is the file's SHA-512 and ``source`` that of what the list names; ``machine`` is what was asked for,
    ``console`` the end of what it wrote there, and ``screen`` a PNG file.
    """

    digest: Digest
    machine: str
    source: Digest
    at: datetime
    verdict: str
    rule: str
    why: str
    accelerator: str
    seconds: float
    console: str
    screen: bytes | None

    @property
    def settings(self) -> str:
        """Return the part of ``machine`` that the image asked for, as ``boot.machine.settings`` gave it."""
        return settings_of(self.machine)


def settings_of(machine: str) -> str:
    """Return what was asked for of the machine of a check, without how it was run."""
    return machine.partition(" patience=")[0]


@dataclass(frozen=True, slots=True)
class PassRecord:
    """The last pass of the daemon over one subscription, or its last housekeeping, by the name that it has there.

    ``code`` is its exit code, -1 where it had none. ``failures`` counts those in a row that did not get anywhere;
    ``retry_at`` is when the next one is due before its regular time. ``settings`` is a digest of the configuration:
    when it changes, the back-off is over.
    """

    subscription: str
    ended: datetime
    code: int
    failures: int
    retry_at: datetime | None
    settings: str


class Pausable(StrEnum):
    """What can be paused. The values are words of the reports."""

    ALL = "all"
    LIST = "list"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class PauseRecord:
    """What somebody paused: ``name`` is that of a subscription or target, empty for all.

    ``until`` is when it goes on by itself, ``None`` if it does not.
    """

    scope: Pausable
    name: str
    reason: str
    who: str
    since: datetime
    until: datetime | None = None


def key_digest(key: ImageKey) -> str:
    """Return what stands for ``key``, however long it is."""
    return hashlib.sha256(f"{key.owner}\0{key.list}\0{key.image}".encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class MetadataRecord:
    """What the record of an image on a target says to its users, as it was written, or found, at a time.

    ``min_ram`` is in MiB.
    """

    key: ImageKey
    name: str
    min_ram: int
    properties: Mapping[str, str]
    at: datetime


@dataclass(frozen=True, slots=True)
class TroubleRecord:
    """Something that is wrong, was told once, and is told again when it is over.

    ``kind`` is a word of ``imagesync.daemon.notify``; ``subscription`` and ``target`` are empty where they do not
    apply.
    """

    key: str
    kind: str
    subscription: str
    target: str
    text: str
    since: datetime


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message that a receiver has yet to get. ``number`` is 0 before it is stored.

    What is about the same ``subject`` reaches a receiver in its order; messages without one overtake each other.
    """

    receiver: str
    content: Mapping[str, Any]
    created: datetime
    due: datetime
    attempts: int = 0
    number: int = 0
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """An image that came or went, and that nobody was told of yet.

    ``kind`` is a word of ``imagesync.daemon.notify``, ``text`` one line. ``run`` and ``number`` are of the state.
    """

    kind: str
    at: datetime
    subscription: str
    target: str
    key: str
    title: str
    text: str
    run: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a command. ``finished``, ``exit`` and ``report`` are ``None`` for a run that did not end.

    ``number`` grows from run to run, whatever the clock says.
    """

    id: str
    kind: str
    started: datetime
    finished: datetime | None
    exit: int | None
    number: int
    report: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ListStandingRecord:
    """What passes say of a list, ``since`` when, and when the last one ended that was ``good``, if any was."""

    verdict: str
    since: datetime
    good: datetime | None


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """What one run did about one image on one target, as its report says it."""

    run: str
    at: datetime
    target: str
    key: str
    kind: str
    title: str
    reason: str
    outcome: str
    error: str
    bytes_downloaded: int
    bytes_uploaded: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was removed: runs with their actions, and signed messages that were superseded before."""

    runs: int
    messages: int
