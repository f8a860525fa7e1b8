"""Bringing images into a target's form with the real download, cache and converter.

Loaded with the first image that is needed: a pass that finds everything in order does without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from imagesync.backend import Progress
from imagesync.config.schema import Config
from imagesync.errors import DigestMismatchError, ImagesyncError, SourceError, TooLargeError
from imagesync.images.artifact import Artifact, BootCheck, ConversionLimits
from imagesync.images.bundle import fetch_image
from imagesync.images.confine import STANDARD_PATH
from imagesync.images.download import DownloadRequest, Source, download
from imagesync.images.prepare import ArtifactRequest, Fetch, prepare
from imagesync.images.store import Store
from imagesync.lists.local import bundle_of
from imagesync.model import Digest, Image
from imagesync.plan.spec import Wanted
from imagesync.run.notebook import Notebook
from imagesync.run.pace import Pace
from imagesync.run.settings import BootMode, Subscription, Target

_Check = Callable[[Artifact, Callable[[], None]], BootCheck | None]


def open_store(config: Config) -> Store:
    """Return the cache.

    Raises:
        ConfigError: its directory cannot be made or used.
    """
    return Store(config.cache, max_bytes=config.cache_max_bytes, reserve_bytes=config.cache_reserve_bytes)


def preparation(
    config: Config, subscriptions: Mapping[str, Subscription], environment: Mapping[str, str], notebook: Notebook
) -> Callable[[Wanted, Target, Progress, Progress], AbstractContextManager[Artifact]]:
    """Return the function that brings an image into a target's form.

    ``subscriptions``, by name, say where to ask and what that may cost; of ``environment`` only the PATH is used.
    What became of images that are started is written into ``notebook``.

    Raises:
        ConfigError: the cache cannot be made or used.
    """
    store = open_store(config)
    limits = _conversion_limits(config, environment.get("PATH", STANDARD_PATH))
    pace = _pace(config)
    source = sources(config, subscriptions, pace)
    boots = _boot_checks(config, environment, (store, notebook, pace))

    @contextmanager
    def bring(wanted: Wanted, target: Target, downloading: Progress, converting: Progress) -> Iterator[Artifact]:
        image = wanted.image
        fetch = source(wanted.subscription, image)
        request = ArtifactRequest(
            image.sha512,
            image.size,
            target.formats,
            target.options,
            config.limits.max_virtual_size,
            limits,
            config.limits.unpack_ratio,
            pace.conversion,
            target.max_size,
        )
        check = boots(wanted, target)
        with prepare(request, store, fetch, downloading, converting) as artifact:
            yield replace(artifact, boot=check(artifact, lambda: converting(0)))

    return bring


def _boot_checks(
    config: Config, environment: Mapping[str, str], tools: tuple[Store, Notebook, Pace]
) -> Callable[[Wanted, Target], _Check]:
    """Return what gives the function that starts an image, and may say before that it does not start."""
    store, notebook, pace = tools
    path = environment.get("PATH", STANDARD_PATH)

    def boots(wanted: Wanted, target: Target) -> _Check:
        mode = target.boot_check(wanted.subscription)
        if mode is BootMode.OFF:
            return lambda _artifact, _tick: None
        # QEMU's client is loaded with the first image that is started.
        from imagesync.run.booting import Bench, hold_back, start

        patience = config.limits.boot_timeout.total_seconds()
        bench = Bench(store, notebook, pace.boot, patience, path, alone=pace.alone)
        if mode is BootMode.REQUIRE:
            hold_back(bench, wanted, target.formats)
        return lambda artifact, tick: start(bench, wanted, artifact, mode, tick)

    return boots


def sources(
    config: Config, subscriptions: Mapping[str, Subscription], pace: Pace | None = None
) -> Callable[[str, Image], Fetch]:
    """Return a function from a subscription's name and an image to what writes the image's verified bytes.

    ``subscriptions``, by name, say where to ask and what that may cost.
    """
    pace = pace or _pace(config)
    failed: dict[tuple[str, str, Digest, int], ImagesyncError] = {}

    def fetch(subscription: str, request: DownloadRequest, into: Path, progress: Progress) -> int:
        # What one target could not be given is not asked for again for the next one in the same pass.
        # Another list may say something else of the same file, or be allowed more: what one is refused counts for it.
        key = (subscription, request.uri, request.sha512, request.size)
        if key in failed:
            raise failed[key]
        try:
            return download(request, into, progress)
        except (SourceError, DigestMismatchError) as error:
            failed[key] = error
            raise

    def source(subscription: str, image: Image) -> Fetch:
        if image.size > config.limits.max_image_bytes:
            bound = f"{image.size} bytes are more than {config.limits.max_image_bytes}"
            raise TooLargeError(image.title, bound, "raise limits.max_image_bytes if that is right")
        bundle = bundle_of(subscriptions[subscription].url)
        if bundle is not None:
            return partial(fetch_image, bundle, image.sha512, image.size)
        return partial(fetch, subscription, _request(image, subscriptions[subscription], config.limits.attempts, pace))

    return source


def _request(image: Image, subscription: Subscription, attempts: int, pace: Pace) -> DownloadRequest:
    *mirrors, (uri, policy) = subscription.places(image.uri)
    places = tuple(Source(*mirror) for mirror in mirrors)
    request = DownloadRequest(uri, image.size, image.sha512, policy, attempts, mirrors=places)
    return replace(request, throttle=pace.throttle, turn=pace.turn)


def _pace(config: Config) -> Pace:
    limits = config.limits
    return Pace(
        conversions=limits.parallel_conversions,
        boots=limits.parallel_boots,
        per_host=limits.downloads_per_host,
        bandwidth=limits.bandwidth,
    )


def _conversion_limits(config: Config, path: str) -> ConversionLimits:
    timeout = config.limits.convert_timeout.total_seconds()
    return ConversionLimits(memory=config.limits.convert_memory, deadline=timeout, deadline_per_gib=0.0, path=path)
