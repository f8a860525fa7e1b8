"""Writing what was seen of lists, with their images, into bundles for places without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event

import structlog

from imagesync.backend import Progress
from imagesync.errors import DigestMismatchError, ImagesyncError
from imagesync.images.bundle import Bundle, copy_verified
from imagesync.images.entries import source_name
from imagesync.images.prepare import Fetch
from imagesync.images.store import Store
from imagesync.lists.local import LIST
from imagesync.lists.select import Selected, select
from imagesync.model import Image, TrustedList
from imagesync.run.denial import denied
from imagesync.run.observe import Seen
from imagesync.run.progress import Display, Step, interruptible
from imagesync.run.sync import PassResult

log = structlog.get_logger(__name__)


class Ending(StrEnum):
    """What became of an image. The values are words of the report."""

    KEPT = "kept"
    COPIED = "copied"
    DOWNLOADED = "downloaded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ImageExport:
    """One image of a bundle."""

    image: Image
    outcome: Ending
    error: ImagesyncError | None = None


@dataclass(frozen=True, slots=True)
class ListExport:
    """What became of one list. ``images`` is empty and ``path`` untouched unless the list is trusted.

    ``removed`` is the number of images that it no longer names. ``error`` is why the bundle could not be made.
    """

    seen: Seen
    path: Path
    images: tuple[ImageExport, ...] = ()
    removed: int = 0
    error: ImagesyncError | None = None


@dataclass(frozen=True, slots=True)
class Supply:
    """Where images come from: the cache, and by subscription and image what downloads them."""

    store: Store
    fetch: Callable[[str, Image], Fetch]
    display: Display
    stop: Event


def export(result: PassResult, directory: Path, supply: Supply) -> tuple[ListExport, ...]:
    """Bring the bundle of every list that ``result`` trusts up to date, each below ``directory`` under its name."""
    return tuple(
        _export(item, directory / item.subscription.name, supply, result)
        for item in result.seen
        if item.observation is not None
    )


def _export(item: Seen, path: Path, supply: Supply, result: PassResult) -> ListExport:
    if not isinstance(item.observation, TrustedList) or item.remember is None:
        return ListExport(item, path)
    try:
        bundle = Bundle(path)
        with bundle.locked():
            images = tuple(_add(image, item, bundle, supply) for image in _wanted(item, item.observation, result))
            bundle.publish(LIST, item.remember.blob)
            # Whoever reads the list that was there before needs these no longer than until now.
            removed = bundle.drop_others({one.image.sha512 for one in images})
    except ImagesyncError as error:
        log.error("list not exported", list=item.subscription.name, cause=error.reason, reason=str(error))
        return ListExport(item, path, error=error)
    return ListExport(item, path, images, removed)


def _wanted(item: Seen, trusted: TrustedList, result: PassResult) -> Iterator[Image]:
    """Yield the images that the subscription selects and nobody recalled, the smallest first, the same bytes once."""
    chosen: Sequence[object] = [
        denied(one, trusted, result.task.denials)
        for one in select(trusted, (item.subscription.selection,), result.task.now)
    ]
    images = {one.image.sha512: one.image for one in chosen if isinstance(one, Selected)}
    yield from sorted(images.values(), key=lambda image: image.size)


def _add(image: Image, item: Seen, bundle: Bundle, supply: Supply) -> ImageExport:
    """Put an image into the bundle: whatever keeps it out stops no other."""
    if bundle.has(image.sha512, image.size):
        return ImageExport(image, Ending.KEPT)
    try:
        fetch = supply.fetch(item.subscription.name, image)
        with supply.display.task(Step.DOWNLOAD, image.title, image.size) as progress:
            stoppable = interruptible(progress, supply.stop)
            if _from_cache(image, bundle, supply.store, stoppable):
                return ImageExport(image, Ending.COPIED)
            bundle.add(image.sha512, lambda path: fetch(path, stoppable))
    except ImagesyncError as error:
        log.error("image not exported", image=image.identifier, cause=error.reason, reason=str(error))
        return ImageExport(image, Ending.FAILED, error)
    return ImageExport(image, Ending.DOWNLOADED)


def _from_cache(image: Image, bundle: Bundle, store: Store, progress: Progress) -> bool:
    with store.borrow(source_name(image.sha512)) as entry:
        if entry is None or entry.record.size != image.size:
            return False
        endorsed = image.sha512, image.size
        with suppress(DigestMismatchError), store.errors(), entry.path.open("rb") as file:
            bundle.add(image.sha512, lambda into: copy_verified(file, endorsed, into, progress))
            return True
    store.discard(source_name(image.sha512))  # it rotted
    return False
