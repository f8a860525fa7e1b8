"""Which images of a trusted list a target gets, and why not the others. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache

from imagesync.errors import ConfigError
from imagesync.model import Image, ImageId, TrustedList

FIELDS: Mapping[str, Callable[[Image], str]] = {
    "title": lambda image: image.title,
    "identifier": lambda image: image.identifier,
    "version": lambda image: image.version,
    "arch": lambda image: image.architecture,
    "os": lambda image: image.os_name,
    "osversion": lambda image: image.os_version,
    "mpuri": lambda image: image.mpuri,
    "sha512": lambda image: image.sha512,
}


class Cause(StrEnum):
    """Why an image of a trusted list is not offered."""

    EXCLUDED = "excluded"
    EXPIRED = "expired"
    BROKEN = "broken"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Matcher:
    """A glob over one field of an image; case does not matter.

    Raises:
        ConfigError: There is no such field.
    """

    field: str
    pattern: str

    def __post_init__(self) -> None:
        """Refuse a field that does not exist: a rule that never matches would include or exclude everything."""
        if self.field not in FIELDS:
            raise ConfigError("select", f"images have no field {self.field!r}", f"fields: {', '.join(FIELDS)}")

    def __str__(self) -> str:
        """Return the rule as it is configured."""
        return f"{self.field}: {self.pattern}"

    def matches(self, image: Image) -> bool:
        """Return whether the whole field matches."""
        return _compiled(self.pattern).match(FIELDS[self.field](image)) is not None


Rule = tuple[Matcher, ...]
"""Matchers that must all match."""


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """What a subscription or a target wants: any rule of ``include`` (none: everything), no rule of ``exclude``.

    Raises:
        ConfigError: A rule has no matcher.
    """

    include: tuple[Rule, ...] = ()
    exclude: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty rule: as an exclusion it would take everything away."""
        if not all((*self.include, *self.exclude)):
            raise ConfigError("select", "a rule is empty", "name a field and a pattern, or remove the rule")

    def objection(self, image: Image) -> str:
        """Return why the image is not wanted, or an empty string."""
        for rule in self.exclude:
            if _all_match(rule, image):
                return f"excluded by {_words(rule)}"
        if self.include and not any(_all_match(rule, image) for rule in self.include):
            return f"not included by {' or '.join(_words(rule) for rule in self.include)}"
        return ""


@dataclass(frozen=True, slots=True)
class Selected:
    """An image to offer. ``expires`` is its own date or, where it has none, the list's."""

    image: Image
    expires: datetime


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that is in the list and not offered. ``identifier`` is None where the entry does not even say that."""

    identifier: ImageId | None
    title: str
    cause: Cause
    reason: str


def select(trusted: TrustedList, rules: Sequence[SelectionRules], now: datetime) -> tuple[Selected | Skipped, ...]:
    """Return a decision for every entry of the list, in the list's order, entries that are not usable last.

    ``rules`` are the subscription's and the target's; an image is offered when none of them objects. An image whose
    own date has passed is expired, whatever the rules say: dates are the endorser's word.
    """
    content = trusted.content
    decided = [_decide(image, content.expires, rules, now) for image in content.images]
    broken = [Skipped(image.identifier, image.title, Cause.BROKEN, image.reason) for image in content.broken]
    return (*decided, *broken)


def _decide(image: Image, list_expires: datetime, rules: Sequence[SelectionRules], now: datetime) -> Selected | Skipped:
    if image.expires is not None and image.expires <= now:
        reason = f"expired at {image.expires:%Y-%m-%d %H:%M:%S} UTC"
        return Skipped(image.identifier, image.title, Cause.EXPIRED, reason)
    for rule in rules:
        if objection := rule.objection(image):
            return Skipped(image.identifier, image.title, Cause.EXCLUDED, objection)
    return Selected(image, image.expires or list_expires)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern), re.IGNORECASE)


def _all_match(rule: Rule, image: Image) -> bool:
    return all(matcher.matches(image) for matcher in rule)


def _words(rule: Rule) -> str:
    return " and ".join(str(matcher) for matcher in rule)
