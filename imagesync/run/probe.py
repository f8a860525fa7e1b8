"""What a monitoring plug-in says: one line, performance data, and a code (Nagios plug-in API, ARGO). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum

from imagesync.plan.render import short
from imagesync.run.findings import ALARMS, CLOCK, CRITICAL_AFTER, PASS, WARNING_AFTER, by_age, findings
from imagesync.run.history import RunDigest
from imagesync.run.notice import Level, Matter
from imagesync.run.pausing import told
from imagesync.run.situation import ListStanding, Situation
from imagesync.state import Pausable

_LONGEST = 800
_SAID = frozenset({CLOCK, PASS, *Matter})
_LATE = frozenset({"missing", "failed"})


class Code(IntEnum):
    """The exit codes that monitoring systems know."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """After which time something is a warning, or critical.

    ``images`` is for what is missing or outdated, ``fetch`` for a list that was not fetched and verified. A daemon is
    late when a pass did not end within ``daemon`` after it was due; ``regular`` is when that was, by list. ``at_work``
    says that some process works with the state: without one, no pass that did not end is still going on.
    """

    images: tuple[timedelta, timedelta] = (WARNING_AFTER, CRITICAL_AFTER)
    fetch: tuple[timedelta, timedelta] = (WARNING_AFTER, CRITICAL_AFTER)
    daemon: tuple[timedelta, timedelta] = (timedelta(hours=1), timedelta(hours=6))
    regular: Mapping[str, datetime] = field(default_factory=dict)
    longest_pass: timedelta = timedelta(hours=24)
    at_work: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What the plug-in says."""

    code: Code
    text: str
    data: tuple[str, ...] = ()
    problems: tuple[tuple[Code, str], ...] = ()

    def line(self) -> str:
        """Return the one line. The bar that begins the performance data stands nowhere else."""
        text = short(f"IMAGESYNC {self.code.name} - {self.text}".replace("|", "/"), _LONGEST)
        return f"{text} | {' '.join(self.data)}" if self.data else text


def unknown(text: str) -> Answer:
    """Return the answer of a plug-in that could not find out."""
    return Answer(Code.UNKNOWN, text)


def answer(now: Situation, limits: Limits) -> Answer:
    """Return what is to be said of a situation."""
    lists = [one for one in now.lists if one.followed.enabled]
    if not now.runs and not any(one.accepted for one in lists):
        return unknown("no pass has been made yet")
    found = [*_lists(lists, now, limits), *_images(now, limits), *_daemon(lists, now, limits), *_told(now)]
    found += _pauses(now)
    found.sort(key=lambda one: -one[0])
    code = max((code for code, _ in found), default=Code.OK)
    good = [_good(lists, now)] if code is Code.OK else []
    text = "; ".join([*good, *(text for _, text in found)])
    return Answer(code, text, tuple(_data(lists, now, limits)), tuple(found))


def _good(lists: Sequence[ListStanding], now: Situation) -> str:
    published = sum(target.counts.get("published", 0) for target in now.targets)
    return f"{published} images of {len(lists)} lists published on {len(now.targets)} targets"


def _code(urgent: Level | None) -> Code:
    return {None: Code.OK, Level.WARNING: Code.WARNING, Level.CRITICAL: Code.CRITICAL}[urgent]


# --- what is looked at -----------------------------------------------------------------------------------------------
def _lists(lists: Sequence[ListStanding], now: Situation, limits: Limits) -> Iterator[tuple[Code, str]]:
    for one in lists:
        if one.pause is not None:
            continue
        if one.verdict == "refused" and one.word:
            yield Code.CRITICAL, f"list {one.name} is refused: {one.word.reason}"
        if one.accepted is None:
            yield Code.CRITICAL, f"list {one.name} was never fetched and verified"
        elif urgent := by_age(one.accepted.accepted_at, now.at, *limits.fetch):
            age = _age(one.accepted.accepted_at, now.at)
            yield _code(urgent), f"list {one.name} was last fetched and verified {age} ago"


def _images(now: Situation, limits: Limits) -> Iterator[tuple[Code, str]]:
    for target in now.targets:
        late = [one.record for one in target.images if one.record.state in _LATE and not one.paused]
        urgent = [by_age(record.since, now.at, *limits.images) for record in late]
        if any(urgent):
            oldest = min(record.since for record in late)
            code = Code.CRITICAL if Level.CRITICAL in urgent else Code.WARNING
            names = ", ".join(short(record.title, 60) for record in late[:3])
            yield code, f"{len(late)} images missing or outdated on {target.name} since {_age(oldest, now.at)}: {names}"
        altered = sum(one.record.state in ALARMS for one in target.images)
        if altered:
            yield Code.CRITICAL, f"{altered} images on {target.name} hold other bytes than the endorsed ones"
        if target.error and (lasting := by_age(target.since or now.at, now.at, *limits.images)):
            yield _code(lasting), f"target {target.name}: {target.error}"


def _pauses(now: Situation) -> Iterator[tuple[Code, str]]:
    """Yield what is paused. A pause that has an end is no problem; one without must not be forgotten."""
    for pause in now.pauses:
        what = "everything" if pause.scope is Pausable.ALL else f"{pause.scope} {pause.name}"
        yield Code.OK if pause.until else Code.WARNING, f"{what} is {told(pause)}"


def _daemon(lists: Sequence[ListStanding], now: Situation, limits: Limits) -> Iterator[tuple[Code, str]]:
    """Yield which list the daemon has left alone. Where no daemon ever ran, a timer does its work."""
    if limits.at_work and any(_is_at_work(run, now.at, limits.longest_pass) for run in now.runs):
        return
    late = {one.name: limits.regular[one.name] for one in lists if one.name in limits.regular}
    if late:
        name, due = min(late.items(), key=lambda item: item[1])
        if urgent := by_age(due, now.at, *limits.daemon):
            yield _code(urgent), f"the daemon is not at work: list {name} was due {_age(due, now.at)} ago"


def _is_at_work(run: RunDigest, now: datetime, longest: timedelta) -> bool:
    return run.finished is None and now - run.started < longest


def _told(now: Situation) -> Iterator[tuple[Code, str]]:
    for one in findings(now):
        if one.matter in _SAID:
            yield _code(one.level), f"list {one.subject}: {one.text}" if one.subject else one.text


def _age(since: datetime, now: datetime) -> str:
    hours = int((now - since).total_seconds() // 3600)
    return f"{hours // 24} d {hours % 24} h" if hours >= 72 else f"{hours} h"


# --- performance data ------------------------------------------------------------------------------------------------
def _data(lists: Sequence[ListStanding], now: Situation, limits: Limits) -> Iterator[str]:
    for one in lists:
        if one.accepted is None:
            continue
        rules, old = one.followed.rules, one.followed.rules.list_age
        yield _rising(f"{one.name}_age", now.at - one.accepted.created, (old.warning, old.critical))
        yield _rising(f"{one.name}_verified", now.at - one.accepted.accepted_at, limits.fetch)
        yield _falling(f"{one.name}_expires", one.accepted.expires - now.at, rules.list_expiry)
        yield _falling(f"{one.name}_signer", one.accepted.signer.not_after - now.at, rules.certificate)
    for target in now.targets:
        records = (image.record for image in target.images if not image.paused)
        late = [now.at - record.since for record in records if record.state in _LATE]
        yield f"'{target.name}_published'={target.counts.get('published', 0)};;;0"
        yield f"'{target.name}_late'={len(late)};;;0"
        yield _rising(f"{target.name}_late_for", max(late, default=timedelta()), limits.images)


def _rising(label: str, value: timedelta, limits: tuple[timedelta, timedelta]) -> str:
    return f"'{label}'={_seconds(value)}s;{_seconds(limits[0])};{_seconds(limits[1])};0"


def _falling(label: str, value: timedelta, limits: object) -> str:
    warning, critical = (_seconds(getattr(limits, name)) for name in ("warning", "critical"))
    return f"'{label}'={_seconds(value)}s;{warning}:;{critical}:"


def _seconds(length: timedelta) -> int:
    return int(length.total_seconds())
