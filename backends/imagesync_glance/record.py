"""An image in Glance as a record of ours, and what has to be written to make it another. Pure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from imagesync.backend import (
    DEACTIVATED,
    Digest,
    Fingerprint,
    Format,
    ImageSpec,
    Metadata,
    OwnedImage,
    Retirement,
    State,
    state_properties,
)
from imagesync_glance.fit import RECORD
from imagesync_glance.note import Note, Retired, decode, digest_of, encode, salvage

LOG = logging.getLogger(__name__)

DISK_FORMATS = {
    Format.RAW: "raw",
    Format.QCOW2: "qcow2",
    Format.VMDK: "vmdk",
    Format.VDI: "vdi",
    Format.VHD: "vhd",
    Format.VHDX: "vhdx",
    Format.ISO: "iso",
}
"""Glance's names."""

_FORMATS = {name: form for form, name in DISK_FORMATS.items()}
_INCOMPLETE = frozenset({"queued", "saving", "uploading", "importing"})
WRITING = frozenset({"saving", "uploading", "importing"})
"""Statuses in which somebody may be sending bytes right now."""

_DIVERTING = frozenset({"kernel_id", "ramdisk_id", "block_device_mapping", "img_block_device_mapping"})
"""Properties with which Nova boots a kernel or a volume of somebody's instead of the image."""

Image = Mapping[str, Any]
"""An image as Glance shows it: attributes and properties side by side."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How published records of ours are kept: their visibility, and by VO the projects that they are shared with.

    ``None`` stands for projects that cannot be looked up. ``eager`` are those that have credentials of their own here,
    so that a share can be accepted in their name.
    """

    visibility: str
    members: Mapping[str, frozenset[str] | None]
    eager: frozenset[str] = frozenset()

    @property
    def is_editable(self) -> bool:
        """Return whether others than the operator can write on records."""
        return self.visibility == "private"

    def kept(self, image: Image) -> Terms:
        """Return the terms of an image in a project that is no longer configured: shared and visible as it is."""
        return replace(self, visibility=image["visibility"], members={image.get("APPLIANCE_VO", ""): None})

    def members_of(self, properties: Mapping[str, Any]) -> frozenset[str] | None:
        """Return the projects with which an image of those properties is to be shared, ``None`` if nobody knows."""
        return self.members.get(properties.get("APPLIANCE_VO", ""), frozenset())


@dataclass(frozen=True, slots=True)
class Record:
    """A record of ours: the image as it is, and our note on it. ``is_noted`` is false if the note had to be guessed."""

    image: Image
    note: Note
    is_noted: bool = True

    @property
    def id(self) -> str:
        """Return Glance's id of the image."""
        return str(self.image["id"])

    @property
    def owner(self) -> str:
        """Return the id of the project that owns it."""
        return str(self.image["owner"])

    @property
    def ref(self) -> str:
        """Return what names it in calls of the port."""
        return f"{self.owner}/{self.id}"

    @property
    def state(self) -> State:
        """Return where it stands. A visible image is published, whatever its properties say."""
        status = self.image["status"]
        if status in _INCOMPLETE:
            return State.PARTIAL
        if status == "deactivated":
            return State.RETIRED
        staged = self.image.get("imagesync_state") == State.STAGED and bool(self.image.get("os_hidden"))
        return State.STAGED if staged else State.PUBLISHED

    @property
    def format(self) -> Format:
        """Return what the bytes are read as."""
        return _FORMATS[self.image["disk_format"]]

    @property
    def properties(self) -> dict[str, str]:
        """Return those of our properties that are there."""
        return {name: str(self.image[name]) for name in self.note.names if name in self.image}

    @property
    def metadata(self) -> Metadata:
        """Return what users read, under the name that it has while it is published."""
        name, retired = str(self.image.get("name") or ""), self.note.retired
        if retired is not None and name == retired.display_name:
            name = retired.name  # also where the deactivation that should follow did not happen
        return Metadata(name, self.properties, int(self.image.get("min_ram") or 0))

    @property
    def digest(self) -> Digest | None:
        """Return the SHA-512 of the stored bytes as Glance attests it, ``None`` for bytes that are no plain disk."""
        if self.state is State.PARTIAL or self.image.get("container_format") != "bare":
            return None
        return digest_of(self.note, self.image.get("os_hash_algo"), self.image.get("os_hash_value"))

    @property
    def is_otherwise_hashed(self) -> bool:
        """Return whether Glance hashed the bytes, but not by SHA-512."""
        return self.image.get("os_hash_algo") not in {None, "sha512"}

    @property
    def retirement(self) -> Retirement | None:
        """Return why it is retired; somebody else may have deactivated it."""
        if self.state is not State.RETIRED:
            return None
        if self.note.retired is not None:
            return self.note.retired.retirement
        return Retirement(moment(self.image["updated_at"]), DEACTIVATED)

    def drift(self, terms: Terms) -> tuple[str, ...]:
        """Return what of a record is not as we keep it. A retired one only loses members that its VO lost."""
        if self.state is State.RETIRED and self._has_former_members(terms):
            return ("members",)
        if self.state is not State.PUBLISHED:
            return ()
        wrong = {
            "hidden": bool(self.image.get("os_hidden")),
            "visibility": self.image.get("visibility") != terms.visibility,
            "state": not state_properties(State.PUBLISHED).items() <= self.image.items(),
            "members": self._has_other_members(terms),
            "record": not self.is_noted,
            "min_disk": self.note.min_disk not in {None, self.image.get("min_disk")},
            "boot": bool(self.diversions),
        }
        return tuple(name for name, found in wrong.items() if found)

    @property
    def diversions(self) -> frozenset[str]:
        """Return the properties, not of ours, with which servers boot something else than the bytes."""
        return (_DIVERTING & self.image.keys()) - set(self.note.names)

    def _has_other_members(self, terms: Terms) -> bool:
        expected, noted = terms.members_of(self.image), self.note.members
        if expected is None:
            return False
        return expected != noted.keys() or any(noted[member] == "pending" for member in expected & terms.eager)

    def _has_former_members(self, terms: Terms) -> bool:
        expected = terms.members_of(self.image)
        return terms.visibility == "shared" and expected is not None and bool(self.note.members.keys() - expected)

    def owned(self, terms: Terms) -> OwnedImage:
        """Return the record as the port shows it."""
        size = self.image.get("size")
        return OwnedImage(
            ref=self.ref,
            key=self.note.key(self.owner),
            fingerprint=Fingerprint(self.note.fingerprint),
            state=self.state,
            metadata=self.metadata,
            format=self.format,
            digest=self.digest,
            size=size if isinstance(size, int) and self.state is not State.PARTIAL else self.note.size,
            virtual_size=self.note.virtual_size,
            created_at=self.note.at,
            retirement=self.retirement,
            drift=self.drift(terms),
        )


def is_snapshot(image: Image) -> bool:
    """Return whether Nova made it of a server: it copies every property of the server's image."""
    return image.get("image_type") == "snapshot" or bool(image.get("base_image_ref"))


def read(image: Image, owner: str, mark: str) -> Record | None:
    """Return the record that ``image`` is, or ``None`` if it is none of ours: then it is never changed."""
    if mark not in image.get("tags", ()) or image.get("owner") != owner or is_snapshot(image):
        return None
    if image["status"] not in _INCOMPLETE | {"active", "deactivated"}:
        return None
    text = image.get(RECORD)
    note = decode(text) if isinstance(text, str) else None
    if note is not None and image.get("disk_format") in _FORMATS:
        return Record(image, note)
    guessed = salvage(image, moment(image["created_at"]))
    if guessed is None or image.get("disk_format") not in _FORMATS:
        LOG.warning("image %s has our tag, but nothing says what it is: it is left alone", image["id"])
        return None
    return Record(image, guessed, is_noted=False)


def moment(text: str) -> datetime:
    """Return a time as Glance writes it."""
    return datetime.fromisoformat(text)


# --- what to write ----------------------------------------------------------------------------------------------------
_ATTRIBUTES = frozenset({"name", "min_disk", "min_ram", "os_hidden", "visibility"})


@dataclass(frozen=True, slots=True)
class Draft:
    """What a record shall be: ``values`` of attributes and properties, ``None`` for a property that shall go."""

    note: Note
    values: Mapping[str, Any]

    def with_members(self, members: Mapping[str, str]) -> Draft:
        """Return the draft of a record that is shared with ``members``."""
        return replace(self, note=replace(self.note, members=members))

    def with_stored(self, stored: str) -> Draft:
        """Return the draft of a record whose bytes Glance knows as ``stored``."""
        return replace(self, note=replace(self.note, stored=stored))

    def patch(self, image: Image) -> list[dict[str, Any]]:
        """Return the JSON patch that makes ``image`` this, with what differs alone."""
        wanted = {**self.values, RECORD: encode(self.note)}
        return [_operation(name, value) for name, value in wanted.items() if image.get(name) != value]


def _operation(name: str, value: object) -> dict[str, Any]:
    path = "/" + name.replace("~", "~0").replace("/", "~1")
    if value is None:
        return {"op": "remove", "path": path}
    return {"op": "replace" if name in _ATTRIBUTES else "add", "path": path, "value": value}


def creation(spec: ImageSpec, note: Note, mark: str) -> dict[str, Any]:
    """Return the body of the request that creates the record: nobody but its owner sees it."""
    return {
        **spec.metadata.properties,
        **state_properties(State.STAGED),
        RECORD: encode(note),
        "name": spec.metadata.name,
        "visibility": "private",
        "os_hidden": True,
        "disk_format": DISK_FORMATS[spec.format],
        "container_format": "bare",
        "min_disk": spec.min_disk,
        "min_ram": spec.metadata.min_ram,
        "tags": [mark],
    }


def unchanged(record: Record) -> Draft:
    """Return the record as it is."""
    return Draft(record.note, {})


def described(record: Record, metadata: Metadata, terms: Terms) -> Draft:
    """Return the record with other metadata, in its state, without drift."""
    state = record.state
    note = record.note.described(metadata)
    retired = replace(note.retired, name=metadata.name) if note.retired and state is State.RETIRED else None
    values = {
        **dict.fromkeys((set(record.note.names) - set(note.names)) | record.diversions),
        **metadata.properties,
        **_standing(State.STAGED if state is State.PARTIAL else state, terms),
        "name": retired.display_name if retired else metadata.name,
        "min_ram": metadata.min_ram,
        **({"min_disk": note.min_disk} if note.min_disk else {}),
    }
    return Draft(replace(note, retired=retired), values)


def published(record: Record, terms: Terms) -> Draft:
    """Return the record as it is offered to users."""
    note = replace(record.note, retired=None)
    return Draft(note, {**_standing(State.PUBLISHED, terms), "name": record.metadata.name})


def retired(record: Record, retirement: Retirement, terms: Terms) -> Draft:
    """Return the record as it is no longer offered: listed, so that accounting finds it."""
    past = Retired(retirement.at, retirement.reason, retirement.superseded, record.metadata.name)
    return Draft(replace(record.note, retired=past), {**_standing(State.RETIRED, terms), "name": past.display_name})


def _standing(state: State, terms: Terms) -> dict[str, Any]:
    """Return what follows the state. What was never published stays hidden; how far it is shared does not matter."""
    if state is State.STAGED:
        return {**state_properties(state), "os_hidden": True}
    return {**state_properties(state), "os_hidden": False, "visibility": terms.visibility}
