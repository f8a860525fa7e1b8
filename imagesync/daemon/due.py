"""When a list is due again. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from imagesync.plan.expiry import later
from imagesync.run.exits import GOOD, Exit
from imagesync.state import PassRecord

FIRST_RETRY = timedelta(minutes=5)
"""After a pass that failed the list is tried again this much later, doubled each time, up to its regular time."""

LOCKED_RETRY = timedelta(minutes=1)
"""After another process held the lock of a target."""

_LARGEST_DOUBLING = 20


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pass ended. ``code`` is its exit code, ``None`` where it had none: it crashed or was killed.

    ``image_retry`` is when the first image that failed may be tried again; ``beside_images`` says that the clock, the
    list or a target failed, too.
    """

    at: datetime
    code: int | None
    image_retry: datetime | None = None
    beside_images: bool = False


def record(name: str, settings: str, before: PassRecord | None, ended: Ended) -> PassRecord:
    """Return what to remember of a pass of list ``name`` that ran with ``settings``, a digest of its configuration."""
    failures, retry_at = _back_off(before if before is not None and before.settings == settings else None, ended)
    return PassRecord(name, ended.at, -1 if ended.code is None else ended.code, failures, retry_at, settings)


def _back_off(before: PassRecord | None, ended: Ended) -> tuple[int, datetime | None]:
    if ended.code == Exit.LOCKED:
        return (before.failures if before else 0), ended.at + LOCKED_RETRY
    only_images = ended.code == Exit.SOME_FAILED and ended.image_retry is not None
    if (ended.code in GOOD or only_images) and not ended.beside_images:
        return 0, ended.image_retry
    failures = before.failures + 1 if before else 1
    retry_at = ended.at + FIRST_RETRY * 2 ** min(failures - 1, _LARGEST_DOUBLING)
    return failures, min(retry_at, ended.image_retry or retry_at)


def spread(at: datetime, last: PassRecord | None, now: datetime, jitter: timedelta) -> datetime:
    """Return ``at``, later by up to ``jitter`` and up to a tenth of the wait, so that sites do not all ask at once.

    When the last pass ended differs from site to site, also where all go by the same cron expression.
    """
    if last is None or at <= now:
        return at
    share = int.from_bytes(hashlib.sha256(f"{last.subscription} {last.ended.isoformat()}".encode()).digest()[:4])
    return later(at, min(jitter, (at - now) / 10) * (share / (1 << 32)))


def due(last: PassRecord | None, settings: str, regular: datetime, now: datetime) -> datetime:
    """Return when the next pass of a list is due, never before ``now``.

    ``regular`` is the first time by interval or cron expression after the last pass. A list that had none yet, or whose
    configuration has changed since, is due at once; so is one whose last pass lies ahead, because a clock was wrong.
    """
    if last is None or last.settings != settings or last.ended > now:
        return now
    wanted = regular if last.retry_at is None else min(regular, last.retry_at)
    return max(wanted, now)
