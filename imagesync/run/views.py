"""From what was seen to what one target's plan is made of. Pure but for asking the target for its projects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase

from imagesync.backend import Backend, OwnedImage
from imagesync.errors import BackendRefusedError, ImagesyncError
from imagesync.lists.select import Selected, Skipped, select
from imagesync.model import ImageId, TrustedList, Unknown, Verdict
from imagesync.plan.spec import Wanted, want
from imagesync.plan.values import Action, Cause, ListView
from imagesync.run.denial import Denial, denied
from imagesync.run.observe import Seen
from imagesync.run.pausing import told
from imagesync.run.settings import Scope, Target
from imagesync.state import ImageRecord


def views(
    seen: Sequence[Seen], target: Target, backend: Backend, denials: Sequence[Denial], marks: tuple[str, datetime]
) -> list[ListView]:
    """Return what ``target`` should offer of each list that belongs on it.

    ``marks`` are the instance's name and the time of the pass. A VO that has no project on the target makes its list
    unknown there, so that nothing of it is withdrawn.
    """
    instance, now = marks
    return [
        _view(item, target, backend, denials, (instance, now)) for item in seen if target.takes(item.subscription.name)
    ]


def _view(
    item: Seen, target: Target, backend: Backend, denials: Sequence[Denial], marks: tuple[str, datetime]
) -> ListView:
    rules = item.subscription
    pause = target.pause or rules.pause
    view = ListView(
        rules.name,
        None if pause else item.observation,
        item.accepted,
        expiry_grace=rules.expiry_grace,
        keep_unselected=rules.keep_unselected,
        guard=target.guard(rules.name),
        paused=told(pause) if pause else "",
    )
    trusted = view.observation
    if not isinstance(trusted, TrustedList):
        return view
    try:
        owners = backend.owners(trusted.vo)
    except BackendRefusedError as error:
        reason = f"{error.reason}: {error.subject}: {error.detail}"
        unknown = Unknown(rules.name, rules.vo, trusted.identifier, Verdict.UNAVAILABLE, reason, error.hint)
        return replace(view, observation=unknown)
    style = target.presentation(marks[0], rules.properties)
    chosen = [denied(one, trusted, denials) for one in select(trusted, (rules.selection, target.selection), marks[1])]
    wanted = [
        replace(form, metadata=backend.fit(form.metadata), settings=rules.settings)
        for one in chosen
        if isinstance(one, Selected)
        for owner in owners
        for form in [want(trusted, one, owner, style)]
    ]
    skipped = tuple(one for one in chosen if isinstance(one, Skipped))
    return replace(view, owners=frozenset(owners), wanted=tuple(wanted), skipped=skipped)


# --- selectors -------------------------------------------------------------------------------------------------------
def in_scope(owned: Iterable[OwnedImage], seen: Sequence[Seen], scope: Scope) -> tuple[OwnedImage, ...]:
    """Return the records that a run is about. Without ``--list`` these are all, also those of no subscription."""
    if not scope.lists:
        return tuple(owned)
    identifiers = {identifier for item in seen if (identifier := item.identifier)}
    names = {item.subscription.name for item in seen}
    return tuple(
        image
        for image in owned
        if image.key.list in identifiers or image.metadata.properties.get("imagesync_subscription") in names
    )


def chosen(action: Action, scope: Scope) -> bool:
    """Return whether a run with this scope is about ``action``: by identifier or title, or because it is a recall."""
    if scope.recalls_only and action.cause is not Cause.REVOKED:
        return False
    names = (action.key.image.lower(), action.title.lower(), _listed_title(action.wanted).lower())
    return not scope.images or any(fnmatchcase(name, glob.lower()) for glob in scope.images for name in names)


def _listed_title(wanted: Wanted | None) -> str:
    return wanted.title if wanted else ImageId("")


def of_abandoned(
    owned: Sequence[OwnedImage], lists: Sequence[ListView], before: Sequence[ImageRecord]
) -> Iterator[str]:
    """Say where images were published that nobody looks after any more, because the configuration changed."""
    known = {image.key.owner for image in owned}.union(*(view.owners for view in lists))
    unclear = {view.identifier for view in lists if not view.owners}
    published = [record.key for record in before if record.state == "published" and record.key.list not in unclear]
    for owner, count in sorted(Counter(key.owner for key in published if key.owner not in known).items()):
        yield (
            f"project {owner}, which is no longer configured, had {count} published images, and they are gone or cannot"
            " be seen: see there, and 'imagesync prune --unsubscribed' forgets them"
        )


def without_project(lists: Sequence[ListView], seen: Sequence[Seen]) -> ImagesyncError | None:
    """Return an error when a list that is trusted could not be used on this target, naming each with what to do."""
    trusted = {item.subscription.name for item in seen if isinstance(item.observation, TrustedList)}
    found = [
        (f"{view.subscription}: {view.observation.reason}", view.observation.hint)
        for view in lists
        if isinstance(view.observation, Unknown) and view.subscription in trusted
    ]
    if not found:
        return None
    return BackendRefusedError("", "; ".join(text for text, _ in found), "; ".join(sorted({hint for _, hint in found})))
