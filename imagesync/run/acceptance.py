"""When a version of a list becomes the floor: before it changes anything, and for good when the pass is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from imagesync.model import Floor, TrustedList
from imagesync.plan.values import ListView, Plan
from imagesync.run.observe import Seen, accepted_from
from imagesync.run.settings import Target
from imagesync.state import Resets
from imagesync.state.repository import Repository


def begin(lists: Sequence[ListView], plan: Plan, state: Repository, resets: Mapping[str, Resets]) -> None:
    """Remember the versions that a plan is about to apply, for the case that the pass never comes to accept them.

    Then they are the floor: where others can edit the records, these are none (``docs/adr/0009-two-floors.rst``).
    ``resets`` are those that the pass knows of: it undoes no later one.
    """
    for view in lists:
        trusted, accepted = view.observation, view.accepted
        if not isinstance(trusted, TrustedList) or trusted.identifier in plan.refused:
            continue
        floor = Floor(trusted.content.version, trusted.content.digest)
        if accepted is None or (accepted.version, accepted.digest) != (floor.version, floor.digest):
            state.floors.begin(view.subscription, trusted.identifier, floor, resets.get(view.subscription, Resets()))


def accept(seen: Iterable[Seen], now: datetime, state: Repository, resets: Mapping[str, Resets]) -> None:
    """Accept what was trusted. Last of all: what was not done to the end is no accepted version."""
    for item in seen:
        if isinstance(item.observation, TrustedList) and item.remember is not None:
            since = resets.get(item.subscription.name, Resets())
            state.accept(accepted_from(item.observation, now), item.remember, since)


def caught_up(item: Seen, targets: Iterable[Target], plans: Mapping[str, Plan]) -> Seen:
    """Return what was seen of a list; no longer with a lifted floor if the plan of each of its targets says so."""
    trusted = item.observation
    names = {target.name for target in targets if target.takes(item.subscription.name)}
    done = {name for name, plan in plans.items() if item.identifier in plan.caught_up}
    if not isinstance(trusted, TrustedList) or not names or not names <= done:
        return item
    return replace(item, observation=replace(trusted, floor_lifted=False))
