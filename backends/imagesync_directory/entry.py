"""One record of the catalogue, and its JSON form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from imagesync.backend import (
    Digest,
    Fingerprint,
    Format,
    ImageId,
    ImageKey,
    ImageSpec,
    ListId,
    Metadata,
    OwnedImage,
    Retirement,
    State,
    state_properties,
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a file was found to be: its size in bytes, its time of last change, and the SHA-512 of its bytes."""

    size: int
    mtime_ns: int
    sha512: Digest


@dataclass(frozen=True, slots=True)
class Entry:
    """A record. ``stored`` is what we wrote, ``None`` until it is complete; ``observed`` is what it was changed to.

    ``size`` and ``virtual_size`` are in bytes, ``min_disk`` in GiB. ``link`` is the name under which the file is
    offered, empty for none. ``extra`` are keys that somebody else wrote into the record; they are kept.
    """

    instance: str
    key: ImageKey
    fingerprint: Fingerprint
    state: State
    metadata: Metadata
    format: Format
    file: str
    size: int
    virtual_size: int
    min_disk: int
    created_at: datetime
    stored: Sighting | None = None
    observed: Sighting | None = None
    link: str = ""
    retirement: Retirement | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    ref: str = field(init=False, compare=False)
    """What names this record among all of the directory: no two have mark, key and file in common."""

    def __post_init__(self) -> None:
        """Compute the reference once: everything looks records up by it."""
        object.__setattr__(self, "ref", _ref(self.instance, self.key, self.file))

    @property
    def complete(self) -> bool:
        """Return whether its bytes were all there once."""
        return self.state is not State.PARTIAL

    def serves(self, instance: str, spec: ImageSpec) -> bool:
        """Return whether an upload of ``spec`` for ``instance`` is about this record."""
        return (self.instance, self.key, self.fingerprint) == (instance, spec.key, spec.fingerprint)

    def sighting(self, size: int, mtime_ns: int) -> Sighting | None:
        """Return what is known of a file with that size and time of last change."""
        known = (self.observed, self.stored)
        return next((item for item in known if item and (item.size, item.mtime_ns) == (size, mtime_ns)), None)

    def moved(self, state: State, retirement: Retirement | None = None) -> Entry:
        """Return the record in another state, with the properties that follow it."""
        entry = replace(self, state=state, retirement=retirement)
        return entry.described(entry.metadata)

    def described(self, metadata: Metadata) -> Entry:
        """Return the record with other metadata; the properties that follow its state stay right."""
        properties = {**metadata.properties, **state_properties(self.state)}
        return replace(self, metadata=replace(metadata, properties=properties))

    def seen(self, sighting: Sighting) -> Entry:
        """Return the record with what its file was found to be."""
        if self.stored is not None and sighting.sha512 == self.stored.sha512:
            return replace(self, stored=sighting, observed=None)
        return replace(self, observed=sighting)

    def owned(self, sighting: Sighting | None) -> OwnedImage:
        """Return the record as the port shows it; ``sighting`` is its file as it is now."""
        return OwnedImage(
            ref=self.ref,
            key=self.key,
            fingerprint=self.fingerprint,
            state=self.state,
            metadata=self.metadata,
            format=self.format,
            digest=sighting.sha512 if sighting else None,
            size=sighting.size if sighting else self.size,
            virtual_size=self.virtual_size,
            created_at=self.created_at,
            retirement=self.retirement,
        )


@lru_cache(maxsize=1 << 14)
def _ref(instance: str, key: ImageKey, file: str) -> str:
    identity = [instance, key.owner, key.list, key.image, file]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


def begin(spec: ImageSpec, instance: str, file: str) -> Entry:
    """Return the record of an upload that begins."""
    entry = Entry(
        instance=instance,
        key=spec.key,
        fingerprint=spec.fingerprint,
        state=State.PARTIAL,
        metadata=spec.metadata,
        format=spec.format,
        file=file,
        size=spec.size,
        virtual_size=spec.virtual_size,
        min_disk=spec.min_disk,
        created_at=spec.at,
    )
    return entry.described(spec.metadata)


# --- JSON -------------------------------------------------------------------------------------------------------------
_KNOWN = frozenset(
    {
        *("key", "file", "link", "state", "format", "size", "sha512", "virtual_size", "name", "properties", "min_ram"),
        *("min_disk", "fingerprint", "created_at", "retirement", "mtime_ns", "observed", "instance"),
    }
)
_OPTIONAL = frozenset({"link", "sha512", "retirement", "mtime_ns", "observed"})


def to_json(entry: Entry) -> dict[str, Any]:
    """Return the JSON form. What does not apply is left out."""
    form: dict[str, Any] = {
        "key": {"owner": entry.key.owner, "list": entry.key.list, "image": entry.key.image},
        "file": entry.file,
        "link": entry.link,
        "state": str(entry.state),
        "format": str(entry.format),
        "size": entry.size,
        "sha512": entry.stored.sha512 if entry.stored else None,
        "virtual_size": entry.virtual_size,
        "name": entry.metadata.name,
        "properties": dict(entry.metadata.properties),
        "min_ram": entry.metadata.min_ram,
        "min_disk": entry.min_disk,
        "fingerprint": entry.fingerprint,
        "created_at": entry.created_at.isoformat(),
        "retirement": _retirement_to_json(entry.retirement),
        "mtime_ns": entry.stored.mtime_ns if entry.stored else None,
        "observed": _sighting_to_json(entry.observed),
        "instance": entry.instance,
    }
    kept = {name: value for name, value in form.items() if name not in _OPTIONAL or value}
    return {**kept, **entry.extra}


def from_json(form: Mapping[str, Any]) -> Entry:
    """Return the record.

    Raises:
        ValueError, TypeError, KeyError: it is not of the form that ``to_json`` makes.
    """
    key = form["key"]
    digest = form.get("sha512")
    return Entry(
        instance=_text(form["instance"]),
        key=ImageKey(_text(key["owner"]), ListId(_text(key["list"])), ImageId(_text(key["image"]))),
        fingerprint=Fingerprint(_text(form["fingerprint"])),
        state=State(form["state"]),
        metadata=Metadata(_text(form["name"]), _properties(form["properties"]), _number(form["min_ram"])),
        format=Format(form["format"]),
        file=_component(form["file"]),
        size=_number(form["size"]),
        virtual_size=_number(form["virtual_size"]),
        min_disk=_number(form["min_disk"]),
        created_at=_moment(form["created_at"]),
        stored=Sighting(_number(form["size"]), _number(form["mtime_ns"]), Digest(_text(digest))) if digest else None,
        observed=_sighting_from_json(form.get("observed")),
        link=_component(form["link"]) if form.get("link") else "",
        retirement=_retirement_from_json(form.get("retirement")),
        extra={name: value for name, value in form.items() if name not in _KNOWN},
    )


def _sighting_to_json(sighting: Sighting | None) -> dict[str, Any] | None:
    if sighting is None:
        return None
    return {"size": sighting.size, "mtime_ns": sighting.mtime_ns, "sha512": sighting.sha512}


def _sighting_from_json(form: Mapping[str, Any] | None) -> Sighting | None:
    if form is None:
        return None
    return Sighting(_number(form["size"]), _number(form["mtime_ns"]), Digest(_text(form["sha512"])))


def _retirement_to_json(retirement: Retirement | None) -> dict[str, Any] | None:
    if retirement is None:
        return None
    return {"at": retirement.at.isoformat(), "reason": retirement.reason, "superseded": retirement.superseded}


def _retirement_from_json(form: Mapping[str, Any] | None) -> Retirement | None:
    if form is None:
        return None
    return Retirement(_moment(form["at"]), _text(form["reason"]), bool(form["superseded"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return value


def _component(value: object) -> str:
    """Return a name that cannot lead out of the directory."""
    name = _text(value)
    if "/" in name or "\0" in name or name.startswith(".") or not name:
        raise ValueError(f"{name!r} is not the name of a file in the directory")
    return name


def _properties(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("properties are not a mapping")
    if not set(map(type, value.values())) <= {str}:
        raise TypeError("properties are not all texts")
    return value


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return moment
