"""Where every endorsed image stands on a target: what ``imagesync status`` and the status page show. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from imagesync.backend import Digest, ImageKey, OwnedImage
from imagesync.boot.machine import settings
from imagesync.plan.values import Action, Cause, Kind, Plan
from imagesync.state import ImageRecord


@dataclass(frozen=True, slots=True)
class Standing:
    """One image on one target. ``since`` is when ``state`` began, as far as the state remembers.

    ``vo`` and ``signer`` are what the record says, or what would be written; ``asks`` is what the file that is there
    asks of its machine.
    """

    key: ImageKey
    title: str
    state: str
    reason: str
    since: datetime
    digest: Digest | None
    format: str
    vo: str
    signer: str
    asks: str = ""


_RANK = {"published": 0, "held": 0, "tampered": 0, "failed": 1, "missing": 1, "revoked": 2, "retired": 3}
_STATES = {
    Kind.REGISTER: "missing",
    Kind.RESTORE: "missing",
    Kind.REPLACE: "published",
    Kind.HOLD: "held",
    Kind.KEEP: "published",
    Kind.UPDATE: "published",
    Kind.RETIRE: "published",
}
_FROM_LAST_PASS = frozenset({"failed", "held"})


def standings(plan: Plan, records: Iterable[ImageRecord]) -> list[Standing]:
    """Return where each image stands: by what the target holds now, with what the last pass knew of it.

    ``plan`` is what would be done if the lists were as last accepted.
    """
    known = {record.key: record for record in records}
    best: dict[ImageKey, Standing] = {}
    for action in plan.actions:
        found = _standing(action, known, plan.at)
        if found is not None and _is_better(found, best.get(found.key)):
            best[found.key] = found
    return [best[key] for key in sorted(best)]


def _is_better(new: Standing, old: Standing | None) -> bool:
    return old is None or _RANK[new.state] < _RANK[old.state]


def _standing(action: Action, known: Mapping[ImageKey, ImageRecord], now: datetime) -> Standing | None:
    now_state = _state_now(action)
    if now_state is None:
        return None
    state, reason = now_state, "as endorsed" if action.kind is Kind.KEEP and now_state == "published" else action.reason
    record = known.get(action.key)
    if record is not None and record.state in _FROM_LAST_PASS and state in {"published", "missing", "held"}:
        state, reason = record.state, record.reason
    if action.kind is Kind.DELETE and record is not None and record.state == state:
        reason = record.reason
    since = record.since if record is not None and record.state == state else now
    title = action.title or (record.title if record else "")
    properties = _properties(action)
    return Standing(
        key=action.key,
        title=title,
        state=state,
        reason=reason,
        since=since,
        digest=action.image.digest if action.image else None,
        format=str(action.image.format) if action.image else "",
        vo=properties.get("APPLIANCE_VO", ""),
        signer=properties.get("imagesync_signer", ""),
        asks=_asks(action.image) if action.image else "",
    )


def _asks(image: OwnedImage) -> str:
    return settings(image.metadata.properties, image.metadata.min_ram, image.format)


def _properties(action: Action) -> Mapping[str, str]:
    if action.image is not None:
        return action.image.metadata.properties
    return action.wanted.metadata.properties if action.wanted is not None else {}


def _state_now(action: Action) -> str | None:
    """Return the state that the target's own records show, or ``None`` for what is not endorsed and not there."""
    retirement = action.image.retirement if action.image is not None else None
    if retirement is not None and action.kind in {Kind.KEEP, Kind.UPDATE, Kind.RETIRE, Kind.DELETE}:
        return None if retirement.reason == Cause.SUPERSEDED else _gone(retirement.reason)
    if action.cause is Cause.TAMPERED:
        return "tampered"
    if action.cause is Cause.WAITING:
        return "published" if action.image else "missing"
    return None if action.cause is Cause.SUPERSEDED else _STATES.get(action.kind)


def _gone(reason: str) -> str:
    return "revoked" if reason == Cause.REVOKED else "retired"
