"""What of a pass is news. Pure.

A *trouble* lasts: it is told when it begins and when it ends, and nothing in between. It follows from how things stand
after a pass, so that the next pass makes up for one whose end nobody saw. What became of images does not: the pass
writes that into the state itself (``imagesync.run.changes``), together with where each image stands now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from imagesync.plan.render import one_line, short
from imagesync.plan.spec import timestamp
from imagesync.plan.values import Cause
from imagesync.run.changes import PUBLISHED, TITLE, WITHDRAWN
from imagesync.run.history import LOCKED, is_followed
from imagesync.state import ChangeRecord, TroubleRecord


class EventKind(StrEnum):
    """What happened. The values are words of the configuration and of the messages."""

    FAILURE = "failure"
    REFUSED = "refused"
    HELD = "held"
    ATTENTION = "attention"
    RECOVERY = "recovery"
    PUBLISHED = PUBLISHED
    WITHDRAWN = WITHDRAWN


OF_IMAGES = frozenset({EventKind.PUBLISHED, EventKind.WITHDRAWN})
"""Kinds that tell what became of an image."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell. ``text`` is one line; what does not apply is empty.

    ``details`` are what the list says of an image, for handlers that were written for vmcatcher.
    """

    kind: EventKind
    at: str
    text: str
    subscription: str = ""
    target: str = ""
    key: str = ""
    title: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as values that ``json`` can write, with an ``id`` by which it is known when it comes again.

        Text and title are one line each of at most 1000 characters, that steers no terminal: strangers write titles.
        """
        about = (self.kind, self.at, self.subscription, self.target, self.key, self.text)
        digest = hashlib.sha256("\0".join(about).encode("utf-8", "replace")).hexdigest()
        lines = {name: one_line(getattr(self, name)) for name in ("text", "title")}
        return {"id": digest[:24], **asdict(self), **lines, "kind": str(self.kind)}


@dataclass(frozen=True, slots=True)
class News:
    """What a pass changed: events to tell, troubles that began, and the keys of those that ended."""

    events: tuple[Event, ...] = ()
    begun: tuple[TroubleRecord, ...] = ()
    ended: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Passed:
    """A pass over ``subscription`` that ended.

    ``report`` is its JSON report, empty when it had none; ``crash`` is what was wrong beside that.
    """

    subscription: str
    at: datetime
    report: Mapping[str, Any] = field(default_factory=dict)
    crash: str = ""


def news(passed: Passed, known: Iterable[TroubleRecord]) -> News:
    """Return what is new after a pass; ``known`` are all troubles that were told and are not over."""
    before = {trouble.key: trouble for trouble in known}
    now = {trouble.key: trouble for trouble in _troubles(passed)}
    begun = tuple(trouble for key, trouble in now.items() if key not in before)
    ended = frozenset(key for key, old in before.items() if key not in now and _is_over(old, passed))
    topics = {_topic(trouble) for trouble in now.values()}
    events = (
        *(_event(EventKind(one.kind), one, one.text, passed.at) for one in begun),
        *(
            _event(EventKind.RECOVERY, before[key], f"good again: {before[key].text}", passed.at)
            for key in sorted(ended)
            if _topic(before[key]) not in topics  # got worse, say
        ),
    )
    return News(events, begun, ended)


def _event(kind: EventKind, trouble: TroubleRecord, text: str, at: datetime) -> Event:
    return Event(kind, timestamp(at), text, trouble.subscription, trouble.target)


def _topic(trouble: TroubleRecord) -> str:
    """Return what a trouble is about, however urgent it is."""
    kind, name, *rest = trouble.key.split("/", 4)
    return "/".join([kind, name, *rest[:1], *rest[2:]]) if kind == "notice" else trouble.key


# --- troubles ---------------------------------------------------------------------------------------------------------
def _troubles(passed: Passed) -> Iterator[TroubleRecord]:
    name, at = passed.subscription, passed.at
    if passed.crash:
        yield TroubleRecord(f"pass/{name}", EventKind.FAILURE, name, "", f"pass over {name}: {passed.crash}", at)
    for item in passed.report.get("lists", ()):
        yield from _of_list(item, at)
    for target in passed.report.get("targets", ()):
        yield from _of_target(name, target, at)


def _of_list(item: Mapping[str, Any], at: datetime) -> Iterator[TroubleRecord]:
    name = item["name"]
    if not is_followed(item):
        return
    if item["verdict"] == "refused":
        yield TroubleRecord(
            f"refused/{name}", EventKind.REFUSED, name, "", f"list {name} refused: {item['reason']}", at
        )
    elif item["verdict"] == "unavailable":
        text = f"list {name} unavailable: {item['reason']}"
        yield TroubleRecord(f"unavailable/{name}", EventKind.FAILURE, name, "", text, at)
    for notice in item.get("notices", ()):
        key = f"notice/{name}/{notice['matter']}/{notice['level']}/{notice['subject']}"
        yield TroubleRecord(key, EventKind.ATTENTION, name, "", f"list {name}: {notice['text']}", at)


def _of_target(subscription: str, target: Mapping[str, Any], at: datetime) -> Iterator[TroubleRecord]:
    name = target["name"]
    if target["error"] and target.get("error_reason") != LOCKED:
        yield TroubleRecord(f"target/{name}", EventKind.FAILURE, "", name, f"target {name}: {target['error']}", at)
    for action in target["actions"]:
        if action["cause"] == Cause.GUARD:
            text = f"target {name}: the guard holds removals of {subscription} back: {action['reason']}"
            yield TroubleRecord(f"guard/{name}/{subscription}", EventKind.HELD, subscription, name, text, at)
        elif action.get("outcome") == "failed" or action["cause"] in {Cause.BACK_OFF, Cause.TAMPERED, Cause.BROKEN}:
            text = f"target {name}: image {short(action['title'], TITLE)}: {action.get('error') or action['reason']}"
            key = f"image/{name}/{action['key']}"
            yield TroubleRecord(key, EventKind.FAILURE, subscription, name, text, at)


def _is_over(trouble: TroubleRecord, passed: Passed) -> bool:
    """Return whether a pass that does not tell of ``trouble`` any more means that it is over."""
    report, name = passed.report, passed.subscription
    followed = {item["name"]: item["verdict"] for item in report.get("lists", ()) if is_followed(item)}
    if trouble.key.startswith("pass/"):
        return trouble.subscription == name and not passed.crash
    if trouble.target:
        errors = {one["name"]: one["error"] for one in report.get("targets", ()) if not one.get("paused")}
        reached = trouble.target in errors and errors[trouble.target] is None
        return reached and (not trouble.subscription or (trouble.subscription == name and name in followed))
    # One that is unavailable now may still be what it was refused for.
    return followed.get(trouble.subscription) == "trusted"


# --- changes ----------------------------------------------------------------------------------------------------------
def of_change(change: ChangeRecord) -> Event:
    """Return the event that tells what became of an image."""
    about = (change.subscription, change.target, change.key, change.title)
    return Event(EventKind(change.kind), timestamp(change.at), change.text, *about)
