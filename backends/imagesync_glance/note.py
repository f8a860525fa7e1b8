"""What this backend notes on an image of its own, in the one property ``imagesync_record``. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError

from imagesync.backend import (
    STATE_PROPERTIES,
    Digest,
    ImageId,
    ImageKey,
    ImageSpec,
    ListId,
    Metadata,
    Retirement,
)
from imagesync_glance.fit import LONGEST_NAME, is_property


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside of the calendar") from None


def _properties(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(is_property, names))


# Members of a project can write notes too: nothing in one may break what is done with it.
Size = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Time = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Names = Annotated[tuple[str, ...], AfterValidator(_properties)]


@dataclass(frozen=True, slots=True)
class Retired:
    """A retirement, and the name that the image had before."""

    at: Time
    reason: str
    superseded: bool
    name: str

    @property
    def retirement(self) -> Retirement:
        """Return the port's form."""
        return Retirement(self.at, self.reason, superseded=self.superseded)

    @property
    def display_name(self) -> str:
        """Return the name of the image meanwhile: a superseded one leaves its name to its successor."""
        if not self.superseded:
            return self.name
        ending = f" [retired {self.at:%Y-%m-%d}]"
        return self.name[: LONGEST_NAME - len(ending)] + ending


@dataclass(frozen=True, slots=True)
class Note:
    """Identity and facts of a record. Sizes in bytes.

    ``names`` are the properties that we wrote: any other is somebody else's. ``sha512`` is what was to be uploaded;
    ``stored`` is what Glance called the bytes when they were verified, as ``algorithm:value``, where Glance uses
    another algorithm. ``members`` are the projects that it is shared with, each ``accepted`` or ``pending``. ``writer``
    tells which process began the upload.
    """

    list: str
    image: str
    fingerprint: str
    at: Time
    size: Size
    virtual_size: Size
    sha512: str
    names: Names = ()
    retired: Retired | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    stored: str = ""
    writer: str = ""

    def key(self, owner: str) -> ImageKey:
        """Return what identifies the image in the project ``owner``."""
        return ImageKey(owner, ListId(self.list), ImageId(self.image))

    @property
    def min_disk(self) -> int | None:
        """Return the smallest disk in GiB that holds the image, ``None`` if nobody knows any more."""
        return -(-self.virtual_size // 2**30) or None

    def described(self, metadata: Metadata) -> Note:
        """Return the note of a record with ``metadata``."""
        return replace(self, names=tuple(sorted({*metadata.properties, *STATE_PROPERTIES})))


def begin(spec: ImageSpec, writer: str) -> Note:
    """Return the note of an upload that begins."""
    note = Note(
        list=spec.key.list,
        image=spec.key.image,
        fingerprint=spec.fingerprint,
        at=spec.at,
        size=spec.size,
        virtual_size=spec.virtual_size,
        sha512=spec.digest,
        writer=writer,
    )
    return note.described(spec.metadata)


def salvage(properties: Mapping[str, object], created_at: datetime) -> Note | None:
    """Return what the core's own properties say where the note is lost; ``None`` if not even they do.

    No property counts as ours then. The next update writes them all again, and the note with them.
    """
    texts = [properties.get(f"imagesync_{name}") for name in ("list", "image", "fingerprint")]
    listed, image, fingerprint = (text if isinstance(text, str) else "" for text in texts)
    if not (listed and image and fingerprint):
        return None
    return Note(listed, image, fingerprint, created_at, 0, 0, sha512="")


# --- JSON -------------------------------------------------------------------------------------------------------------
_ADAPTER = TypeAdapter(Note)


def encode(note: Note) -> str:
    """Return the value of the property: one JSON object of ASCII characters. What does not apply is left out."""
    form = _ADAPTER.dump_python(note, mode="json", exclude_defaults=True)
    form["at"] = note.at.isoformat()
    if note.retired is not None:
        form["retired"]["at"] = note.retired.at.isoformat()
    return json.dumps(form, sort_keys=True)


@lru_cache(maxsize=1 << 14)
def decode(text: str) -> Note | None:
    """Return what ``encode`` made, or ``None`` for anything else."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError:
        return None


def digest_of(note: Note, algorithm: object, value: object) -> Digest | None:
    """Return the SHA-512 of an image's bytes, of which Glance gives a hash by ``algorithm``."""
    if algorithm == "sha512" and isinstance(value, str):
        return Digest(value)
    if note.stored and f"{algorithm}:{value}" == note.stored:
        return Digest(note.sha512)
    return None
