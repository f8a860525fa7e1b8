"""The dates that an endorser signed: they count whatever is known of the list in this pass. Pure.

Expiry is knowledge, not ignorance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imagesync.backend import OwnedImage
from imagesync.plan.spec import moment, timestamp
from imagesync.plan.values import DEFAULT_EXPIRY_GRACE, Cause, ListView


@dataclass(frozen=True, slots=True)
class Dates:
    """An image's own date, its list's date, and when the list's date retires it."""

    image: datetime | None
    list: datetime | None
    grace_over: datetime | None


def dates(copy: OwnedImage, view: ListView | None) -> Dates:
    """Return the dates of the last accepted list; without a record of it, those in the image's properties."""
    accepted = view.accepted if view else None
    properties = copy.metadata.properties
    own, listed = (_property(properties, name) for name in ("imagesync_image_expires", "imagesync_list_expires"))
    if accepted is not None and accepted.list == copy.key.list:
        own, listed = accepted.expiries.get(copy.key.image, own), accepted.expires
    grace = view.expiry_grace if view else DEFAULT_EXPIRY_GRACE
    return Dates(own, listed, None if listed is None else later(listed, grace))


def expired(when: Dates, now: datetime) -> tuple[Cause, str] | None:
    """Return why a signed date retires an image at ``now``, or ``None``. Such a retirement is exempt from the guard."""
    if when.image is not None and when.image <= now:
        return Cause.EXPIRED, f"its own date passed at {timestamp(when.image)}"
    if when.grace_over is not None and when.grace_over <= now:
        return Cause.LIST_EXPIRED, f"its list expired at {timestamp(when.list)} and no newer version came"
    return None


def announcement(when: Dates, now: datetime) -> str:
    """Return a clause that says ahead when the list's date, now passed, will retire an image; else nothing."""
    if when.list is None or when.grace_over is None or when.list > now:
        return ""
    due = min(when.grace_over, when.image or when.grace_over)
    return f"; the last accepted version expired at {timestamp(when.list)}, retirement is due at {timestamp(due)}"


def later(when: datetime, by: timedelta) -> datetime:
    """Return ``when + by``, or the last representable moment."""
    try:
        return when + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _property(properties: Mapping[str, str], name: str) -> datetime | None:
    return moment(properties.get(name, ""))
