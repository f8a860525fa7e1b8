"""What ``imagesync config check`` looks at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from imagesync import registry
from imagesync.cli.context import Options, clock, environment
from imagesync.config.check import check
from imagesync.errors import ConfigError, ImagesyncError
from imagesync.http import ignored_proxy_warning

if TYPE_CHECKING:
    from imagesync.config.schema import Config


def problems(options: Options, *, connect: bool) -> tuple[list[str], list[str]]:
    """Return everything that is wrong, and everything that is probably not meant."""
    try:
        config = options.config()
    except ConfigError as error:
        return list(error.problems), []
    found = list(check(config, registry.load_backend, registry.sources()))
    if connect and not found:
        found = list(_connection_problems(options, config))
    warning = ignored_proxy_warning(environment(), {name: proxy.url for name, proxy in config.proxies.items()})
    return found, [warning] if warning else []


def _connection_problems(options: Options, config: Config) -> Iterator[str]:
    """Run a pass that plans and changes nothing, and return what did not answer or must not be trusted."""
    from imagesync.model import Unknown
    from imagesync.run.progress import Silent
    from imagesync.run.settings import Scope
    from imagesync.run.sync import run_pass
    from imagesync.run.wiring import open_ports, task

    options.start_logging("error")
    try:
        with open_ports(config, environment(), Silent(), dry=True) as ports:
            yield from (f"trust.anchors: {warning}" for warning in ports.anchors.warnings)
            result = run_pass(task(config, Scope(), clock(), dry=True), ports)
    except ImagesyncError as error:
        yield str(error)
        return
    for item in result.seen:
        if isinstance(item.observation, Unknown):
            yield f"subscription {item.subscription.name}: {item.observation.reason} ({item.observation.hint})"
    yield from (f"target {target.name}: {target.error}" for target in result.targets if target.error)
