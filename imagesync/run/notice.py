"""What is told ahead of a list that still holds: that it is old, and that something it rests on ends. Pure.

A list that never expires can be served for ever by somebody who keeps newer ones from a site (a freeze); its age is
the only sign of that. A certificate or a revocation list that ends takes every list down that rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from imagesync.model import Accepted, Observation, TrustedList, Unknown
from imagesync.plan.spec import timestamp


class Level(StrEnum):
    """How urgent a notice is."""

    WARNING = "warning"
    CRITICAL = "critical"


class Matter(StrEnum):
    """What a notice is about. ``docs/runbook.rst`` says what to do about each."""

    LIST_AGE = "list-age"
    LIST_EXPIRY = "list-expiry"
    CERTIFICATE_EXPIRY = "certificate-expiry"
    CRL_EXPIRY = "crl-expiry"


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a notice is given, and is critical: an age, or a time that is left."""

    warning: timedelta
    critical: timedelta


def _days(warning: int, critical: int) -> Limits:
    return Limits(timedelta(days=warning), timedelta(days=critical))


@dataclass(frozen=True, slots=True)
class NoticeRules:
    """The limits of every matter; what a configuration says where it says nothing."""

    list_age: Limits = field(default_factory=lambda: _days(90, 180))
    list_expiry: Limits = field(default_factory=lambda: _days(7, 1))
    certificate: Limits = field(default_factory=lambda: _days(30, 7))
    crl: Limits = field(default_factory=lambda: _days(3, 1))

    def of(self, matter: Matter) -> Limits:
        """Return the limits for what ends."""
        return {Matter.CERTIFICATE_EXPIRY: self.certificate, Matter.CRL_EXPIRY: self.crl}.get(matter, self.list_expiry)


@dataclass(frozen=True, slots=True)
class End:
    """Something that a trusted list rests on, and when it ends."""

    matter: Matter
    subject: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell. ``at`` is when the list was made, or when the thing ends."""

    level: Level
    matter: Matter
    subject: str
    at: datetime
    text: str


def notices(
    observation: Observation | None, accepted: Accepted | None, ends: Iterable[End], rules: NoticeRules, now: datetime
) -> tuple[Notice, ...]:
    """Return what is to be told of a list as seen at ``now``, or, where it is unknown, as it was accepted last.

    ``ends`` are of what a trusted list rests on. The most urgent notices come first.
    """
    match observation, accepted:
        case TrustedList(content=content), _:
            found = [_age(content.created, rules.list_age, now), *_ahead(_expiry(content.expires), rules, now)]
        case Unknown(), Accepted(signer=signer):
            signed = End(Matter.CERTIFICATE_EXPIRY, signer.identity.dn, signer.not_after)
            found = [_age(accepted.created, rules.list_age, now), *_ahead(_expiry(accepted.expires), rules, now)]
            found += _ahead(signed, rules, now)
        case _:
            found = []
    found += (notice for end in ends for notice in _ahead(end, rules, now))
    return tuple(sorted(filter(None, found), key=lambda one: (one.level is Level.WARNING, one.matter, one.at)))


def _expiry(at: datetime) -> End:
    return End(Matter.LIST_EXPIRY, "the list", at)


def _age(created: datetime, limits: Limits, now: datetime) -> Notice | None:
    age = now - created
    if age < min(limits.warning, limits.critical):
        return None
    level = Level.CRITICAL if age >= limits.critical else Level.WARNING
    text = f"no newer list was seen for {age.days} days: this one was made at {timestamp(created)}"
    return Notice(level, Matter.LIST_AGE, "the list", created, text)


def _ahead(end: End, rules: NoticeRules, now: datetime) -> Iterator[Notice]:
    limits, left = rules.of(end.matter), end.at - now
    if left <= max(limits.warning, limits.critical):
        level = Level.CRITICAL if left <= limits.critical else Level.WARNING
        when = f"in {left.days} days" if left > timedelta() else "already past"
        yield Notice(level, end.matter, end.subject, end.at, f"{end.subject} ends at {timestamp(end.at)}, {when}")
