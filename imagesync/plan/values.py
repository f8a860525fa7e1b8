"""What a plan is made from, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from imagesync.backend import Digest, Fingerprint, ImageKey, Metadata, OwnedImage
from imagesync.lists.select import Skipped
from imagesync.model import Accepted, ListId, Observation, TrustedList, Unknown
from imagesync.plan.spec import Wanted


class Kind(StrEnum):
    """What is done about one record or one wanted image."""

    REGISTER = "register"
    REPLACE = "replace"
    RESTORE = "restore"
    UPDATE = "update"
    RETIRE = "retire"
    DELETE = "delete"
    KEEP = "keep"
    HOLD = "hold"
    SKIP = "skip"


DEFAULT_EXPIRY_GRACE = timedelta(hours=72)
"""How long after its list's date an image of an unknown list stays."""

CHANGES = frozenset({Kind.REGISTER, Kind.REPLACE, Kind.RESTORE, Kind.UPDATE, Kind.RETIRE, Kind.DELETE})
"""The kinds that change something on the target."""


class Cause(StrEnum):
    """Why an action is in a plan. Every removal has one of these, and ``docs/safety.rst`` explains each."""

    NEW = "new"
    CHANGED = "changed"
    TAMPERED = "tampered"
    UNVERIFIED = "unverified"
    GONE = "gone"
    CAME_BACK = "came-back"
    DEACTIVATED = "deactivated"
    METADATA = "metadata"
    CURRENT = "current"
    WITHDRAWN = "withdrawn"
    EXCLUDED = "excluded"
    EXPIRED = "expired"
    LIST_EXPIRED = "list-expired"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"
    LEFTOVER = "leftover"
    GRACE_OVER = "grace-over"
    GRACE = "grace"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    UNSUBSCRIBED = "unsubscribed"
    PAUSED = "paused"
    MOVED = "moved"
    GUARD = "guard"
    BACK_OFF = "back-off"
    WAITING = "waiting"
    CLOCK = "clock"


BESIDE_ANOTHER = frozenset({Cause.SUPERSEDED, Cause.TAMPERED})
"""Causes for which a record is retired while another one of the same image stays published."""


@dataclass(frozen=True, slots=True)
class GuardRules:
    """How many removals of one list at one target are believed within 24 hours.

    ``share`` is a fraction of the published images, counted from ``min_images`` of them. ``allowed`` is the
    operator's word for this run: that many removals pass whatever the rules say.
    """

    share: float = 0.5
    min_images: int = 4
    allowed: int | None = None


@dataclass(frozen=True, slots=True)
class ListView:
    """What one pass knows of one subscription, as one target sees it.

    ``observation`` is ``None`` for a subscription that is switched off. ``accepted`` is the last accepted version;
    its dates count while the list is unknown. ``owners`` are the projects that own its images there. ``paused`` says
    that the operator wants nothing to be changed there for it, until when and why: then there is no observation.
    """

    subscription: str
    observation: Observation | None
    accepted: Accepted | None = None
    owners: frozenset[str] = frozenset()
    wanted: tuple[Wanted, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    expiry_grace: timedelta = DEFAULT_EXPIRY_GRACE
    keep_unselected: bool = False
    guard: GuardRules = field(default_factory=GuardRules)
    paused: str = ""

    @property
    def identifier(self) -> ListId | None:
        """Return the identifier of the list, ``None`` as long as nobody knows it."""
        return list_of(self.observation, self.accepted)

    @property
    def is_remembered(self) -> bool:
        """Return whether the state knows this very list, so that its own floor was looked at already."""
        accepted = self.accepted
        return accepted is not None and accepted.pinned and accepted.list == self.identifier


def list_of(observation: Observation | None, accepted: Accepted | None) -> ListId | None:
    """Return the identifier of a subscription's list: as served in this pass, else as pinned, else unknown."""
    match observation:
        case TrustedList() as trusted:
            return trusted.identifier
        case Unknown(list=pinned) if pinned is not None:
            return pinned
        case _:
            return accepted.list if accepted else None


@dataclass(frozen=True, slots=True)
class TargetView:
    """What one pass knows of one target.

    ``owned`` are the records in scope. ``recorded`` are the digests of files uploaded earlier, by fingerprint, as the
    state remembers them. ``revoked`` gives a reason for single records, by ``ref``, ``postponed`` for single images.
    ``waiting`` is why nothing is to be uploaded now, if that is so.
    ``trust_clock`` is off when the clock contradicts the servers: then nothing expires. ``subscriptions`` are the names
    of all that are configured.
    ``expected`` are the images that were published here when the last pass ended, ``remembered`` all that were here.
    ``editable`` says that records can be written by others: what they say of their own bytes is then not believed.
    ``former`` are owners of records that own images of no list by now. ``paused`` is as in ``ListView``, for all lists.
    """

    name: str
    owned: tuple[OwnedImage, ...]
    recorded: Mapping[Fingerprint, Digest] = field(default_factory=dict)
    revoked: Mapping[str, str] = field(default_factory=dict)
    postponed: Mapping[ImageKey, str] = field(default_factory=dict)
    waiting: str = ""
    delete_after: timedelta = timedelta(days=30)
    trust_clock: bool = True
    subscriptions: frozenset[str] = frozenset()
    expected: frozenset[ImageKey] = frozenset()
    remembered: frozenset[ImageKey] = frozenset()
    editable: bool = False
    former: frozenset[str] = frozenset()
    paused: str = ""

    @property
    def countable(self) -> tuple[OwnedImage, ...]:
        """Return the records that the guard counts: none that others added, as far as the state can tell.

        Nor what is left in a project that was given up: the same images would count twice.
        """
        current = tuple(image for image in self.owned if image.key.owner not in self.former)
        if not self.editable or not self.remembered:
            return current
        return tuple(image for image in current if image.key in self.remembered)


@dataclass(frozen=True, slots=True)
class Action:
    """One decision with its reason.

    ``cause`` is for programs, ``reason`` for people. ``image`` is the record it is about, ``wanted`` what should be
    there, ``superseded`` the published records that a new one replaces, ``metadata`` what an update writes.
    ``counted`` marks a removal that the guard counts.
    """

    kind: Kind
    key: ImageKey
    title: str
    cause: Cause
    reason: str
    image: OwnedImage | None = None
    wanted: Wanted | None = None
    metadata: Metadata | None = None
    superseded: tuple[OwnedImage, ...] = ()
    counted: bool = False

    @property
    def changes(self) -> bool:
        """Return whether carrying it out changes the target."""
        return self.kind in CHANGES


@dataclass(frozen=True, slots=True)
class Plan:
    """All decisions for one target, in the order in which they are carried out.

    ``refused`` are lists that only this target's records showed to be a rollback, with the reason. ``caught_up`` are
    those whose floor was lifted and whose version no record is ahead of any more.
    """

    target: str
    at: datetime
    actions: tuple[Action, ...]
    refused: Mapping[ListId, str] = field(default_factory=dict)
    caught_up: frozenset[ListId] = frozenset()

    @property
    def changes(self) -> tuple[Action, ...]:
        """Return the actions that change the target."""
        return tuple(action for action in self.actions if action.changes)
