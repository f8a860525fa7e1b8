"""What the records on a target say against a list that calls itself theirs. Pure.

The state remembers which versions were accepted and to whom a list belongs; the records remember it too, and still do
when the state was lost (``docs/adr/0009-two-floors.rst``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from imagesync.backend import OwnedImage
from imagesync.lists.admit import compare_versions
from imagesync.model import TrustedList


def objection(trusted: TrustedList, owned: Iterable[OwnedImage], subscriptions: Collection[str]) -> str:
    """Return why the records of this list refuse it, or the empty string.

    ``subscriptions`` are the names of all that are configured: a record that one of the others wrote shows that the
    list is that one's.
    """
    records = [image.metadata.properties for image in owned if image.key.list == trusted.identifier]
    others = {record.get("imagesync_subscription", "") for record in records} & set(subscriptions)
    if others - {trusted.subscription}:
        return f"identity-mismatch: the list belongs to the subscription {min(others - {trusted.subscription})}"
    vos = {record.get("APPLIANCE_VO", trusted.vo) for record in records} - {trusted.vo}
    if vos:
        return f"identity-mismatch: the target holds images of this list for the VO {min(vos)}"
    newer = [] if trusted.floor_lifted else _newer(trusted.content.version, records)
    if newer:
        return f"rollback: version {trusted.content.version}, but the target holds images of version {newer[0]}"
    return ""


def has_caught_up(trusted: TrustedList, owned: Iterable[OwnedImage]) -> bool:
    """Return whether a list whose floor was lifted is behind no record any more: then the records count again."""
    records = (image.metadata.properties for image in owned if image.key.list == trusted.identifier)
    return trusted.floor_lifted and not _newer(trusted.content.version, records)


def advice(reason: str) -> str:
    """Return what to do about an objection."""
    if reason.startswith("rollback:"):
        return "if the publisher confirms it, 'imagesync list reset NAME --version'"
    return "tell the publisher; a higher version of the right list is accepted again"


def _newer(version: str, records: Iterable[Mapping[str, str]]) -> list[str]:
    held = {record.get("imagesync_list_version", "") for record in records}
    return [other for other in sorted(held - {""}) if compare_versions(version, other) not in {0, 1}]
