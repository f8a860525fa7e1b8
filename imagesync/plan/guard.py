"""The guard: a list that suddenly withdraws much is not believed without the operator's word. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from imagesync.backend import ImageKey, OwnedImage, State
from imagesync.model import ListId
from imagesync.plan.values import BESIDE_ANOTHER, Action, Cause, GuardRules, Kind

WINDOW = timedelta(hours=24)
"""Removals add up over this time, so that 40 % an hour does not slip through."""

COUNTED = frozenset({Cause.WITHDRAWN, Cause.EXCLUDED})
"""What the guard counts. Replacing, expiry and revocation are not removals that somebody could have slipped in."""

_ADDING = frozenset({Kind.REGISTER, Kind.RESTORE, Kind.REPLACE})


def guard(
    actions: Sequence[Action], owned: Iterable[OwnedImage], rules: Mapping[ListId, GuardRules], now: datetime
) -> list[Action]:
    """Return ``actions`` with the counted removals of every list that trips the guard turned into holds.

    Of one list either all counted removals pass or none: which of them would be right, nobody here can know.
    """
    owned = tuple(owned)
    held = {
        identifier: reason
        for identifier in {action.key.list for action in actions if action.counted}
        if (reason := _trips(identifier, actions, owned, (rules.get(identifier, GuardRules()), now)))
    }
    return [
        replace(action, kind=Kind.HOLD, cause=Cause.GUARD, reason=held[action.key.list], counted=False)
        if action.counted and action.key.list in held
        else action
        for action in actions
    ]


def _trips(
    identifier: ListId, actions: Sequence[Action], owned: Sequence[OwnedImage], when: tuple[GuardRules, datetime]
) -> str:
    """Return why the removals of a list are held back, or the empty string."""
    rules, now = when
    mine = [action for action in actions if action.key.list == identifier]
    leaving = {action.key for action in mine if action.counted}
    published = {image.key for image in owned if image.key.list == identifier and image.state is State.PUBLISHED}
    recent = _recently_removed(identifier, owned, now) - leaving
    base, total = len(published | recent), len(leaving | recent)
    if rules.allowed is not None:
        return _beyond_allowance(len(leaving), rules.allowed)
    if not _remaining(mine, published):
        return _ask(len(leaving), "the list would be left without any published image")
    if base >= rules.min_images and total > rules.share * base:
        return _ask(len(leaving), f"{total} of {base} images within 24 h, more than {rules.share:.0%}")
    return ""


def _remaining(actions: Iterable[Action], published: set[ImageKey]) -> set[ImageKey]:
    actions = tuple(actions)
    gone = {action.key for action in actions if action.kind is Kind.RETIRE and action.cause not in BESIDE_ANOTHER}
    return (published - gone) | {action.key for action in actions if action.kind in _ADDING}


def _recently_removed(identifier: ListId, owned: Iterable[OwnedImage], now: datetime) -> set[ImageKey]:
    return {
        image.key
        for image in owned
        if image.key.list == identifier
        and image.retirement is not None
        and image.retirement.reason in COUNTED
        and now - image.retirement.at < WINDOW
    }


def _beyond_allowance(leaving: int, allowed: int) -> str:
    return _ask(leaving, f"{leaving} removals, {allowed} allowed") if leaving > allowed else ""


def _ask(leaving: int, what: str) -> str:
    return f"the guard holds back {leaving} removals: {what}; if that is right, run with --allow-removals {leaving}"
