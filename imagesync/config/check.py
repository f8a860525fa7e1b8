"""What is wrong with a configuration beyond its own words: backends, secrets, directories. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from imagesync.backend import Context, OpenBackend
from imagesync.config.problems import unknown_key
from imagesync.config.schema import Config, Subscription, Target
from imagesync.config.secrets import SecretRef
from imagesync.errors import ConfigError, TrustStoreUnusableError


def check(config: Config, load_backend: Callable[[str], OpenBackend], sources: Collection[str]) -> tuple[str, ...]:
    """Return every problem, one line each: ``file: path.to[0].key: what is wrong, what to do``.

    ``load_backend`` is ``imagesync.registry.load_backend``; ``sources`` are the names of the sources that exist.
    Nothing is connected to: constructing a backend only checks its settings.
    """
    return (
        *_check_anchors(config),
        *(f"{config.place(*place)}: {problem}" for place, problem in _check_secrets(config)),
        *check_settings(config, load_backend, sources),
    )


def check_settings(
    config: Config, load_backend: Callable[[str], OpenBackend], sources: Collection[str]
) -> tuple[str, ...]:
    """Return the problems that no waiting mends, as ``check`` does: all but those of secrets and trust anchors."""
    return (*_check_subscriptions(config, sources), *_check_targets(config, load_backend))


def _check_anchors(config: Config) -> Iterator[str]:
    from imagesync.lists.anchors import load_anchors  # cryptography is not needed to show a configuration

    try:
        load_anchors(config.trust.anchors)
    except TrustStoreUnusableError as error:
        yield f"{config.place('trust', 'anchors')}: {error}"


def _check_secrets(config: Config) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for place, secret in _secrets(config):
        try:
            secret.value()
        except ConfigError as error:
            yield place, str(error)


def _secrets(config: Config) -> Iterator[tuple[tuple[str | int, ...], SecretRef]]:
    if config.state.password:
        yield ("state", "password"), config.state.password
    for name, proxy in config.proxies.items():
        if proxy.password:
            yield ("proxies", name, "password"), proxy.password
    for index, subscription in enumerate(config.subscriptions):
        if subscription.token:
            yield ("subscriptions", index, "token"), subscription.token
    for index, target in enumerate(config.targets):
        yield from _nested(("targets", index), target.settings)


def _nested(place: tuple[str | int, ...], value: object) -> Iterator[tuple[tuple[str | int, ...], SecretRef]]:
    match value:
        case SecretRef():
            yield place, value
        case Mapping():
            for key, item in value.items():
                yield from _nested((*place, key), item)
        case list():
            for index, item in enumerate(value):
                yield from _nested((*place, index), item)


def _check_subscriptions(config: Config, sources: Collection[str]) -> Iterator[str]:
    if not config.subscriptions:
        yield f"{config.place('subscriptions')}: is missing: name a list to follow"
    for index, subscription in enumerate(config.subscriptions):
        if subscription.source not in sources:
            known = ", ".join(sorted(sources))
            yield f"{config.place('subscriptions', index, 'source')}: {subscription.source} is not known: write {known}"


def _check_targets(config: Config, load_backend: Callable[[str], OpenBackend]) -> Iterator[str]:
    if not config.targets:
        yield f"{config.place('targets')}: is missing: name a catalogue to keep"
    for index, target in enumerate(config.targets):
        yield from _check_settings(config, index, load_backend)
        yield from _check_projects(config, index, target)


def _check_settings(config: Config, index: int, load_backend: Callable[[str], OpenBackend]) -> Iterator[str]:
    target = config.targets[index]
    place = config.place("targets", index)
    try:
        open_backend = load_backend(target.backend)
    except ConfigError as error:
        yield f"{place}.backend: {error}"
        return
    try:
        open_backend(target.settings, Context(target.name, config.instance))
    except ConfigError as error:
        for problem in error.problems:
            yield f"{place}.{problem}{_near_core_key(problem)}"


def _near_core_key(problem: str) -> str:
    """Return a hint when a setting that the backend does not know is an option of ours, written wrong."""
    hint = unknown_key(problem.partition(":")[0].strip(), tuple(Target.model_fields))
    return f" ({hint.partition(': ')[2]})" if "did you mean" in hint and "unknown" in problem else ""


def _check_projects(config: Config, index: int, target: Target) -> Iterator[str]:
    """A VO without a project would be skipped silently (contracts of detail: an error found here)."""
    projects = target.settings.get("projects")
    if not isinstance(projects, Mapping):
        return
    for subscription in config.subscriptions_of(target):
        if subscription.vo not in projects:
            place = config.place("targets", index, "projects")
            yield f"{place}: has no project for {_whose(subscription)}: add it, or name the target's subscriptions"


def _whose(subscription: Subscription) -> str:
    return f"VO {subscription.vo} of subscription {subscription.name}"


# --- showing ---------------------------------------------------------------------------------------------------------
def shown(config: Config) -> dict[str, Any]:
    """Return the whole configuration, defaults included, as JSON values without any secret."""
    data: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    data["targets"] = [_without_secrets(target) for target in data["targets"]]
    return data


def _without_secrets(value: object) -> object:
    """Hide what backends may have taken as plain text, by the words that such keys are made of."""
    match value:
        case dict():
            return {key: "***" if _is_secret(key, item) else _without_secrets(item) for key, item in value.items()}
        case list():
            return [_without_secrets(item) for item in value]
        case _:
            return value


def _is_secret(key: object, value: object) -> bool:
    words = ("password", "passwd", "secret", "token", "passcode")
    return isinstance(value, str | int | float) and any(word in str(key).lower() for word in words)
