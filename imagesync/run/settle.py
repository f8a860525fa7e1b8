"""Whose a list is and how old it may be, when the state does not say.

Where the state knows a list, admission has judged already. Where it does not, every target is asked before any is
changed: one that has no records of the list must not take what another one refuses
(``docs/adr/0009-two-floors.rst``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from imagesync.backend import OwnedImage
from imagesync.model import ListId, TrustedList, Unknown, Verdict
from imagesync.plan.floor import advice, objection
from imagesync.run.observe import Seen

log = structlog.get_logger(__name__)


def settle(
    seen: tuple[Seen, ...],
    names: frozenset[str],
    records: Callable[[Mapping[ListId, str]], Iterable[OwnedImage]],
) -> tuple[Seen, ...]:
    """Refuse lists that belong to another subscription, or that records anywhere show to be too old.

    ``names`` are the subscriptions that are configured; ``records`` asks every target about the lists of some VOs, and
    is called only if needed.
    """
    seen = tuple(_refused_as_double(item, seen) for item in seen)
    new = [item.observation for item in seen if isinstance(item.observation, TrustedList) and not _is_known(item)]
    if not new:
        return seen
    found = tuple(records({trusted.identifier: trusted.vo for trusted in new}))
    reasons = {trusted.subscription: objection(trusted, found, names) for trusted in new}
    return tuple(refused(item, reasons.get(item.subscription.name, "")) for item in seen)


def _is_known(item: Seen) -> bool:
    accepted = item.accepted
    return accepted is not None and accepted.pinned and accepted.list == item.identifier


def _refused_as_double(item: Seen, seen: Sequence[Seen]) -> Seen:
    """Refuse a list that another subscription got as well, unless it is known or configured to be this one's."""
    mine = item.identifier
    if not isinstance(item.observation, TrustedList) or _is_known(item) or item.subscription.identifier == mine:
        return item
    rivals = [other.subscription.name for other in seen if other is not item and other.identifier == mine]
    if not rivals:
        return item
    return refused(item, f"identity-mismatch: the subscription {min(rivals)} has the list {mine} too")


def refused(item: Seen, reason: str) -> Seen:
    """Return what was seen of a trusted list as refused for ``reason``; without one, or untrusted, as it is."""
    trusted = item.observation
    if not reason or not isinstance(trusted, TrustedList):
        return item
    log.error("list refused", list=item.subscription.name, reason=reason)
    unknown = Unknown(trusted.subscription, trusted.vo, trusted.identifier, Verdict.REFUSED, reason, advice(reason))
    return replace(item, observation=unknown, remember=None)
