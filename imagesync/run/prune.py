"""Deleting what is due, on the operator's word: no list is fetched and none is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from imagesync.backend import OwnedImage, State
from imagesync.plan.expiry import later
from imagesync.plan.spec import timestamp
from imagesync.plan.values import Action, Cause, Kind, Plan


def prune_plan(
    target: str, owned: Sequence[OwnedImage], now: datetime, delete_after: timedelta, subscribed: Collection[str] | None
) -> Plan:
    """Return the plan that deletes the retired records whose grace is over, whatever is known of their lists.

    With ``subscribed`` (identifiers of lists and names of subscriptions) it also retires what belongs to none of
    them.
    """
    actions = [*_due(owned, now, delete_after), *_unsubscribed(owned, subscribed)]
    return Plan(target, now, tuple(actions))


def lists_of(image: OwnedImage) -> set[str]:
    """Return the identifier of the list and the name of the subscription that a record says it is from."""
    return {image.key.list, image.metadata.properties.get("imagesync_subscription", "")}


def _due(owned: Iterable[OwnedImage], now: datetime, delete_after: timedelta) -> Iterator[Action]:
    for image in owned:
        at = image.retirement.at if image.retirement else None
        if at is not None and later(at, delete_after) <= now:
            reason = f"retired at {timestamp(at)}"
            yield Action(Kind.DELETE, image.key, image.metadata.name, Cause.GRACE_OVER, reason, image)


def _unsubscribed(owned: Iterable[OwnedImage], subscribed: Collection[str] | None) -> Iterator[Action]:
    for image in owned if subscribed is not None else ():
        if image.state is State.PUBLISHED and not lists_of(image) & set(subscribed or ()):
            reason = "no active subscription of this target has its list"
            yield Action(Kind.RETIRE, image.key, image.metadata.name, Cause.UNSUBSCRIBED, reason, image)
