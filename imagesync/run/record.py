"""What the state remembers of each image after a target was worked on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeGuard

from imagesync.backend import Digest, ImageKey, Metadata, OwnedImage
from imagesync.plan.spec import Wanted, complete, timestamp
from imagesync.plan.values import BESIDE_ANOTHER, Action, Cause, Kind
from imagesync.run.apply import Ending, Outcome
from imagesync.state import ArtifactRecord, ImageRecord, MetadataRecord, key_digest

FIRST_RETRY = timedelta(minutes=5)
LAST_RETRY = timedelta(hours=24)
"""After a failure the next attempt waits this long, doubling up to the second, until the list or image changes."""

_UNTRIED = frozenset({Cause.BACK_OFF, Cause.WAITING})

_OFFERED = frozenset({"published", "held", "tampered"})

_SAID = attrgetter(*(field.name for field in fields(ImageRecord) if field.name != "since"))
"""What a record says but for the time: that is of the pass, and stays as long as the rest does."""

_RANK = (
    *(Kind.REGISTER, Kind.REPLACE, Kind.RESTORE, Kind.UPDATE),
    *(Kind.HOLD, Kind.RETIRE, Kind.KEEP, Kind.DELETE, Kind.SKIP),
)
"""Of several actions about one key the first kind here tells where the image stands."""


_WRITING = frozenset({Kind.REGISTER, Kind.REPLACE, Kind.RESTORE, Kind.UPDATE})
"""What writes properties of a record."""

_ON_RETIRED = frozenset({Kind.KEEP, Kind.UPDATE, Kind.DELETE})
"""What may be done about a retired record that stays retired."""


def back_off(failures: int, spread: float = 0.0) -> timedelta:
    """Return how long to wait after so many failures in a row; ``spread`` is how much longer, as a share of that."""
    return min(FIRST_RETRY * (1 << min(failures - 1, 20)) * (1 + spread), LAST_RETRY)


def is_put_off(retry_at: datetime | None, now: datetime) -> TypeGuard[datetime]:
    """Return whether the next attempt has to wait. A time beyond any wait was noted by a clock that was wrong."""
    return retry_at is not None and now < retry_at <= now + LAST_RETRY


@dataclass(frozen=True, slots=True)
class Memory:
    """What is new and written to the state, and which keys are forgotten because nothing is left of them."""

    records: tuple[ImageRecord, ...]
    gone: frozenset[ImageKey]
    artifacts: tuple[ArtifactRecord, ...]


def memory(outcomes: Sequence[Outcome], before: Iterable[ImageRecord], now: datetime) -> Memory:
    """Return what to remember of a target: a record per key that has a copy there or should have one.

    What the state says already is left out.
    """
    known = {record.key: record for record in before}
    decisive = _decisive(outcomes)
    ordered = sorted(decisive, key=attrgetter("owner", "list", "image"))
    records = tuple(_record(decisive[key], known.get(key), now) for key in ordered)
    records = tuple(record for record in records if _is_new(record, known.get(record.key)))
    gone = {outcome.action.key for outcome in outcomes if _is_gone(outcome)} - decisive.keys()
    return Memory(records, frozenset(gone), tuple(_artifacts(outcomes)))


def _is_new(record: ImageRecord, before: ImageRecord | None) -> bool:
    return before is None or _SAID(record) != _SAID(before)


def described(outcomes: Iterable[Outcome], known: Collection[str], now: datetime) -> list[MetadataRecord]:
    """Return what the records of images say to their users, where it is new or not ``known`` (by ``key_digest``)."""
    found: dict[ImageKey, MetadataRecord] = {}
    for outcome in outcomes:
        key, metadata = outcome.action.key, _written(outcome, now)
        is_new = outcome.action.kind in _WRITING or key_digest(key) not in known
        if metadata is not None and is_new and outcome.action.cause not in BESIDE_ANOTHER:
            found[key] = MetadataRecord(key, metadata.name, metadata.min_ram, metadata.properties, now)
    return list(found.values())


def _written(outcome: Outcome, now: datetime) -> Metadata | None:
    """Return what a record says after an action, ``None`` where the action left nothing to describe."""
    action = outcome.action
    if outcome.outcome is Ending.DONE and action.kind in _WRITING:
        if outcome.file is not None and action.wanted is not None:
            return complete(action.wanted, outcome.file, now).metadata
        return action.metadata
    is_left = action.kind is not Kind.DELETE and action.image is not None
    return action.image.metadata if is_left and action.image else None


def is_offered(record: ImageRecord) -> bool:
    """Return whether a version of the image was published when the last pass ended.

    Also while its list was unknown, or its replacement failed: the guard counts the removal of such an image too.
    """
    return record.state in _OFFERED or (record.state == "failed" and record.digest is not None)


def attempt(wanted: Wanted | None) -> str:
    """Return what is being attempted, which the configuration is a part of: when it changes, the back-off is over."""
    if wanted is None:
        return ""
    version = wanted.metadata.properties.get("imagesync_list_version", "")
    return f"{version} {wanted.image.sha512} {wanted.settings}".rstrip()


def _decisive(outcomes: Iterable[Outcome]) -> dict[ImageKey, Outcome]:
    best: dict[ImageKey, Outcome] = {}
    for outcome in sorted(
        filter(_tells, outcomes), key=lambda one: (_RANK.index(one.action.kind), _retired_for(one) != "")
    ):
        best.setdefault(outcome.action.key, outcome)
    return best


def _tells(outcome: Outcome) -> bool:
    """Return whether an outcome says where an image stands. What is not selected has no place in the state."""
    match outcome.action:
        case Action(kind=Kind.DELETE, image=image) if image is not None and image.retirement is not None:
            return outcome.outcome is not Ending.DONE and image.retirement.reason != Cause.SUPERSEDED
        case Action(kind=Kind.DELETE) | Action(cause=Cause.SUPERSEDED) | Action(kind=Kind.RETIRE, cause=Cause.TAMPERED):
            return False
        case Action(kind=Kind.SKIP, cause=cause):
            return cause in {Cause.BACK_OFF, Cause.WAITING, Cause.BROKEN}
        case Action(kind=Kind.KEEP | Kind.UPDATE | Kind.RETIRE, image=image) if image is not None and image.retirement:
            return image.retirement.reason != Cause.SUPERSEDED
        case _:
            return True


def _is_gone(outcome: Outcome) -> bool:
    kind = outcome.action.kind
    return kind is Kind.SKIP or (kind is Kind.DELETE and outcome.outcome is Ending.DONE)


def _record(outcome: Outcome, before: ImageRecord | None, now: datetime) -> ImageRecord:
    action = outcome.action
    state, reason = _standing(outcome)
    digest, form = _file(outcome, action.image)
    failures, retry_at = _back_off(outcome, before, now)
    return ImageRecord(
        key=action.key,
        title=action.title or (before.title if before else ""),
        state=state,
        reason=reason,
        since=now,
        digest=digest,
        format=form,
        failures=failures,
        retry_at=retry_at,
        attempted=attempt(action.wanted),
    )


def _standing(outcome: Outcome) -> tuple[str, str]:
    """Return the state as ``imagesync status`` shows it, and why."""
    action = outcome.action
    cause = _retired_for(outcome)
    if cause:
        reason = f"due for deletion, but {outcome.error}" if outcome.error else action.reason
        return ("revoked" if cause == Cause.REVOKED else "retired"), reason
    if outcome.outcome is Ending.FAILED:
        state = "tampered" if action.cause is Cause.TAMPERED else "failed"
        return state, f"{action.kind} failed: {outcome.error}"
    if is_tampered_and_held(action):
        return "tampered", action.reason
    if action.cause in {Cause.BACK_OFF, Cause.BROKEN} and action.kind in {Kind.HOLD, Kind.SKIP}:
        return "failed", action.reason
    return _standing_unworked(action)


def is_tampered_and_held(action: Action) -> bool:
    """Return whether other bytes stand in an image's place, and putting them right failed too short a time ago."""
    return (action.kind, action.cause) == (Kind.HOLD, Cause.TAMPERED)


def _standing_unworked(action: Action) -> tuple[str, str]:
    if action.cause is Cause.WAITING:
        return ("published" if action.image else "missing"), action.reason
    return ("held", action.reason) if action.kind is Kind.HOLD else ("published", "as endorsed")


def _retired_for(outcome: Outcome) -> str:
    """Return the cause for which the image is retired now, or the empty string."""
    action = outcome.action
    if action.kind is Kind.RETIRE and outcome.outcome is Ending.DONE:
        return action.cause
    retirement = action.image.retirement if action.kind in _ON_RETIRED and action.image else None
    return retirement.reason if retirement else ""


def _file(outcome: Outcome, image: OwnedImage | None) -> tuple[Digest | None, str]:
    if outcome.file is not None:
        return outcome.file.digest, str(outcome.file.format)
    return (image.digest, str(image.format)) if image else (None, "")


def _back_off(outcome: Outcome, before: ImageRecord | None, now: datetime) -> tuple[int, datetime | None]:
    if before is not None and (outcome.action.cause in _UNTRIED or is_tampered_and_held(outcome.action)):
        return before.failures, before.retry_at
    if outcome.outcome is not Ending.FAILED and outcome.action.kind is not Kind.DELETE:
        return 0, None
    same = before is not None and before.attempted == attempt(outcome.action.wanted)
    failures = before.failures + 1 if before is not None and same else 1
    return failures, now + back_off(failures)


def postponed(records: Iterable[ImageRecord], wanted: Mapping[ImageKey, Wanted], now: datetime) -> dict[ImageKey, str]:
    """Return the images whose last attempt failed too short a time ago, with the reason."""
    return {
        record.key: f"failed {record.failures} times, next attempt at {timestamp(record.retry_at)}: {record.reason}"
        for record in records
        if is_put_off(record.retry_at, now) and record.attempted == attempt(wanted.get(record.key))
    }


def _artifacts(outcomes: Iterable[Outcome]) -> Iterator[ArtifactRecord]:
    for outcome in outcomes:
        file, wanted = outcome.file, outcome.action.wanted
        if file is not None and wanted is not None:
            yield ArtifactRecord(
                file.fingerprint,
                wanted.image.sha512,
                file.source_format,
                file.digest,
                file.format,
                file.size,
                file.virtual_size,
            )
