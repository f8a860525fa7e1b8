"""What this pass knows of each list. Nothing here changes anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from imagesync.errors import (
    HttpStatusError,
    ImagesyncError,
    TooLargeError,
    TrustError,
    TrustStoreUnusableError,
    UnreachableError,
)
from imagesync.lists.admit import admit, check_endorser
from imagesync.lists.anchors import Anchors
from imagesync.lists.hepix import parse
from imagesync.lists.smime import verify
from imagesync.lists.source import Fetched, ListRequest, NotModified
from imagesync.model import Accepted, Floor, ListId, Observation, TrustedList, Unknown, Verdict
from imagesync.plan.values import list_of
from imagesync.run.evidence import ends, evidence
from imagesync.run.notice import Notice, notices
from imagesync.run.settings import Subscription
from imagesync.state import StoredList

log = structlog.get_logger(__name__)

Fetch = Callable[[ListRequest], Fetched | NotModified]
"""A source: ``imagesync.lists.source.fetch``, or what a plug-in registers."""

FindFetch = Callable[[Subscription], Fetch]
"""Finds the source of a subscription.

Raises:
    ConfigError: there is none of that name.
"""

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far the local clock may be from a server's before nothing expires."""

CLOCK_JUMP = timedelta(days=30)
"""How long after the last pass a time is believed that no server confirms."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier passes left behind about one subscription, and which identifiers others have pinned.

    ``floor_lifted`` is the operator's word while nothing was accepted; ``earlier`` has the accepted versions of the
    lists that the subscription had before, and ``begun`` what a pass began to apply and did not accept.
    """

    accepted: Accepted | None = None
    stored: StoredList | None = None
    pinned_elsewhere: Mapping[ListId, str] | None = None
    floor_lifted: bool = False
    earlier: Mapping[ListId, tuple[Floor, ...]] = field(default_factory=dict)
    begun: Mapping[ListId, Floor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """One subscription's list in this pass.

    ``observation`` is ``None`` for a subscription that is switched off. ``remember`` is there exactly when it is a
    trusted list. ``server_date`` is the clock of the server that answered. ``notices`` are what is told ahead of it.
    """

    subscription: Subscription
    observation: Observation | None
    accepted: Accepted | None
    remember: StoredList | None = None
    server_date: datetime | None = None
    notices: tuple[Notice, ...] = ()

    @property
    def identifier(self) -> ListId | None:
        """Return the identifier of the list, ``None`` as long as nobody knows it."""
        return list_of(self.observation, self.accepted)


def observe(
    subscription: Subscription,
    find: FindFetch,
    anchors: Anchors | TrustStoreUnusableError,
    memory: Memory,
    now: datetime,
) -> Seen:
    """Return what is known of a subscription's list at ``now``; never raises for what is wrong with the list.

    A 304 means that the stored message is verified and admitted again, with this pass's clock, CRLs and
    configuration.
    """
    date: datetime | None = None
    with structlog.contextvars.bound_contextvars(list=subscription.name):
        try:
            answer = _ask(subscription, find, memory)
            date = answer.server_date
            return _judge(subscription, answer, anchors, memory, now)
        except HttpStatusError as error:
            return _unknown(subscription, memory, error, (error.server_date, now))
        except ImagesyncError as error:
            return _unknown(subscription, memory, error, (date, now))
        except Exception as error:  # the boundary of one list: a defect of ours must not stop the others
            log.exception("list failed unexpectedly")
            wrapped = UnreachableError(subscription.name, f"unexpected {type(error).__name__}", "please report it")
            return _unknown(subscription, memory, wrapped, (date, now))


def _ask(subscription: Subscription, find: FindFetch, memory: Memory) -> Fetched | NotModified:
    if subscription.fault is not None:
        raise subscription.fault
    return find(subscription)(_request(subscription, memory.stored))


def _judge(
    subscription: Subscription,
    answer: Fetched | NotModified,
    anchors: Anchors | TrustStoreUnusableError,
    memory: Memory,
    now: datetime,
) -> Seen:
    if isinstance(anchors, TrustStoreUnusableError):
        raise anchors
    listing = _listing(subscription, answer, memory.stored)
    payload = verify(listing.blob, anchors, subscription.signature, now)
    rules = subscription.admission(memory.pinned_elsewhere or {}, floor_lifted=memory.floor_lifted)
    # Before the list is parsed, which is the most work that a message can ask for.
    check_endorser(payload.signer, rules)
    rules = replace(rules, earlier=memory.earlier, begun=memory.begun)
    trusted = admit(parse(payload), rules, memory.accepted, now)
    for warning in trusted.warnings:
        log.warning("list accepted with a warning", warning=warning)
    log.info("list is trusted", version=trusted.content.version, signer=trusted.content.signer.identity.dn)
    pieces = evidence(payload, anchors, subscription.signature.crl, now)
    return Seen(
        subscription,
        trusted,
        memory.accepted,
        replace(listing, evidence=pieces),
        answer.server_date,
        notices(trusted, memory.accepted, ends(pieces), subscription.notices, now),
    )


def _request(subscription: Subscription, stored: StoredList | None) -> ListRequest:
    is_same = stored is not None and stored.url_sha256 == _url_sha256(subscription)
    validators = (stored.etag, stored.last_modified) if stored and is_same else (None, None)
    return ListRequest(subscription.url, subscription.list_policy, subscription.max_list_bytes, *validators)


def _listing(subscription: Subscription, answer: Fetched | NotModified, stored: StoredList | None) -> StoredList:
    match answer:
        case Fetched():
            return StoredList(answer.blob, answer.etag, answer.last_modified, url_sha256=_url_sha256(subscription))
        case NotModified() if stored is not None and stored.url_sha256 == _url_sha256(subscription):
            return stored
        case _:
            raise UnreachableError(
                subscription.name,
                "the server answered 304 to a request that had no condition",
                "the list server is broken; tell its operator",
            )


def _url_sha256(subscription: Subscription) -> str:
    return hashlib.sha256(subscription.url.encode()).hexdigest()


def _unknown(
    subscription: Subscription, memory: Memory, error: ImagesyncError, clocks: tuple[datetime | None, datetime]
) -> Seen:
    """Return what is known of a list that cannot be used; ``clocks`` are the server's and ours."""
    server_date, now = clocks
    refused = isinstance(error, TrustError | TooLargeError)
    verdict = Verdict.REFUSED if refused else Verdict.UNAVAILABLE
    pinned = memory.accepted.list if memory.accepted else subscription.identifier
    log.error("list not usable, its images are held", verdict=str(verdict), cause=error.reason, reason=str(error))
    reason = f"{error.reason}: {error.detail}"
    hint = error.hint or "tell the publisher; until a list that can be trusted comes, its images are held"
    unknown = Unknown(subscription.name, subscription.vo, pinned, verdict, reason, hint)
    told = notices(unknown, memory.accepted, (), subscription.notices, now)
    return Seen(subscription, unknown, memory.accepted, server_date=server_date, notices=told)


def accepted_from(trusted: TrustedList, now: datetime) -> Accepted:
    """Return what is to be remembered of a list that was accepted at ``now``."""
    content = trusted.content
    return Accepted(
        subscription=trusted.subscription,
        list=content.identifier,
        version=content.version,
        digest=content.digest,
        created=content.created,
        expires=content.expires,
        accepted_at=now,
        signer=content.signer,
        expiries={image.identifier: image.expires for image in content.images},
        lifted=trusted.floor_lifted,
    )


class Clock(StrEnum):
    """What a pass makes of this machine's clock."""

    TRUSTED = "trusted"
    """A server told the same time."""
    UNCHECKED = "unchecked"
    """No server told the time, and nothing speaks against ours."""
    CLOCK = "clock"
    """Nothing expires in this pass."""


def judge_clock(dates: Sequence[datetime], checked: datetime | None, last: datetime | None, now: datetime) -> Clock:
    """Return whether ``now`` can be believed, so that dates may retire images.

    ``dates`` are what servers said in this pass, ``checked`` is when the last pass with a trusted clock ended and
    ``last`` when the last one without contradiction did. It cannot when a server says otherwise, or when it lies before
    such a pass. Where no server tells the time, a long jump since the last pass is not believed either: a machine
    that wakes up in another year must not empty the catalogue.
    """
    if any(abs(now - date) > CLOCK_TOLERANCE for date in dates) or (checked is not None and now < checked):
        return Clock.CLOCK
    if dates:
        return Clock.TRUSTED
    jumped = last is not None and not last <= now <= last + CLOCK_JUMP
    return Clock.CLOCK if jumped else Clock.UNCHECKED
