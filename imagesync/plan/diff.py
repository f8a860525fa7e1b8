"""The decision: what has to be done on one target. Pure.

Rules this module keeps:

* Only a list that is trusted in this pass can withdraw an image. Everything else is held (unknown is not empty).
* Dates that an endorser signed, and revocation, retire an image whatever is known of the list.
* A record counts as right only when its bytes are attested to be those of an acceptable final form.
* Of one key at most one record stays published; it is never retired before another one is published.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter

from imagesync.backend import DEACTIVATED, RECALLED, ImageKey, OwnedImage, State
from imagesync.lists.select import Cause as SkipCause
from imagesync.lists.select import Skipped
from imagesync.model import ImageId, ListId, TrustedList, Unknown, Verdict
from imagesync.plan.comparison import comparable, differences, is_false, is_right, recorded, target_metadata
from imagesync.plan.expiry import Dates, announcement, dates, expired, later
from imagesync.plan.floor import advice, has_caught_up, objection
from imagesync.plan.guard import COUNTED, WINDOW, guard
from imagesync.plan.spec import Wanted, timestamp
from imagesync.plan.values import Action, Cause, Kind, ListView, Plan, TargetView
from imagesync.plan.waiting import put_off

_ORDER = (
    (Kind.RETIRE, Cause.REVOKED),
    (Kind.DELETE, Cause.LEFTOVER),
    (Kind.REGISTER, None),
    (Kind.REPLACE, None),
    (Kind.RESTORE, None),
    (Kind.UPDATE, None),
    (Kind.RETIRE, None),
    (Kind.DELETE, None),
    (Kind.KEEP, None),
    (Kind.HOLD, None),
    (Kind.SKIP, None),
)
"""Recalls first, because they are urgent; then clean-up, because it frees room; then what adds; then what removes."""

_KEY_ORDER = attrgetter("owner", "list", "image")
"""As keys compare, but without calling their comparison ten thousand times."""

_FALSE = "a record passes for this image, but its bytes are not those that were uploaded"


def make_plan(views: Sequence[ListView], target: TargetView, now: datetime) -> Plan:
    """Return what to do on ``target``, with a reason for each decision, in a deterministic order.

    ``views`` are the subscriptions in scope, ``target.owned`` the records in scope. Two calls with equal arguments
    return equal plans, and a plan made after this one was carried out changes nothing.
    """
    trusted = [view.observation for view in views if isinstance(view.observation, TrustedList)]
    caught_up = frozenset(one.identifier for one in trusted if has_caught_up(one, target.owned))
    views, refused = _refuse(views, target)
    actions = [action for decided in _decide_keys(views, target, now) for action in decided]
    there = {(image.key.list, image.key.image) for image in target.owned}
    actions += [
        _skip(item, view) for view in views for item in view.skipped if (view.identifier, item.identifier) not in there
    ]
    rules = {identifier: view.guard for view in views if (identifier := view.identifier)}
    guarded = guard(actions, target.countable, rules, now)
    return Plan(target.name, now, tuple(sorted(guarded, key=_order)), refused, caught_up)


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Where an image belongs, in place of a project that its VO has no more, and whether it is offered there by now."""

    owners: frozenset[str]
    is_offered: bool


@dataclass(frozen=True, slots=True)
class _Situation:
    """One key: its records, its list's view, what is wanted for it or why it is not.

    ``copies`` are without those that are denied locally; ``recalled`` says that there were such.
    """

    key: ImageKey
    copies: tuple[OwnedImage, ...]
    view: ListView | None
    wanted: Wanted | None
    skipped: Skipped | None
    target: TargetView
    now: datetime
    elsewhere: _Elsewhere | None = None
    recalled: bool = False

    def act(self, kind: Kind, cause: Cause, reason: str, image: OwnedImage | None = None) -> Action:
        """Return an action about this key."""
        title = self.wanted.title if self.wanted else (image.metadata.name if image else "")
        return Action(kind, self.key, title, cause, reason, image, self.wanted)


def _decide_keys(views: Sequence[ListView], target: TargetView, now: datetime) -> Iterator[list[Action]]:
    by_list = {view.identifier: view for view in views}
    by_name = {view.subscription: view for view in views}
    wanted = {item.key: item for view in views for item in view.wanted}
    skipped = {(view.identifier, item.identifier): item for view in views for item in view.skipped}
    copies: defaultdict[ImageKey, list[OwnedImage]] = defaultdict(list)
    for image in target.owned:
        copies[image.key].append(image)
    for key in sorted(wanted.keys() | copies.keys(), key=_KEY_ORDER):
        owned = tuple(sorted(copies[key], key=lambda image: (image.created_at, image.ref), reverse=True))
        view = by_list.get(key.list) or next((by_name[name] for name in _subscriptions(owned) if name in by_name), None)
        reason = skipped.get((key.list, key.image))
        elsewhere = _elsewhere(key, view, wanted, copies, target) if key not in wanted else None
        yield _decide(_Situation(key, owned, view, wanted.get(key), reason, target, now, elsewhere))


def _elsewhere(
    key: ImageKey,
    view: ListView | None,
    wanted: Mapping[ImageKey, Wanted],
    copies: Mapping[ImageKey, Sequence[OwnedImage]],
    target: TargetView,
) -> _Elsewhere | None:
    """Return where an image is wanted of which the target holds a copy in a project that it should not be in."""
    if view is None or key.owner in view.owners:
        return None
    keys = [other for owner in sorted(view.owners) if (other := replace(key, owner=owner)) in wanted]
    right = (any(_is_offered(copy, wanted[other], target) for copy in copies.get(other, ())) for other in keys)
    return _Elsewhere(frozenset(other.owner for other in keys), all(right)) if keys else None


def _is_offered(copy: OwnedImage, wanted: Wanted, target: TargetView) -> bool:
    return copy.state is State.PUBLISHED and is_right(copy, wanted, target)


def _decide(case: _Situation) -> list[Action]:
    """Return the actions for one key: about its leftovers, its retired records, and its published ones."""
    if any(copy.ref in case.target.revoked for copy in case.copies):
        return _recall(case)
    if case.wanted is not None:
        return _offer(case, case.wanted)
    return [*_settled(case), *_absent(case)]


def _recall(case: _Situation) -> list[Action]:
    """Decide about records that are denied locally, then about the key as if they were not there.

    One that was retired for another reason is retired once more: the target may show it to more than it ought to.
    Where one of them is what would be made for the list, that is denied too: it would come back as the same bytes.
    """
    reasons = case.target.revoked
    denied = tuple(copy for copy in case.copies if copy.ref in reasons)
    others = replace(case, copies=tuple(copy for copy in case.copies if copy.ref not in reasons), recalled=True)
    same = next((copy for copy in denied if case.wanted and is_right(copy, case.wanted, case.target)), None)
    if same is not None:
        skipped = Skipped(case.key.image, same.metadata.name, SkipCause.REVOKED, reasons[same.ref])
        others = replace(others, wanted=None, skipped=skipped)
    due = tuple(copy for copy in denied if _is_to_recall(copy))
    retired = [_retire(case, copy, Cause.REVOKED, reasons[copy.ref]) for copy in due]
    gone = replace(case, copies=tuple(copy for copy in denied if copy not in due))
    return [*retired, *_settled(gone), *_decide(others)]


def _is_to_recall(copy: OwnedImage) -> bool:
    retirement = copy.retirement
    return copy.state is State.PUBLISHED or (retirement is not None and retirement.reason != RECALLED)


# --- what should be offered ------------------------------------------------------------------------------------------
def _offer(case: _Situation, wanted: Wanted) -> list[Action]:
    right = [copy for copy in case.copies if is_right(copy, wanted, case.target)]
    # First what we remember making: on an editable target, somebody may have labelled the same bytes otherwise.
    right.sort(key=lambda copy: case.target.recorded.get(copy.fingerprint) != copy.digest)
    published = _published(case)
    best = next((copy for copy in right if copy.state is State.PUBLISHED), None)
    spare = next((copy for copy in right if copy.state is State.RETIRED), None)
    if best is not None:
        doubles = [_retire(case, copy, *_why_double(copy, best)) for copy in published if copy is not best]
        return [*_settled(case), _keep_or_update(case, best, wanted), *doubles]
    if spare is not None:
        restore = case.act(Kind.RESTORE, *_why_restored(spare, published), spare)
        metadata = target_metadata(spare, wanted)
        return [*_settled(case, spare), replace(restore, metadata=metadata, superseded=published)]
    return [*_settled(case, reusable=wanted), _upload(case, wanted, published)]


def _upload(case: _Situation, wanted: Wanted, published: tuple[OwnedImage, ...]) -> Action:
    postponed = case.target.postponed.get(case.key)
    if not published:
        if postponed is not None:
            return case.act(Kind.SKIP, Cause.BACK_OFF, postponed)
        return put_off(case.act(Kind.REGISTER, *_why_registered(case)), case.target.waiting)
    cause, reason = _why_replaced(case, wanted, published)
    if postponed is not None and cause is Cause.TAMPERED:  # what is offered meanwhile matters more than why it stays
        return case.act(Kind.HOLD, cause, f"{reason}; {postponed}", published[0])
    if postponed is not None:
        return case.act(Kind.HOLD, Cause.BACK_OFF, postponed, published[0])
    replacing = replace(case.act(Kind.REPLACE, cause, reason, published[0]), superseded=published)
    return put_off(replacing, case.target.waiting)


def _why_double(copy: OwnedImage, best: OwnedImage) -> tuple[Cause, str]:
    if is_false(copy, best):
        return Cause.TAMPERED, _FALSE
    return Cause.SUPERSEDED, "a better record of the same image is published"


def _why_registered(case: _Situation) -> tuple[Cause, str]:
    endorsed = f"endorsed by {_version(case.view)}"
    if case.key in case.target.expected and not case.copies and not case.recalled:
        return Cause.GONE, f"{endorsed}; it was published here, and somebody else removed it"
    return Cause.NEW, endorsed


def _why_restored(spare: OwnedImage, published: Iterable[OwnedImage]) -> tuple[Cause, str]:
    if any(is_false(copy, spare) for copy in published):
        return Cause.TAMPERED, _FALSE
    if spare.retirement is not None and spare.retirement.reason == DEACTIVATED:
        return Cause.DEACTIVATED, "somebody else deactivated it, but it is endorsed: to keep it away, deny it (deny.d)"
    return Cause.CAME_BACK, "endorsed again, and its retired record is intact"


def _why_replaced(case: _Situation, wanted: Wanted, published: tuple[OwnedImage, ...]) -> tuple[Cause, str]:
    """Return why none of the published records will do.

    An unverified one is not lost: the upload that follows finds it right, or puts another in its place.
    """
    formed = [copy for copy in published if copy.fingerprint in wanted.fingerprints]
    if any(copy.digest is not None and recorded(copy, case.target) is None for copy in formed):
        return Cause.UNVERIFIED, "what it was converted to is not remembered: it is made again and compared"
    if formed:
        return Cause.TAMPERED, "the stored bytes are not those that were uploaded"
    return Cause.CHANGED, f"other content or form in {_version(case.view)}"


def _keep_or_update(case: _Situation, best: OwnedImage, wanted: Wanted) -> Action:
    metadata = target_metadata(best, wanted)
    if comparable(metadata) == comparable(best.metadata) and not best.drift:
        return case.act(Kind.KEEP, Cause.CURRENT, "as endorsed", best)
    changed = sorted({*differences(best.metadata, metadata), *best.drift})
    return replace(case.act(Kind.UPDATE, Cause.METADATA, f"changed: {', '.join(changed)}", best), metadata=metadata)


# --- what should not be offered --------------------------------------------------------------------------------------
def _absent(case: _Situation) -> list[Action]:
    """Decide about published records that nothing wants in this pass."""
    return [_absent_copy(case, copy, dates(copy, case.view)) for copy in _published(case)]


def _absent_copy(case: _Situation, copy: OwnedImage, when: Dates) -> Action:
    passed = expired(when, case.now) if case.target.trust_clock else None
    cause, reason = passed or _why_absent(case)
    match cause:
        case Cause.WITHDRAWN | Cause.EXCLUDED | Cause.EXPIRED | Cause.LIST_EXPIRED | Cause.REVOKED:
            return _retire(case, copy, cause, reason)
        case Cause.MOVED if case.elsewhere is not None and case.elsewhere.is_offered:
            return _retire(case, copy, cause, reason)
        case Cause.UNKNOWN | Cause.UNSUBSCRIBED | Cause.PAUSED:
            return case.act(Kind.HOLD, cause, reason + announcement(when, case.now), copy)
        case _:
            return case.act(Kind.HOLD, cause, reason, copy)


def _why_absent(case: _Situation) -> tuple[Cause, str]:
    view = case.view
    observation = view.observation if view else None
    if paused := _pause(case):
        return Cause.PAUSED, paused
    if view is not None and isinstance(observation, TrustedList) and _is_known(case):
        if case.elsewhere is not None:
            where = ", ".join(sorted(case.elsewhere.owners))
            return Cause.MOVED, f"its VO has no images in this project any more, but in {where}"
        return _why_not_selected(case, view, observation)
    if isinstance(observation, Unknown):
        return Cause.UNKNOWN, f"the list is {observation.verdict}: {observation.reason}"
    return Cause.UNSUBSCRIBED, "no active subscription of this target has its list"


def _why_not_selected(case: _Situation, view: ListView, trusted: TrustedList) -> tuple[Cause, str]:
    skipped = case.skipped
    if skipped is None and any(item.identifier is None for item in view.skipped):
        return Cause.BROKEN, "an entry of the list has no readable identifier and could be this image"
    if skipped is None:
        return Cause.WITHDRAWN, f"not in version {trusted.content.version} of the list"
    if skipped.cause is SkipCause.EXCLUDED and view.keep_unselected:
        return Cause.UNSUBSCRIBED, f"{skipped.reason}; on_unselected is keep"
    if skipped.cause is SkipCause.EXPIRED and not case.target.trust_clock:
        return Cause.CLOCK, f"{skipped.reason}, but the clock is not trusted"
    return Cause(skipped.cause), skipped.reason


# --- records that are not published -----------------------------------------------------------------------------------
def _settled(case: _Situation, spare: OwnedImage | None = None, reusable: Wanted | None = None) -> list[Action]:
    """Decide about partial, staged and retired records. ``spare`` is used otherwise; a staged right one is reused."""
    return [
        action
        for copy in case.copies
        if copy is not spare
        for action in (_unpublished(case, copy, reusable) if copy.state is not State.PUBLISHED else ())
    ]


def _unpublished(case: _Situation, copy: OwnedImage, reusable: Wanted | None) -> Iterator[Action]:
    match copy.state:
        case State.RETIRED:
            yield _retired(case, copy)
        case _ if reusable is None or copy.fingerprint not in reusable.fingerprints:
            yield case.act(Kind.DELETE, Cause.LEFTOVER, "an interrupted upload left it behind", copy)


def _retired(case: _Situation, copy: OwnedImage) -> Action:
    """Delete late. What a list withdrew waits for that list to be known again: it could have come back.

    It also waits until the guard has counted it for as long as it counts.
    """
    at, why = (copy.retirement.at, copy.retirement.reason) if copy.retirement else (copy.created_at, "")
    due = later(at, max(case.target.delete_after, WINDOW) if why in COUNTED else case.target.delete_after)
    known = (why not in COUNTED or _is_known(case)) and not _pause(case)
    if due <= case.now and known and case.target.trust_clock and case.key not in case.target.postponed:
        return case.act(Kind.DELETE, Cause.GRACE_OVER, f"retired at {timestamp(at)}", copy)
    if copy.drift and not _pause(case):
        update = case.act(Kind.UPDATE, Cause.METADATA, f"retired, and changed: {', '.join(copy.drift)}", copy)
        return replace(update, metadata=copy.metadata)
    return case.act(Kind.KEEP, Cause.GRACE, f"retired at {timestamp(at)}, to be deleted from {timestamp(due)}", copy)


def _retire(case: _Situation, copy: OwnedImage, cause: Cause, reason: str) -> Action:
    is_ours = not case.target.editable or not case.target.remembered or case.key in case.target.expected
    is_current = case.key.owner not in case.target.former
    return replace(case.act(Kind.RETIRE, cause, reason, copy), counted=is_ours and is_current and cause in COUNTED)


# --- small questions --------------------------------------------------------------------------------------------------
def _refuse(views: Sequence[ListView], target: TargetView) -> tuple[list[ListView], dict[ListId, str]]:
    """Turn a trusted list into an unknown one where the records on the target speak against it.

    What others can write on does not speak where the state remembers the list, nor does anything in projects that are
    not of its VO, or no more: they could block it for good.
    """
    kept, refused = [], {}
    for view in views:
        trusted = view.observation
        heard = [image for image in target.owned if _is_heard(image, view, target)]
        reason = objection(trusted, heard, target.subscriptions) if isinstance(trusted, TrustedList) else ""
        if not reason or not isinstance(trusted, TrustedList):
            kept.append(view)
            continue
        unknown = Unknown(view.subscription, trusted.vo, trusted.identifier, Verdict.REFUSED, reason, advice(reason))
        refused[trusted.identifier] = reason
        kept.append(replace(view, observation=unknown, wanted=(), skipped=()))
    return kept, refused


def _is_heard(image: OwnedImage, view: ListView, target: TargetView) -> bool:
    return image.key.owner in view.owners and not (target.editable and view.is_remembered)


def _skip(skipped: Skipped, view: ListView) -> Action:
    key = ImageKey("", view.identifier or ListId(""), skipped.identifier or ImageId(""))
    return Action(Kind.SKIP, key, skipped.title, Cause(skipped.cause), skipped.reason)


def _is_known(case: _Situation) -> bool:
    observation = case.view.observation if case.view else None
    return isinstance(observation, TrustedList) and observation.identifier == case.key.list


def _pause(case: _Situation) -> str:
    """Return why nothing is to be changed but what dates and recalls want, or nothing."""
    return case.target.paused or (case.view.paused if case.view else "")


def _published(case: _Situation) -> tuple[OwnedImage, ...]:
    return tuple(copy for copy in case.copies if copy.state is State.PUBLISHED)


def _subscriptions(copies: Iterable[OwnedImage]) -> Iterator[str]:
    return (copy.metadata.properties.get("imagesync_subscription", "") for copy in copies)


def _version(view: ListView | None) -> str:
    observation = view.observation if view else None
    return f"version {observation.content.version}" if isinstance(observation, TrustedList) else "the list"


def _order(action: Action) -> tuple[int, tuple[str, str, str], str, str]:
    wanted = ((action.kind, action.cause), (action.kind, None))
    rank = next(index for index, entry in enumerate(_ORDER) if entry in wanted)
    return rank, _KEY_ORDER(action.key), action.image.ref if action.image else "", action.title
