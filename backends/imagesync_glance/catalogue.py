"""The images of a project: ours, and signs of other tools."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagesync.backend import ImageSpec
from imagesync.errors import BackendUnavailableError
from imagesync_glance.faults import AnswerError
from imagesync_glance.record import Image, Record, is_snapshot, read
from imagesync_glance.service import Service

LOG = logging.getLogger(__name__)

_READINGS = 3
"""How often a listing is begun again that changed under us."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A sign of another tool that keeps images of the same lists, with one image as an example."""

    tool: str
    example: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a project holds. ``names`` are the ids of images of others by name."""

    records: tuple[Record, ...]
    foreign: Foreign | None
    names: Mapping[str, str]


def survey(service: Service, mark: str) -> Listing:
    """Return our records in a project, and whether another tool works there: two listings, whatever is in it.

    The hidden ones first: an image that is published meanwhile is then seen twice rather than never.

    Raises:
        BackendUnavailableError: it kept changing while it was read.
    """
    owner = service.login.project
    hidden = read_all(service, owner=owner, os_hidden="true", tag=mark)
    visible = read_all(service, owner=owner)
    images = {image["id"]: image for image in (*hidden, *visible)}
    records = tuple(record for image in images.values() if (record := read(image, owner, mark)) is not None)
    signs = (sign for image in visible if (sign := sign_of(image, owner)) is not None)
    names = {str(image.get("name")): str(image["id"]) for image in visible if mark not in image.get("tags", ())}
    return Listing(records, next(signs, None), names)


def candidates(service: Service, mark: str, spec: ImageSpec) -> Iterator[Record]:
    """Yield our records for the key and fingerprint of ``spec`` that are unpublished or have its digest.

    Two small listings: what is hidden is only there between an upload and its publication.
    """
    query = {"owner": service.login.project, "tag": mark}
    hidden = read_all(service, os_hidden="true", **query)
    visible = read_all(service, **query, **({"os_hash_value": spec.digest} if service.uses_sha512 else {}))
    for image in {image["id"]: image for image in (*hidden, *visible)}.values():
        record = read(image, service.login.project, mark)
        if record is not None and (record.note.key(record.owner), record.note.fingerprint) == (
            spec.key,
            spec.fingerprint,
        ):
            yield record


def read_all(service: Service, **query: str) -> list[Image]:
    """Return every image of a listing.

    Raises:
        BackendUnavailableError: it kept changing while it was read.
    """
    for _ in range(_READINGS):
        images = _read_once(service, query)
        if images is not None:
            return images
    raise BackendUnavailableError(
        "Glance", "the listing changed each time while it was read", "it is tried again later"
    )


def _read_once(service: Service, query: dict[str, str]) -> list[Image] | None:
    """Return every image, or ``None`` if that has to be begun again."""
    images: dict[str, Image] = {}
    try:
        for page in service.pages(**query):
            if any(image["id"] in images for image in page):
                return None
            images |= {image["id"]: image for image in page}
    except AnswerError as answer:
        # The image that the next page begins after was deleted meanwhile.
        if images and answer.status in {400, 404}:
            return None
        raise
    if any(image.get("os_hash_algo") not in {None, "sha512"} for image in images.values()):
        service.uses_sha512 = False
    return list(images.values())


# --- other tools ------------------------------------------------------------------------------------------------------
_OURS = ("imagesync_list", "imagesync_record")


def sign_of(image: Image, owner: str) -> Foreign | None:
    """Return the sign of another tool on an image of the project; a snapshot has only copies of properties."""
    if image.get("owner") != owner or is_snapshot(image):
        return None
    tool = _tool(image)
    return None if tool is None else Foreign(tool, f"{image['id']} ({image.get('name')})")


def _tool(image: Image) -> str | None:
    tags = image.get("tags", ())
    if "atrope" in tags or "atrope-catchall" in tags:
        return "atrope"
    if any(name.startswith("CLOUDKEEPER_") for name in image):
        return "cloudkeeper"
    # Our own images, also those of another instance, have these properties as well.
    if any(tag.startswith("imagesync:") for tag in tags) or any(name in image for name in _OURS):
        return None
    if "APPLIANCE_IMAGE_LIST_ID" in image:
        return "cloudkeeper"
    return "vmcatcher" if any(name.startswith("vmcatcher_event_") for name in image) else None
