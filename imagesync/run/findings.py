"""What is not as endorsed: since when, why, and what will be done when. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imagesync.run.exits import EXPLAINED, Exit
from imagesync.run.notice import Level
from imagesync.run.record import is_put_off
from imagesync.run.situation import ImageStanding, ListStanding, Situation, TargetStanding
from imagesync.state import Pausable, PauseRecord

WARNING_AFTER, CRITICAL_AFTER = timedelta(hours=24), timedelta(hours=72)
"""Within these times the community expects a site to follow its lists."""

ALARMS = frozenset({"tampered"})
"""States of an image that are told whatever is paused."""

ENDED = frozenset({"published", "retired", "revoked"})
"""States of an image that are as the list wants them."""

_WORKED = frozenset({"trusted", "switched off", "paused"})
"""Verdicts of lists whose images are not held for their sake."""

CLOCK, PASS, CONFIGURATION, LIST, TARGET, PAUSE = "clock", "pass", "configuration", "list", "target", "everything"
STATE = "state"
"""What a finding can be about, beside the states of images and the matters of notices."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. ``subject`` names a list or target; ``image`` one image on it."""

    level: Level
    matter: str
    subject: str
    text: str
    since: datetime | None = None
    next: str = ""
    image: ImageStanding | None = None


def findings(now: Situation) -> tuple[Finding, ...]:
    """Return what is not as endorsed, the most urgent first and then the oldest."""
    found = [*_general(now), *_of_lists(now), *_of_targets(now)]
    return tuple(sorted(found, key=lambda one: (one.level is Level.WARNING, one.since or now.at)))


def level(found: tuple[Finding, ...]) -> str:
    """Return ``ok``, or the most urgent level."""
    return next((str(wanted) for wanted in (Level.CRITICAL, Level.WARNING) if _has(found, wanted)), "ok")


def _has(found: tuple[Finding, ...], wanted: Level) -> bool:
    return any(one.level is wanted for one in found)


def by_age(since: datetime, now: datetime, warning: timedelta, critical: timedelta) -> Level | None:
    """Return how urgent something is that lasts since a time, ``None`` if it is not yet."""
    age = now - since
    if age >= critical:
        return Level.CRITICAL
    return Level.WARNING if age >= warning else None


# --- the daemon ------------------------------------------------------------------------------------------------------
def _general(now: Situation) -> Iterator[Finding]:
    for pause in now.pauses:
        if pause.scope is Pausable.ALL:
            yield _of_pause(pause, PAUSE)
    if now.outlook.complaint:
        text, since = now.outlook.complaint, now.outlook.complaint_since
        yield Finding(Level.WARNING, CONFIGURATION, "", text, since, "the configuration of before goes on")
    if now.outlook.state:
        text, since = f"cannot be used: {now.outlook.state}", now.outlook.state_since
        yield Finding(Level.CRITICAL, STATE, "", text, since, "tried again with every pass")
    newest = next((run for run in now.runs if run.clock), None)
    if newest is not None and newest.clock == "clock":
        text = "this machine's clock does not fit the servers' or the last pass"
        yield Finding(Level.CRITICAL, CLOCK, "", text, newest.started, "nothing expires until it does")
    known = {one.name for one in now.lists if one.verdict not in {"trusted", "paused"}}
    for name, trouble in now.outlook.troubles.items():
        if name not in known and not _is_explained(now, name):
            since = now.outlook.since.get(name)
            yield Finding(Level.WARNING, PASS, name, trouble, since, _again(now.outlook.next.get(name)))


def _of_pause(pause: PauseRecord, matter: str) -> Finding:
    then = f"goes on at {_minute(pause.until)}" if pause.until else "goes on when somebody says imagesync resume"
    text = f"is paused by {pause.who}: {pause.reason}"
    return Finding(Level.WARNING, matter, pause.name, text, pause.since, then)


def _is_explained(now: Situation, name: str) -> bool:
    """Return whether what a pass complains of stands with lists, images or targets already."""
    listed = now.list(name)
    return listed is not None and listed.last is not None and listed.last.code in EXPLAINED


# --- lists -----------------------------------------------------------------------------------------------------------
def _of_lists(now: Situation) -> Iterator[Finding]:
    for one in now.lists:
        if one.pause is not None and one.pause.scope is Pausable.LIST:
            yield _of_pause(one.pause, LIST)
        if one.followed.enabled:
            yield from _of_list(one, now)


def _of_list(one: ListStanding, now: Situation) -> Iterator[Finding]:
    for told in one.notices:
        yield Finding(told.level, told.matter, one.name, told.text, None, _again(one.next))
    if one.pause is not None:
        return
    yield from _of_pass(one, now)
    if one.word is None:
        text = "was not looked at yet" if one.accepted is None else "no pass over it is remembered"
        yield Finding(Level.WARNING, LIST, one.name, text, None, _again(one.next))
    elif one.word.verdict != "trusted":
        text = f"is {one.word.verdict}: {one.word.reason}"
        then = f"its images are held, their dates apply; {_again(one.next)}"
        yield Finding(_level_of_list(one, now.at), LIST, one.name, text, one.since, then)


def _of_pass(one: ListStanding, now: Situation) -> Iterator[Finding]:
    """Yield that the daemon's last pass over a list did not get to a report, unless others looked at the list since."""
    last = one.last
    if last is None or _is_looked_at(one.name, last.ended, now):
        return
    if last.code < 0:
        often = f" ({last.failures} in a row got nowhere)" if last.failures > 1 else ""
        text = f"its last pass ended without a result{often}"
        yield Finding(Level.CRITICAL, PASS, one.name, text, last.ended, _again(one.next))
    elif last.code == Exit.USAGE and one.name not in now.outlook.troubles:  # which have the reason
        text = f"its last pass ended with exit code {last.code}: the daemon's log has the reason"
        yield Finding(Level.WARNING, PASS, one.name, text, last.ended, _again(one.next))


def _is_looked_at(name: str, after: datetime, now: Situation) -> bool:
    """Return whether a run over the list ended ``after`` that time: by hand, say, or by a timer."""
    later = (run for run in now.runs if run.finished and run.finished > after)
    return any(word.name == name for run in later for word in run.lists)


def _level_of_list(one: ListStanding, now: datetime) -> Level:
    if one.verdict == "refused" or one.accepted is None:
        return Level.CRITICAL
    return by_age(one.accepted.accepted_at, now, timedelta(), CRITICAL_AFTER) or Level.WARNING


# --- targets ---------------------------------------------------------------------------------------------------------
def _of_targets(now: Situation) -> Iterator[Finding]:
    soonest = min(now.outlook.next.values(), default=None)
    unknown = {one.name for one in now.lists if one.verdict not in _WORKED}
    for target in now.targets:
        if target.pause is not None and target.pause.scope is Pausable.TARGET:
            yield _of_pause(target.pause, TARGET)
        if target.error:
            yield _of_target(target, now.at, soonest)
        for image in target.images:
            waits_for_list = image.record.state == "held" and image.subscription in unknown
            waits = waits_for_list or (image.paused and image.record.state not in ALARMS)
            if image.record.state not in ENDED and not waits:
                yield _of_image(image, now)


def _of_target(target: TargetStanding, now: datetime, soonest: datetime | None) -> Finding:
    urgent = by_age(target.since or now, now, timedelta(), CRITICAL_AFTER) or Level.WARNING
    return Finding(urgent, TARGET, target.name, target.error, target.since, _again(soonest))


def _of_image(image: ImageStanding, now: Situation) -> Finding:
    record = image.record
    following = now.outlook.next.get(image.subscription)
    if is_put_off(record.retry_at, now.at) and record.retry_at > (following or now.at):
        then = f"tried again after {_minute(record.retry_at)}"
    else:
        then = _again(following)
    urgent = Level.CRITICAL if record.state == "tampered" else by_age(record.since, now.at, timedelta(), CRITICAL_AFTER)
    if record.state == "held":
        urgent = Level.WARNING
    return Finding(urgent or Level.WARNING, record.state, image.target, record.reason, record.since, then, image)


def _again(at: datetime | None) -> str:
    return f"looked at again at {_minute(at)}" if at else "looked at again in the next pass"


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
