"""When to ask again for an image that could not be got, whatever target it is for. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from imagesync.backend import ImageKey
from imagesync.errors import (
    BackendError,
    DigestMismatchError,
    HostileImageError,
    HttpStatusError,
    ImagesyncError,
    Retry,
    SourceError,
)
from imagesync.model import ImageId, ListId
from imagesync.plan.spec import Wanted, timestamp
from imagesync.run.apply import Ending, Outcome
from imagesync.run.record import LAST_RETRY, attempt, back_off, is_put_off
from imagesync.state import AttemptRecord

PUBLISHER_DELAY = timedelta(hours=24)
"""How long other bytes than endorsed only mean that the publisher is not ready yet."""

ALARM_AFTER = timedelta(days=3)
ALARM_FAILURES = 10
"""From when on it is told apart that an image cannot be got. It is still tried."""

_JITTER = 0.1
_MISMATCH = "digest-mismatch"

Known = Mapping[tuple[ListId, ImageId], AttemptRecord]
"""What is known of images that could not be got, by list and image."""


def learn(
    outcomes: Iterable[Outcome], known: Known, now: datetime
) -> tuple[list[AttemptRecord], set[tuple[ListId, ImageId]]]:
    """Return what to remember after a target was worked on, and of which images nothing more, because they were got.

    A pass that fails for several targets counts once.
    """
    failed: dict[tuple[ListId, ImageId], AttemptRecord] = {}
    got = set()
    for outcome in outcomes:
        wanted = outcome.action.wanted
        if wanted is None or outcome.outcome not in {Ending.FAILED, Ending.DONE}:
            continue
        key = (wanted.key.list, wanted.key.image)
        if outcome.error is not None and _is_of_source(outcome.error):
            failed[key] = _failed(wanted, outcome.error, known.get(key), now)
        elif outcome.file is not None or isinstance(outcome.error, BackendError):
            got.add(key)  # its bytes were had; an older version that is kept says nothing
    return list(failed.values()), got - failed.keys()


def _is_of_source(error: ImagesyncError) -> bool:
    """Return whether the same would happen for another target until the publisher does something.

    Our own disk and programs, and bundles that somebody here carries, are not the publisher's.
    """
    return isinstance(error, SourceError | DigestMismatchError | HostileImageError)


def _failed(wanted: Wanted, error: ImagesyncError, before: AttemptRecord | None, now: datetime) -> AttemptRecord:
    attempted = _attempted(wanted)
    failures = 1
    if before is not None and before.attempted == attempted:
        failures = before.failures + (before.last != now)
    since = before.since if before is not None and before.sha512 == wanted.image.sha512 else now
    wait = _wait(error, failures, f"{attempted} {failures} {now.isoformat()}")
    return AttemptRecord(
        wanted.key.list,
        wanted.key.image,
        attempted,
        wanted.image.sha512,
        failures,
        since,
        now,
        now + wait,
        error.reason,
        str(error),
    )


def _wait(error: ImagesyncError, failures: int, seed: str) -> timedelta:
    """Return how long to wait: doubling, what the server asks for, and a day for what will not become better."""
    if error.retry is Retry.NEVER:
        return LAST_RETRY
    # The time of the pass differs from site to site, so that they do not ask all at once.
    spread = hashlib.sha256(seed.encode()).digest()[0] / 255 * _JITTER
    asked = timedelta(seconds=(isinstance(error, HttpStatusError) and error.retry_after) or 0.0)
    return min(max(back_off(failures, spread), asked), LAST_RETRY)


def _attempted(wanted: Wanted) -> str:
    """Return what is being attempted, as a digest: a URL may hold a secret."""
    image = wanted.image
    return hashlib.sha256(f"{attempt(wanted)} {image.size} {image.uri}".encode("utf-8", "replace")).hexdigest()


def _current(known: Known, wanted: Iterable[Wanted]) -> Iterator[tuple[Wanted, AttemptRecord]]:
    for item in wanted:
        record = known.get((item.key.list, item.key.image))
        if record is not None and record.attempted == _attempted(item):
            yield item, record


def unready(known: Known, wanted: Iterable[Wanted], now: datetime) -> dict[ImageKey, str]:
    """Return the images that are not to be asked for yet, with the reason."""
    return {
        item.key: f"{_state(record, now)}, next attempt at {timestamp(record.retry_at)}: {record.error}"
        for item, record in _current(known, wanted)
        if is_put_off(record.retry_at, now)
    }


def _state(record: AttemptRecord, now: datetime) -> str:
    if record.cause == _MISMATCH and now - record.since < PUBLISHER_DELAY:
        return "the publisher is not ready yet"
    return f"could not be got since {timestamp(record.since)} ({record.failures} attempts)"


def alarms(known: Known, wanted: Sequence[Wanted], now: datetime) -> list[str]:
    """Return a sentence about each image that could not be got for so long that somebody should act."""
    found = {item.key.image: (item, record) for item, record in _current(known, wanted) if _is_alarming(record, now)}
    return [
        f"image {item.title} of {item.subscription} could not be got since {timestamp(record.since)}"
        f" ({record.failures} attempts): tell the publisher. {record.error}"
        for item, record in found.values()
    ]


def _is_alarming(record: AttemptRecord, now: datetime) -> bool:
    age = now - record.since
    late = record.cause == _MISMATCH and age >= PUBLISHER_DELAY
    return late or age >= ALARM_AFTER or record.failures >= ALARM_FAILURES
