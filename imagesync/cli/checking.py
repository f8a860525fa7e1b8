"""What ``imagesync config check`` looks at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from imagesync import registry
from imagesync.cli.context import Options, clock, environment
from imagesync.config.check import check
from imagesync.errors import ConfigError, ImagesyncError, TrustStoreUnusableError
from imagesync.http import ignored_proxy_warning

if TYPE_CHECKING:
    from imagesync.config.schema import Config
    from imagesync.lists.anchors import Anchors


def problems(options: Options, *, connect: bool) -> tuple[list[str], list[str]]:
    """Return everything that is wrong, and everything that is probably not meant."""
    try:
        config = options.config()
    except ConfigError as error:
        return list(error.problems), []
    found = list(check(config, registry.load_backend, registry.sources()))
    warning = ignored_proxy_warning(environment(), {name: proxy.url for name, proxy in config.proxies.items()})
    warnings = [warning] if warning else []
    if not found:
        warnings += _boot_checks(config)
    if connect and not found:
        found += _connection_problems(options, config, warnings)
    elif not found:
        warnings += [f"trust.anchors: {line}" for line in _of_anchors(_anchors(config), clock())]
    return found, warnings


def _boot_checks(config: Config) -> Iterator[str]:
    """Say what would keep images from being started here, where that is wanted."""
    asked = {
        config.boot_check_for(subscription, target)
        for target in config.targets
        for subscription in config.subscriptions_of(target)
    }
    if asked <= {"off"}:
        return
    from imagesync.boot.check import missing
    from imagesync.images.confine import STANDARD_PATH

    yield from (f"boot_check: {line}" for line in missing(environment().get("PATH", STANDARD_PATH)))


def _connection_problems(options: Options, config: Config, warnings: list[str]) -> Iterator[str]:
    """Run a pass that plans and changes nothing, and return what did not answer or must not be trusted."""
    from imagesync.model import Unknown
    from imagesync.run.progress import Silent
    from imagesync.run.settings import Scope
    from imagesync.run.sync import run_pass
    from imagesync.run.wiring import open_ports, task

    options.start_logging("error")
    now = clock()
    work = replace(task(config, Scope(), now, dry=True), check=True)
    yield from _room(config)
    try:
        with open_ports(config, environment(), work, Silent()) as ports:
            warnings += [f"trust.anchors: {warning}" for warning in _of_anchors(ports.anchors, now)]
            result = run_pass(work, ports)
    except ImagesyncError as error:
        yield str(error)
        return
    for item in result.seen:
        if isinstance(item.observation, Unknown):
            yield f"subscription {item.subscription.name}: {item.observation.reason} ({item.observation.hint})"
    yield from (f"target {target.name}: {target.error}" for target in result.targets if target.error)
    warnings += [f"target {target.name}: {notice}" for target in result.targets for notice in target.notices]


def _anchors(config: Config) -> Anchors:
    from imagesync.lists.anchors import load_anchors

    return load_anchors(config.trust.anchors)


def _of_anchors(anchors: Anchors | TrustStoreUnusableError, now: datetime) -> Iterator[str]:
    from imagesync.lists.path import unusable

    if isinstance(anchors, TrustStoreUnusableError):
        raise anchors
    yield from anchors.warnings
    yield from (f"no list under this CA can be verified: {line}" for line in unusable(anchors, now))


def _room(config: Config) -> Iterator[str]:
    """Say when the cache has less room than it is told to leave free."""
    place = next(path for path in (config.cache, *config.cache.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < config.cache_reserve_bytes:
        need = f"{config.cache_reserve_bytes} bytes are to stay free there (cache_reserve_bytes)"
        yield f"cache: {config.cache} has {free} bytes of room, {need}: make room or name another directory"
