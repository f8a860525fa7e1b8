"""What became of images: by what a pass did, and by what it found that one before it did not live to say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from imagesync.images.artifact import BootCheck
from imagesync.model import Digest, ImageId, ImageKey, ListId
from imagesync.plan.values import Action, Cause, Kind
from imagesync.run.apply import Ending, Outcome
from imagesync.run.changes import Where, changes
from imagesync.state import ImageRecord

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = ImageKey("p", ListId("list"), ImageId("one"))
WHERE = Where("site", NOW, {ListId("list"): "vo"})
PUBLISHED = ImageRecord(KEY, "One", "published", "as endorsed", NOW, Digest("d" * 128), "raw")
RETIRED, MISSING = replace(PUBLISHED, state="retired"), replace(PUBLISHED, state="missing", digest=None)
HELD, OTHER = replace(PUBLISHED, state="held"), replace(PUBLISHED, digest=Digest("e" * 128))


def outcome(kind: Kind, cause: Cause, ending: Ending = Ending.DONE) -> Outcome:
    return Outcome(Action(kind, KEY, "One", cause, "why"), ending)


def found(outcomes: list[Outcome], record: ImageRecord | None = None, before: ImageRecord | None = None) -> list[Any]:
    records, known = ([one] if one else [] for one in (record, before))
    return [(one.kind, one.text) for one in changes(outcomes, records, known, WHERE)]


@pytest.mark.parametrize(
    ("kind", "cause", "expected"),
    [
        (Kind.REGISTER, Cause.NEW, "published"),
        (Kind.REPLACE, Cause.CHANGED, "published"),
        (Kind.RESTORE, Cause.CAME_BACK, "published"),
        (Kind.RETIRE, Cause.WITHDRAWN, "withdrawn"),
        (Kind.RETIRE, Cause.REVOKED, "withdrawn"),
    ],
)
def test_what_a_pass_did_is_told_once(kind: Kind, cause: Cause, expected: str) -> None:
    (change,) = changes([outcome(kind, cause)], [PUBLISHED], [], WHERE)

    assert (change.kind, change.text) == (expected, f"{kind} One on site: why")
    assert (change.subscription, change.target, change.key, change.at) == ("vo", "site", "p:list/one", NOW)


def test_an_image_that_was_offered_though_it_does_not_start_is_told() -> None:
    done = outcome(Kind.REGISTER, Cause.NEW)
    panic, login = (BootCheck(verdict, "Kernel panic", 30.0) for verdict in ("panic", "login"))

    assert found([replace(done, boot=panic)])[1:] == [
        ("attention", "image One on site: boot check: panic: Kernel panic")
    ]
    assert found([replace(done, boot=login)])[1:] == []
    assert found([replace(done, boot=panic, outcome=Ending.FAILED)]) == []


@pytest.mark.parametrize(
    "quiet",
    [
        outcome(Kind.RETIRE, Cause.SUPERSEDED),
        outcome(Kind.RETIRE, Cause.TAMPERED),
        outcome(Kind.DELETE, Cause.GRACE_OVER),
        outcome(Kind.UPDATE, Cause.METADATA),
        outcome(Kind.REGISTER, Cause.NEW, Ending.FAILED),
    ],
)
def test_what_changes_nothing_for_users_is_not_told(quiet: Outcome) -> None:
    assert found([quiet]) == []


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, PUBLISHED, "published"),
        (MISSING, PUBLISHED, "published"),
        (RETIRED, PUBLISHED, "published"),
        (PUBLISHED, OTHER, "published"),
        (None, HELD, "published"),
        (PUBLISHED, RETIRED, "withdrawn"),
        (HELD, replace(RETIRED, state="revoked"), "withdrawn"),
    ],
)
def test_what_a_pass_that_was_killed_did_is_told_by_the_next(
    before: ImageRecord, now: ImageRecord, expected: str
) -> None:
    assert found([outcome(Kind.KEEP, Cause.CURRENT)], now, before) == [
        (expected, f"{expected} One on site: by a pass that did not end")
    ]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (PUBLISHED, HELD),
        (HELD, PUBLISHED),
        (PUBLISHED, replace(PUBLISHED, reason="another")),
        (replace(PUBLISHED, state="failed"), PUBLISHED),
        (RETIRED, replace(RETIRED, state="revoked")),
        (RETIRED, HELD),
        (None, RETIRED),
        (None, MISSING),
        (MISSING, replace(MISSING, state="failed")),
    ],
)
def test_what_stays_as_it_is_for_users_is_no_news(before: ImageRecord, now: ImageRecord) -> None:
    assert found([outcome(Kind.KEEP, Cause.CURRENT)], now, before) == []
