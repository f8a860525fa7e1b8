"""Local denials: which images and records they recall. Pure.

A denial counts whatever a list says, and while it is unknown. What others can write on a record must not save it
then: where the state does not confirm that a record's bytes are what it claims, it is also judged by what the state
knows of these bytes, and by the version of its list that was accepted last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from imagesync.backend import Digest, ImageKey, OwnedImage
from imagesync.errors import TrustError
from imagesync.lists import envelope
from imagesync.lists.select import Cause, Selected, Skipped
from imagesync.model import Accepted, Image, ImageId, ListId, TrustedList
from imagesync.plan.spec import Wanted
from imagesync.state import ListVersion

Facts = Mapping[str, frozenset[str]]
"""What an image may be, by the fields of ``deny.d``: several values where it is not sure which is true."""


_ENTRY_KEYS = ("dc:identifier", "dc:title", "hv:version", "ad:mpuri", "sl:checksum:sha512", "dc:date:expires")


@dataclass(frozen=True, slots=True)
class Denial:
    """A local rule that no image may be offered which matches all of ``patterns``, and why.

    A pattern is a field and a glob; the fields are those of ``deny.d`` (configuration reference).
    """

    patterns: tuple[tuple[str, str], ...]
    reason: str

    def matches(self, facts: Facts) -> bool:
        """Return whether an image of which ``facts`` gives the fields is denied, without regard to case."""
        return all(
            any(_fits(value.casefold(), glob.casefold()) for value in facts.get(name, ()))
            for name, glob in self.patterns
        )


def _fits(value: str, glob: str) -> bool:
    """Return whether a glob means a value, which it does too where it is that value: names may hold brackets."""
    return value == glob or fnmatchcase(value, glob)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the state knows of the images on a target.

    ``digests`` are those of the files as last seen under each key, ``sources`` the SHA-512 of what a file was made
    from, by its digest. ``listed`` has the facts of the images of unknown lists, as accepted last.
    """

    digests: Mapping[ImageKey, Digest | None] = field(default_factory=dict)
    sources: Mapping[Digest, frozenset[str]] = field(default_factory=dict)
    listed: Mapping[tuple[ListId, ImageId], Facts] = field(default_factory=dict)

    def confirms(self, image: OwnedImage) -> bool:
        """Return whether the bytes of a record are those that were last seen under the key that it claims."""
        return image.digest is not None and self.digests.get(image.key) == image.digest

    def keys(self, image: OwnedImage) -> frozenset[ImageKey]:
        """Return what a record can be: what it claims, and unless that is confirmed, whatever had its bytes."""
        if image.digest is None or self.confirms(image):
            return frozenset({image.key})
        return frozenset({image.key, *(key for key, digest in self.digests.items() if digest == image.digest)})


def denied(one: Selected | Skipped, trusted: TrustedList, denials: Sequence[Denial]) -> Selected | Skipped:
    """Return what was selected, as skipped if a denial names it."""
    if isinstance(one, Skipped) or not denials:
        return one
    reason = _reason(_listed_facts(one.image, trusted), denials)
    if not reason:
        return one
    return Skipped(one.image.identifier, one.image.title, Cause.REVOKED, reason)


def revoked(
    owned: Iterable[OwnedImage], denials: Sequence[Denial], memory: Remembered, wanted: Mapping[ImageKey, Wanted]
) -> dict[str, str]:
    """Return the reason for each record that a denial names, by its ``ref``.

    Where a list wants the very same file now, what it says counts and not what the record still says: it may be
    endorsed anew, in another version or by another signer than the one that is denied.
    """
    found = {}
    for image in owned if denials else ():
        now = wanted.get(image.key)
        judged = replace(image, metadata=now.metadata) if now and image.fingerprint in now.fingerprints else image
        if reason := _reason(_recorded_facts(judged, memory), denials):
            found[image.ref] = reason
    return found


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """What an entry of an accepted message says, as far as it says it."""

    identifier: str
    title: str
    version: str
    mpuri: str
    sha512: str
    expires: str


def remembered_list(accepted: Accepted, blob: bytes) -> dict[tuple[ListId, ImageId], Facts]:
    """Return the facts of the images in the message that was accepted last. They only ever recall, never offer."""
    return {(accepted.list, ImageId(entry.identifier)): _entry_facts(entry, accepted) for entry in listed_entries(blob)}


def listed_entries(blob: bytes) -> Iterator[ListedEntry]:
    """Yield the images of a message that was accepted once; nothing of one that cannot be read any more."""
    for entry in raw_entries(blob):
        yield ListedEntry(*(str(entry.get(key) or "") for key in _ENTRY_KEYS))


def raw_entries(blob: bytes) -> Iterator[Mapping[str, Any]]:
    """Yield the images of a message that was accepted once, with every key as published."""
    try:
        content = json.loads(envelope.split(blob).json)["hv:imagelist"]["hv:images"]
    except (TrustError, KeyError, TypeError, ValueError):
        return
    for holder in content if isinstance(content, list) else ():
        entry = holder.get("hv:image") if isinstance(holder, dict) else None
        if isinstance(entry, dict):
            yield entry


def denial_of(entry: ListedEntry, version: ListVersion, denials: Sequence[Denial]) -> str:
    """Return the reason for which an entry of an accepted list is denied, or the empty string."""
    facts = {
        "identifier": entry.identifier,
        "list": version.list,
        "list_version": version.version,
        "mpuri": entry.mpuri,
        "sha512": entry.sha512,
        "signer": version.signer.dn,
    }
    return _reason(_single(facts), denials)


def _reason(facts: Facts, denials: Sequence[Denial]) -> str:
    found = next((denial for denial in denials if denial.matches(facts)), None)
    return f"denied locally: {found.reason}" if found else ""


def _listed_facts(image: Image, trusted: TrustedList) -> Facts:
    return _single(
        {
            "identifier": image.identifier,
            "list": trusted.identifier,
            "list_version": trusted.content.version,
            "mpuri": image.mpuri,
            "sha512": image.sha512,
            "signer": trusted.content.signer.identity.dn,
        }
    )


def _entry_facts(entry: ListedEntry, accepted: Accepted) -> Facts:
    return _single(
        {
            "list_version": accepted.version or "",
            "mpuri": entry.mpuri,
            "sha512": entry.sha512.lower(),
            "signer": accepted.signer.identity.dn,
        }
    )


def _recorded_facts(image: OwnedImage, memory: Remembered) -> Facts:
    properties, keys = image.metadata.properties, memory.keys(image)
    own = {
        "list_version": properties.get("imagesync_list_version", ""),
        "mpuri": properties.get("APPLIANCE_MPURI", ""),
        "sha512": properties.get("imagesync_source_sha512", ""),
        "signer": properties.get("imagesync_signer", ""),
    }
    worlds = [_single(own), *(memory.listed.get((key.list, key.image), {}) for key in keys)]
    facts = {name: frozenset[str]().union(*(world.get(name, frozenset()) for world in worlds)) for name in own}
    bytes_of = {image.digest, *memory.sources.get(image.digest, ())} if image.digest else set[str]()
    return facts | {
        "identifier": frozenset(str(key.image) for key in keys),
        "list": frozenset(str(key.list) for key in keys),
        "sha512": facts["sha512"] | bytes_of,
    }


def _single(facts: Mapping[str, str]) -> Facts:
    return {name: frozenset({value}) for name, value in facts.items()}
