"""Which images came or went in a pass, or in one before it that did not live to say so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from imagesync.boot.verdict import Verdict
from imagesync.model import ListId
from imagesync.plan.render import short
from imagesync.plan.values import BESIDE_ANOTHER, Action, Kind
from imagesync.run.apply import Ending, Outcome
from imagesync.run.record import is_offered
from imagesync.state import ChangeRecord, ImageRecord

PUBLISHED, WITHDRAWN, ATTENTION = "published", "withdrawn", "attention"
"""What becomes of images, and that one does not start. The values are words of the configuration and the messages."""

TITLE = 120
"""Characters of a title in a sentence: what a publisher writes must not push out of it what is wrong."""

_PUBLISHING = frozenset({Kind.REGISTER, Kind.REPLACE, Kind.RESTORE})
_WITHDRAWN = frozenset({"retired", "revoked"})
"""States of an image that is there no more for those who start machines."""


@dataclass(frozen=True, slots=True)
class Where:
    """The target that was worked on, when, and which subscription each list belongs to."""

    target: str
    now: datetime
    names: Mapping[ListId, str]


def changes(
    outcomes: Sequence[Outcome], records: Iterable[ImageRecord], before: Iterable[ImageRecord], where: Where
) -> tuple[ChangeRecord, ...]:
    """Return what became of images: what the pass did, and where they stand otherwise than it was ``before``.

    ``records`` is what is new. A pass that was killed has changed the target and not the state: the next one finds
    the images there and does nothing, which is news all the same.
    """
    done = {outcome.action.key: found for outcome in outcomes if (found := _done(outcome, where))}
    known = {record.key: record for record in before}
    missed = (_missed(record, known.get(record.key), where) for record in records if record.key not in done)
    return (*done.values(), *filter(None, (_boot(one, where) for one in outcomes)), *filter(None, missed))


def _done(outcome: Outcome, where: Where) -> ChangeRecord | None:
    action = outcome.action
    if outcome.outcome is not Ending.DONE:
        return None
    if action.kind in _PUBLISHING:
        kind = PUBLISHED
    elif action.kind is Kind.RETIRE and action.cause not in BESIDE_ANOTHER:
        kind = WITHDRAWN
    else:
        return None
    text = f"{action.kind} {short(action.title, TITLE)} on {where.target}: {action.reason}"
    return _change(kind, action, where, text)


def _boot(outcome: Outcome, where: Where) -> ChangeRecord | None:
    """Return that an image does not start, and is offered all the same."""
    action, boot = outcome.action, outcome.boot
    if outcome.outcome is not Ending.DONE or boot is None or Verdict(boot.verdict).passed:
        return None
    text = f"image {short(action.title, TITLE)} on {where.target}: boot check: {boot.verdict}: {boot.why}"
    return _change(ATTENTION, action, where, text)


def _missed(record: ImageRecord, before: ImageRecord | None, where: Where) -> ChangeRecord | None:
    offered = before is not None and is_offered(before)
    if record.state in _WITHDRAWN and offered:
        kind = WITHDRAWN
    elif _is_there(record, before) and (not offered or _is_other(record, before)):
        kind = PUBLISHED
    else:
        return None
    text = f"{kind} {short(record.title, TITLE)} on {where.target}: by a pass that did not end"
    return _change(kind, record, where, text)


def _is_there(record: ImageRecord, before: ImageRecord | None) -> bool:
    """Return whether an image is published. One that is held is, unless it was retired when it began to be held."""
    held = record.state == "held" and record.digest is not None
    return record.state == "published" or (held and (before is None or before.state not in _WITHDRAWN))


def _is_other(record: ImageRecord, before: ImageRecord | None) -> bool:
    digests = {record.digest, before.digest if before else None} - {None}
    return record.state == "published" and len(digests) == 2


def _change(kind: str, about: Action | ImageRecord, where: Where, text: str) -> ChangeRecord:
    name = where.names.get(about.key.list, "")
    return ChangeRecord(kind, where.now, name, where.target, str(about.key), about.title, text)
