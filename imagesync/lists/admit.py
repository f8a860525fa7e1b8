"""Whether a parsed list is the one that a subscription asks for, from whom it asks, and now. Pure.

A valid signature says who signed; it does not say that they may publish this list for this VO, that the list is the
newest, or that it is not another VO's. Those are the checks here, one function each, in the order of the docstring of
``admit``. The clock is one value.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from imagesync.errors import (
    ExpiredListError,
    IdentityMismatchError,
    NotYetValidError,
    RollbackError,
    WrongEndorserError,
)
from imagesync.lists.names import normalise
from imagesync.model import Accepted, Floor, Identity, Image, ImageId, ImageList, ListId, Signer, TrustedList

CLOCK_SKEW = timedelta(minutes=5)

_BASE_GUID = re.compile(r"/store/vm/image/([0-9A-Fa-f-]{36}):[^/]*/?$")
_SEPARATORS = re.compile(r"[-,./]")


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What one subscription demands of its list.

    ``endorsers`` may sign it; without any, nobody may. ``identifier`` is the list's, where it is configured; where it
    is not, the first accepted list pins it. ``appdb_ids`` checks the identifiers that AppDB computes from the VO's
    name. ``pinned_elsewhere`` maps identifiers of lists to the subscription that holds them. ``floor_lifted`` says that
    the operator lifted the floor while nothing was accepted: then it is that of the records on the targets. ``earlier``
    has the versions that were accepted of lists which this subscription had before its last one. ``begun`` has those
    that a pass began to apply and did not accept, because it was killed or another target refused them.
    """

    subscription: str
    vo: str
    endorsers: tuple[Identity, ...]
    identifier: ListId | None = None
    appdb_ids: bool = False
    pinned_elsewhere: Mapping[ListId, str] = field(default_factory=dict)
    floor_lifted: bool = False
    earlier: Mapping[ListId, tuple[Floor, ...]] = field(default_factory=dict)
    begun: Mapping[ListId, Floor] = field(default_factory=dict)


def check_endorser(signer: Signer, rules: AdmissionRules) -> None:
    """Check that a signer is an endorser of the subscription: for a message that nobody has parsed yet.

    Raises:
        WrongEndorserError: It is none.
    """
    if signer.identity not in {_canonical(endorser) for endorser in rules.endorsers}:
        raise WrongEndorserError(
            rules.subscription,
            f"signed by {_words(signer.identity)}, which is no endorser of this subscription",
            "if the endorser has a new certificate, confirm it with them and add it under 'endorsers'",
        )


def admit(content: ImageList, rules: AdmissionRules, accepted: Accepted | None, now: datetime) -> TrustedList:
    """Return the list as one that may be acted on.

    Checked in this order: signer and endorser, list identifier, VO, AppDB's identifiers, creation and expiry, version.

    Raises:
        WrongEndorserError: Signed by somebody else than the list claims, or than the subscription allows.
        IdentityMismatchError: Another list, another VO's, or one that belongs to another subscription.
        NotYetValidError: Created in the future, by more than five minutes.
        ExpiredListError: Its own expiry has passed.
        RollbackError: Older than the last version that was accepted or begun with, not comparable with it, or the same
            with other content.
    """
    _check_endorser(content, rules)
    _check_identifier(content, rules, accepted)
    _check_vo(content, rules)
    warnings = _check_appdb_ids(content, rules) if rules.appdb_ids else ()
    _check_dates(content, rules, now)
    if accepted is not None and accepted.list == content.identifier:
        _check_version(content, rules, accepted)
    elif accepted is None or accepted.version is not None:
        _check_earlier(content, rules)
    if content.identifier in rules.begun:
        _check_floor(content, rules, rules.begun[content.identifier], "applied")
    return TrustedList(
        subscription=rules.subscription,
        vo=rules.vo,
        content=content,
        floor_lifted=_is_floor_lifted(content, rules, accepted),
        warnings=(*content.warnings, *warnings),
    )


# --- who -------------------------------------------------------------------------------------------------------------
def _canonical(identity: Identity) -> Identity:
    return Identity(normalise(identity.dn), normalise(identity.ca))


def _words(identity: Identity) -> str:
    return f"{identity.dn} (CA {identity.ca})"


def _check_endorser(content: ImageList, rules: AdmissionRules) -> None:
    signer = content.signer.identity
    if signer != _canonical(content.endorser):
        raise WrongEndorserError(
            rules.subscription,
            f"signed by {_words(signer)}, but the list names {_words(content.endorser)} as its endorser",
            "the publisher must name the certificate that signs, in hv:endorser",
        )
    check_endorser(content.signer, rules)


# --- which -----------------------------------------------------------------------------------------------------------
def _check_identifier(content: ImageList, rules: AdmissionRules, accepted: Accepted | None) -> None:
    pinned, why = rules.identifier, "configured"
    if pinned is None and accepted is not None and accepted.pinned:
        pinned, why = accepted.list, "pinned at the first acceptance"
    if pinned is not None and content.identifier != pinned:
        raise IdentityMismatchError(
            rules.subscription,
            f"the list is {content.identifier}, but {pinned} is {why}",
            "check the URL; if the publisher started a new list, 'imagesync list reset NAME --identifier'",
        )
    holder = rules.pinned_elsewhere.get(content.identifier)
    if holder is not None and holder != rules.subscription:
        raise IdentityMismatchError(
            rules.subscription,
            f"the list {content.identifier} belongs to the subscription {holder}",
            "one list can be subscribed only once: check the URLs of both",
        )


def _check_vo(content: ImageList, rules: AdmissionRules) -> None:
    if content.vo is None:
        if rules.identifier is None:
            raise IdentityMismatchError(
                rules.subscription,
                "the list does not say which VO it is for",
                f"if it is the right one, configure 'identifier: {content.identifier}'",
            )
    elif content.vo != rules.vo:
        raise IdentityMismatchError(
            rules.subscription, f"the list is for the VO {content.vo}, not {rules.vo}", "check the URL and 'vo'"
        )


def _check_appdb_ids(content: ImageList, rules: AdmissionRules) -> tuple[str, ...]:
    """Compare the identifiers with those that AppDB computes: it signs every VO's list with one certificate."""
    expected = str(uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list:{rules.vo}"))
    if content.identifier.lower() != expected:
        raise IdentityMismatchError(
            rules.subscription,
            f"the list is {content.identifier}, but AppDB's list for {rules.vo} is {expected}",
            "check the URL; 'appdb_ids: false' if the list is not AppDB's",
        )
    odd = [image.identifier for image in content.images if not _fits_appdb(image, rules.vo)]
    if not odd:
        return ()
    return (f"{len(odd)} images have an identifier that does not follow from their ad:base_mpuri, {odd[0]} first",)


def _fits_appdb(image: Image, vo: str) -> bool:
    base = image.raw.get("ad:base_mpuri")
    match = _BASE_GUID.search(base) if isinstance(base, str) else None
    if match is None:
        return True
    expected = uuid.uuid5(uuid.NAMESPACE_OID, f"vowide_image_list_image:{vo}:{match[1]}")
    return ImageId(image.identifier.lower()) == str(expected)


# --- when ------------------------------------------------------------------------------------------------------------
def _check_dates(content: ImageList, rules: AdmissionRules, now: datetime) -> None:
    if content.created > now + CLOCK_SKEW:
        raise NotYetValidError(
            rules.subscription,
            f"the list says that it was created at {content.created:%Y-%m-%d %H:%M:%S} UTC, in the future",
            "check this machine's clock; else the publisher's is wrong",
        )
    if content.expires <= now:
        raise ExpiredListError(
            rules.subscription,
            f"the list expired at {content.expires:%Y-%m-%d %H:%M:%S} UTC",
            "ask the endorser to publish a new one",
        )


# --- in which order --------------------------------------------------------------------------------------------------
def compare_versions(left: str, right: str) -> int | None:
    """Return -1, 0 or 1 as ``left`` is lower than, equal to or higher than ``right``; None if there is no order.

    Versions are split on ``-``, ``,``, ``.`` and ``/``; numbers compare as numbers, other parts only as equal.
    """
    lefts, rights = _SEPARATORS.split(left), _SEPARATORS.split(right)
    for one, other in zip(lefts, rights, strict=False):
        if _is_number(one) and _is_number(other):
            if order := _order(int(one), int(other)):
                return order
        elif one != other:
            return None
    if not all(_is_number(part) for part in (lefts[len(rights) :] or rights[len(lefts) :])):
        return None
    return _order(len(lefts), len(rights))


def _order(left: int, right: int) -> int:
    return (left > right) - (left < right)


def _is_floor_lifted(content: ImageList, rules: AdmissionRules, accepted: Accepted | None) -> bool:
    if accepted is None:
        return rules.floor_lifted
    return accepted.list == content.identifier and (accepted.version is None or accepted.lifted)


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= 64


def _check_version(content: ImageList, rules: AdmissionRules, accepted: Accepted) -> None:
    if accepted.version is not None:
        _check_floor(content, rules, Floor(accepted.version, accepted.digest), "accepted")


def _check_floor(content: ImageList, rules: AdmissionRules, floor: Floor, done: str) -> None:
    """Refuse what is not newer than ``floor``, unless it is the same; ``done`` says what happened to that version."""
    if content.digest == floor.digest:
        return
    lift = "if the publisher confirms it, 'imagesync list reset NAME --version'"
    match compare_versions(content.version, floor.version):
        case 1:
            return
        case 0 if floor.digest is None:
            return
        case 0:
            detail = f"version {content.version} was {done} before with other content"
        case -1:
            detail = f"version {content.version} is older than {floor.version}, which was {done} before"
        case _:
            detail = f"version {content.version} cannot be ordered against {floor.version}, {done} before"
    raise RollbackError(rules.subscription, detail, lift)


def _check_earlier(content: ImageList, rules: AdmissionRules) -> None:
    """Keep the floor of a list that the subscription comes back to."""
    for floor in rules.earlier.get(content.identifier, ()):
        _check_floor(content, rules, floor, "accepted")
