"""The backend port, version 1: what a target must be able to do. PUBLIC.

A backend is a package that registers a factory in the entry-point group ``imagesync.backends.v1``::

    [project.entry-points."imagesync.backends.v1"]
    mycloud = "imagesync_mycloud:open_backend"

The factory has the signature of ``OpenBackend``. Calling it does no I/O: it checks the settings and raises
``ConfigError`` with every problem found. Entering the context manager that it returns may connect, and may fail with
a ``BackendError``. A backend imports only this module and ``imagesync.errors`` (and ``imagesync.model`` through them).

What a backend promises is tested by ``imagesync.testing.conformance``. In short:

* It sees and changes only records that carry the mark of its ``Context.instance``, written in the request that
  creates the record.
* ``owned`` is complete or raises: a truncated listing would look like missing images.
* ``upload`` leaves an image that nobody can boot; ``publish`` makes it bootable; ``retire`` makes it unbootable
  again and is undone by ``publish``; ``delete`` of what is absent succeeds.
* Every method may be called again after a crash at any instruction, and then completes.
* Only ``BackendError`` and its subclasses come out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from imagesync.model import Digest, Fingerprint, Format, ImageId, ImageKey, ListId

__all__ = [
    "DEACTIVATED",
    "RECALLED",
    "RESERVED_PROPERTIES",
    "STATE_PROPERTIES",
    "Backend",
    "Capabilities",
    "Context",
    "Digest",
    "FileFacts",
    "Fingerprint",
    "Format",
    "ImageId",
    "ImageKey",
    "ImageSpec",
    "ListId",
    "Metadata",
    "Notice",
    "OpenBackend",
    "OwnedImage",
    "Progress",
    "Retirement",
    "Secret",
    "State",
    "state_properties",
]

Progress = Callable[[int], None]
"""Called with the number of bytes transferred since the last call."""

Notice = Callable[[str], None]
"""Takes a sentence for the report: what the operator should know although nothing failed. Said twice it counts once."""


class State(StrEnum):
    """Where a record of ours stands on a target."""

    PARTIAL = "partial"
    """Created, but its bytes are not all there."""
    STAGED = "staged"
    """Complete, never published; nobody can boot it."""
    PUBLISHED = "published"
    """Offered to users."""
    RETIRED = "retired"
    """Was published; listed for accounting, not bootable, can be published again."""


DEACTIVATED = "deactivated"
"""The reason of a retirement that was not ours."""

RECALLED = "revoked"
"""The reason of a retirement by local denial: nobody is to read such an image any more."""

RESERVED_PROPERTIES = frozenset(
    {
        *("checksum", "container_format", "created_at", "deleted", "deleted_at", "direct_url", "disk_format", "file"),
        *("id", "locations", "members", "min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden"),
        *("owner", "protected", "schema", "self", "size", "status", "stores", "tags", "updated_at", "virtual_size"),
        "visibility",
    }
)
"""Names of what every image in Glance has beside properties: no target is given a property of such a name."""

STATE_PROPERTIES = frozenset({"imagesync_state", "APPLIANCE_STATUS"})
"""Properties that follow the state of a record. Backends keep them with ``state_properties``; a plan ignores them."""


def state_properties(state: State) -> dict[str, str]:
    """Return the properties that a record in ``state`` carries.

    ``APPLIANCE_STATUS`` has the words of cloudkeeper-os 0.9.5, which its readers know: ``ACTIVE`` and ``EOL``.
    """
    return {"imagesync_state": str(state), "APPLIANCE_STATUS": "EOL" if state is State.RETIRED else "ACTIVE"}


@runtime_checkable
class Secret(Protocol):
    """What a setting of the form ``{file: PATH}``, ``{env: NAME}`` or ``{credential: NAME}`` is given as."""

    def value(self) -> str:
        """Return the secret as it is now.

        Raises:
            ConfigError: it cannot be read.
        """
        ...


def _unheard(_: str) -> None:
    """Drop what nobody asked for."""


@dataclass(frozen=True, slots=True)
class Context:
    """Who is calling: the target's name in the configuration and the ownership mark.

    ``notice`` takes what is to stand in the report. ``former`` are the projects that held images of this target in
    earlier passes, as far as the state remembers: where the configuration names one no longer, ``owned`` lists what is
    left there all the same, if it can be looked into. ``check`` says that the caller wants to know now what would keep
    later changes from being made: where that can be found out without a change, ``owned`` raises
    ``BackendRefusedError`` with all of it.
    """

    target: str
    instance: str
    notice: Notice = field(default=_unheard, compare=False)
    former: frozenset[str] = frozenset()
    check: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a target can take.

    ``max_size`` is that of the largest file, in bytes, and ``None`` where there is no limit or nobody can know it:
    what is larger is not converted where that is known before, and never uploaded.

    ``editable`` says that others than the operator can write on our records: then what a record says of its own bytes
    proves nothing, and the digest of a converted image counts only if the state remembers it.
    """

    formats: frozenset[Format]
    max_size: int | None = None
    editable: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """What users and other programs read of an image, and what may change without new bytes.

    ``min_ram`` is in MiB. ``properties`` are all properties of ours; a backend removes those that it wrote earlier
    and that are no longer among them, and leaves foreign ones alone.
    """

    name: str
    properties: Mapping[str, str]
    min_ram: int = 0


class Status(Protocol):
    """What of ``os.stat_result`` says which file it is."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Which file it is, and what changes when somebody writes to it. ``size`` is in bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: Status) -> FileFacts:
        """Return the facts out of an answer of ``stat``."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image to upload. ``size`` and ``virtual_size`` are in bytes, ``min_disk`` in GiB.

    ``digest`` is the SHA-512 of the file to be uploaded; ``at`` is the time of the pass. ``linkable`` is what the file
    was when its digest was computed, in this pass: nobody here writes to it again, so that a target in the same file
    system may keep a link to it in place of a copy, as long as its facts are these. ``None`` allows no link.
    """

    key: ImageKey
    fingerprint: Fingerprint
    metadata: Metadata
    format: Format
    digest: Digest
    size: int
    virtual_size: int
    min_disk: int
    at: datetime
    linkable: FileFacts | None = None


@dataclass(frozen=True, slots=True)
class Retirement:
    """Why and when an image is retired. ``reason`` is a short stable word (``withdrawn``, ``expired``, ...).

    A record that somebody else took out of offer is listed as retired for ``DEACTIVATED``.
    ``superseded`` says that a published successor exists, so that the old record gives up its name.
    """

    at: datetime
    reason: str
    superseded: bool = False

    def followed_by(self, again: Retirement) -> Retirement:
        """Return what a retired record says after another retirement: the first, but that a recall is the reason."""
        return replace(self, reason=RECALLED) if again.reason == RECALLED else self


@dataclass(frozen=True, slots=True)
class OwnedImage:
    """A record on the target that carries our mark, as it is now.

    ``ref`` names it in later calls and means nothing to anybody else. ``digest`` is the SHA-512 of the bytes as the
    target attests it, ``None`` if the target does not know (not complete, or bytes missing). ``size`` and
    ``virtual_size`` are in bytes. ``retirement`` is there exactly in state ``RETIRED``. ``drift`` names what beside the
    metadata is not as this backend keeps such a record (its visibility, say); ``update`` puts it right.
    """

    ref: str
    key: ImageKey
    fingerprint: Fingerprint
    state: State
    metadata: Metadata
    format: Format
    digest: Digest | None
    size: int
    virtual_size: int
    created_at: datetime
    retirement: Retirement | None = field(default=None)
    drift: tuple[str, ...] = ()


class Backend(Protocol):
    """An opened target."""

    def capabilities(self) -> Capabilities:
        """Return what the target takes, without I/O."""
        ...

    def owners(self, vo: str) -> Sequence[str]:
        """Return the projects that own the images of ``vo``: one copy is kept in each.

        A target without projects returns ``[""]``.

        Raises:
            BackendRefusedError: the VO has no project on this target.
        """
        ...

    def fit(self, metadata: Metadata) -> Metadata:
        """Return what this target can hold of ``metadata``, without I/O: shortened by rule where something is too long.

        Fitting twice changes nothing more, and what ``fit`` returned comes back exactly in ``owned``.
        """
        ...

    def owned(self) -> Sequence[OwnedImage]:
        """Return every record with our mark, in a stable order, or raise.

        Raises:
            BackendUnavailableError: the listing could not be completed.
        """
        ...

    def upload(self, spec: ImageSpec, data: Path, progress: Progress) -> OwnedImage:
        """Store the bytes of ``data`` as a record that nobody can boot, and return it in state ``STAGED``.

        Called again with the same key and fingerprint it returns the staged record, now with ``spec.metadata``, or
        finishes or replaces the partial one; it never makes a second. A published or retired record is returned as it
        is. Only a record whose attested digest is not ``spec.digest`` (bytes missing or changed) does not count: a new
        one, with another ``ref``, is staged beside it, so that the caller can publish it before it retires the bad one.

        Raises:
            BackendRefusedError: quota, permission, size.
            StoredDigestError: what was stored differs from ``spec.digest``; the record is removed again.
            BackendUnavailableError: the target failed half-way; what was begun is listed as ``PARTIAL`` or gone.
        """
        ...

    def publish(self, ref: str) -> None:
        """Offer a staged or retired image to its users. Publishing a published image changes nothing.

        Raises:
            BackendConflictError: there is no such record, or its bytes are not all there.
        """
        ...

    def update(self, ref: str, metadata: Metadata) -> None:
        """Make name, properties and ``min_ram`` of a record equal to ``metadata``; bytes and state stay.

        What the record was listed with as ``drift`` is put right too.

        It may be written only with the next call that lists or changes a state, or when the session ends; leaving it
        then raises what went wrong. After a crash the next pass repeats it.

        Raises:
            BackendConflictError: there is no such record.
        """
        ...

    def retire(self, ref: str, retirement: Retirement) -> None:
        """Stop offering an image but keep it listed.

        Retiring a retired image keeps its first retirement, but for ``RECALLED``, which becomes its reason: with that
        it is also taken from those who could still read it.
        """
        ...

    def delete(self, ref: str) -> None:
        """Remove a record and its bytes. What is absent is success.

        Raises:
            BackendConflictError: in use, or published by somebody else meanwhile; try on a later pass.
        """
        ...


class OpenBackend(Protocol):
    """The factory that an entry point names."""

    def __call__(self, settings: Mapping[str, object], context: Context) -> AbstractContextManager[Backend]:
        """Check ``settings`` (a target's section of the configuration without the keys of the core).

        Raises:
            ConfigError: with every problem; keys are named relative to the target's section.
        """
        ...
