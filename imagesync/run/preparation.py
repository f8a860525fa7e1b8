"""Bringing images into a target's form with the real download, cache and converter.

Loaded with the first image that is needed: a pass that finds everything in order does without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from imagesync.backend import Progress
from imagesync.config.schema import Config
from imagesync.errors import DigestMismatchError, ImagesyncError, SourceError, TooLargeError
from imagesync.images.artifact import Artifact, ConversionLimits
from imagesync.images.confine import STANDARD_PATH
from imagesync.images.download import DownloadRequest, Source, download
from imagesync.images.prepare import ArtifactRequest, prepare
from imagesync.images.store import Store
from imagesync.model import Digest
from imagesync.plan.spec import Wanted
from imagesync.run.settings import Subscription, Target


def open_store(config: Config) -> Store:
    """Return the cache.

    Raises:
        ConfigError: its directory cannot be made or used.
    """
    return Store(config.cache, max_bytes=config.cache_max_bytes, reserve_bytes=config.cache_reserve_bytes)


def preparation(
    config: Config, subscriptions: Mapping[str, Subscription], environment: Mapping[str, str]
) -> Callable[[Wanted, Target, Progress, Progress], AbstractContextManager[Artifact]]:
    """Return the function that brings an image into a target's form. The cache is opened when it is first needed.

    ``subscriptions``, by name, say where to ask and what that may cost; of ``environment`` only the PATH is used.
    """
    stores: list[Store] = []
    fetch = _fetching()
    limits = _conversion_limits(config, environment.get("PATH", STANDARD_PATH))

    @contextmanager
    def bring(wanted: Wanted, target: Target, downloading: Progress, converting: Progress) -> Iterator[Artifact]:
        image = wanted.image
        if image.size > config.limits.max_image_bytes:
            bound = f"{image.size} bytes are more than {config.limits.max_image_bytes}"
            raise TooLargeError(wanted.title, bound, "raise limits.max_image_bytes if that is right")
        if not stores:
            stores.append(open_store(config))
        *mirrors, (uri, policy) = subscriptions[wanted.subscription].places(image.uri)
        source = DownloadRequest(
            uri,
            image.size,
            image.sha512,
            policy,
            config.limits.attempts,
            mirrors=tuple(Source(*mirror) for mirror in mirrors),
        )
        request = ArtifactRequest(
            image.sha512,
            image.size,
            target.formats,
            target.options,
            config.limits.max_virtual_size,
            limits,
            config.limits.unpack_ratio,
        )
        with prepare(request, stores[0], partial(fetch, source), downloading, converting) as artifact:
            yield artifact

    return bring


def _fetching() -> Callable[[DownloadRequest, Path, Progress], int]:
    """Return a download that does not ask again, for the next target of the same pass, for what could not be got."""
    failed: dict[tuple[str, Digest], ImagesyncError] = {}

    def fetch(source: DownloadRequest, into: Path, progress: Progress) -> int:
        key = (source.uri, source.sha512)
        if key in failed:
            raise failed[key]
        try:
            return download(source, into, progress)
        except (SourceError, DigestMismatchError) as error:
            failed[key] = error
            raise

    return fetch


def _conversion_limits(config: Config, path: str) -> ConversionLimits:
    timeout = config.limits.convert_timeout.total_seconds()
    return ConversionLimits(memory=config.limits.convert_memory, deadline=timeout, deadline_per_gib=0.0, path=path)
