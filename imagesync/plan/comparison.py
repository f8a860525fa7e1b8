"""Whether a record on a target is what is wanted, and in what it differs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from imagesync.backend import STATE_PROPERTIES, Metadata, OwnedImage
from imagesync.plan.spec import ARTIFACT_PROPERTIES, Wanted, fingerprint
from imagesync.plan.values import TargetView


def is_right(copy: OwnedImage, wanted: Wanted, target: TargetView) -> bool:
    """Return whether a record holds an acceptable final form, by what the target attests of its bytes.

    Passed-through images have the list's own SHA-512; for converted ones it is remembered. The right bytes under the
    name of another format are not the image: a server would read them as something else.
    """
    if copy.digest is None or wanted.fingerprints.get(copy.fingerprint) is not copy.format:
        return False
    source = wanted.image.sha512
    is_passed_through = copy.fingerprint == fingerprint(source, copy.format, "")
    return (is_passed_through and copy.digest == source) or copy.digest == recorded(copy, target)


def recorded(copy: OwnedImage, target: TargetView) -> str | None:
    """Return the digest of a converted image as the state remembers it, else as a record says that can be believed."""
    noted = None if target.editable else copy.metadata.properties.get("imagesync_sha512")
    return target.recorded.get(copy.fingerprint) or noted


def target_metadata(copy: OwnedImage, wanted: Wanted) -> Metadata:
    """Return the metadata for an existing record: the list's, and what describes its file."""
    held = copy.metadata.properties
    own = {name: held[name] for name in ARTIFACT_PROPERTIES if name in held}
    return replace(wanted.metadata, properties={**wanted.metadata.properties, **own})


def comparable(metadata: Metadata) -> tuple[str, int, Mapping[str, str]]:
    """Return name, memory and properties without those that change with a record's state."""
    properties = dict(metadata.properties)
    for name in STATE_PROPERTIES:
        properties.pop(name, None)
    return metadata.name, metadata.min_ram, properties


def differences(old: Metadata, new: Metadata) -> Iterator[str]:
    """Yield the names of what is not the same in both."""
    (old_name, old_ram, before), (new_name, new_ram, after) = comparable(old), comparable(new)
    if old_name != new_name:
        yield "name"
    if old_ram != new_ram:
        yield "min_ram"
    yield from (name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def is_false(copy: OwnedImage, right: OwnedImage) -> bool:
    """Return whether a record claims to be what another one is."""
    return copy.fingerprint == right.fingerprint and copy.digest not in {None, right.digest}
