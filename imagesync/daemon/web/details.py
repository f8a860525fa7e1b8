"""What a single page shows beyond the situation, read from the state when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from imagesync.config.schema import Config
from imagesync.errors import ImagesyncError
from imagesync.http.url import redact
from imagesync.model import Digest, ImageId
from imagesync.run.denial import raw_entries
from imagesync.run.proof import Link, path_of
from imagesync.run.provenance import asks
from imagesync.run.situation import ImageStanding, ListStanding
from imagesync.run.wiring import open_configured_state
from imagesync.state import ActionRecord, ArtifactRecord, BootRecord, ListVersion, MetadataRecord
from imagesync.state.repository import Repository

_VERSIONS, _ACTIONS, _ENTRIES, _KEYS = 50, 50, 20_000, 60
_HIDDEN = ("ad:user:",)
"""Keys that name persons."""


@dataclass(frozen=True, slots=True)
class ListDetails:
    """Who signed a list, from the signer to the root, and its versions, the newest first."""

    chain: tuple[Link, ...]
    versions: tuple[ListVersion, ...]


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """What the list says of an image, what was made of it, what was done about it, how it starts, and who signed.

    ``said`` is what its record says to users, as it was written last.
    """

    entry: Mapping[str, str]
    made: ArtifactRecord | None
    history: tuple[ActionRecord, ...]
    boot: BootRecord | None
    chain: tuple[Link, ...]
    said: MetadataRecord | None


def of_list(config: Config, standing: ListStanding) -> ListDetails:
    """Return what the page of a list shows.

    Raises:
        StateError: the state cannot be read.
    """
    with open_configured_state(config, readonly=True) as state:
        return ListDetails(_chain(state, standing.message), state.versions_of(standing.name, _VERSIONS))


def of_image(config: Config, image: ImageStanding, standing: ListStanding | None) -> ImageDetails:
    """Return what the page of an image shows.

    Raises:
        StateError: the state cannot be read.
    """
    record = image.record
    message = standing.message if standing else ""
    with open_configured_state(config, readonly=True) as state:
        made = state.made(record.digest) if record.digest else ()
        entry = _entry(state.message(message) if message else None, record.key.image)
        return ImageDetails(
            entry=entry,
            boot=_boot(state, image, entry),
            made=made[0] if made else None,
            history=tuple(one for one in state.actions(str(record.key), _ACTIONS) if one.target == image.target),
            chain=_chain(state, message),
            said=state.metadata(image.target, record.key),
        )


def message(config: Config, subscription: str, sha256: str) -> bytes | None:
    """Return a signed message, if it was accepted for that subscription.

    Raises:
        StateError: the state cannot be read.
    """
    with open_configured_state(config, readonly=True) as state:
        known = {one.message for one in state.versions_of(subscription, _VERSIONS)}
        return state.message(sha256) if sha256 in known else None


def screen(config: Config, image: ImageStanding, standing: ListStanding | None) -> bytes | None:
    """Return the picture of the screen from an image's boot check, a PNG file.

    Raises:
        StateError: the state cannot be read.
    """
    message = standing.message if standing else ""
    with open_configured_state(config, readonly=True) as state:
        entry = _entry(state.message(message) if message else None, image.record.key.image)
        boot = _boot(state, image, entry)
        return boot.screen if boot else None


def _boot(state: Repository, image: ImageStanding, entry: Mapping[str, str]) -> BootRecord | None:
    """Return the boot check of the file that a target has, or of what else was made of an image."""
    source = Digest(entry.get("sl:checksum:sha512", "").strip().lower())
    return state.boots.closest(image.record.digest, source, asks(state, image.target, image.record))


def _chain(state: Repository, sha256: str) -> tuple[Link, ...]:
    try:
        return path_of(state.evidence(sha256)) if sha256 else ()
    except (ValueError, ImagesyncError):  # a certificate that cannot be read any more
        return ()


def _entry(blob: bytes | None, identifier: ImageId) -> dict[str, str]:
    """Return what a list says of an image: its plain keys."""
    for entry in islice(raw_entries(blob) if blob else (), _ENTRIES):
        if str(entry.get("dc:identifier")) == identifier:
            plain = ((str(key), value) for key, value in entry.items() if isinstance(value, str | int | float))
            shown = islice(plain, _KEYS)
            return {key: _shown(key, str(value)) for key, value in shown if not key.startswith(_HIDDEN)}
    return {}


def _shown(key: str, value: str) -> str:
    """Return a value of the list; an address may carry a secret."""
    return redact(value) if key == "hv:uri" else value
