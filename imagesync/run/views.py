"""From what was seen to what one target's plan is made of. Pure but for asking the target for its projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

from imagesync.backend import Backend, ImageKey, OwnedImage
from imagesync.errors import BackendRefusedError
from imagesync.lists.select import FIELDS, Cause, Selected, Skipped, select
from imagesync.model import Image, ImageId, ListId, TrustedList, Unknown, Verdict
from imagesync.plan.spec import Wanted, want
from imagesync.plan.values import Action, ListView
from imagesync.run.observe import Seen
from imagesync.run.settings import Scope, Target


@dataclass(frozen=True, slots=True)
class Denial:
    """A local rule that no image may be offered which matches all of ``matchers`` (field, glob), and why."""

    matchers: tuple[tuple[str, str], ...]
    reason: str

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Return whether an image with these fields is denied, without regard to case."""
        return all(fnmatchcase(fields.get(name, "").lower(), glob.lower()) for name, glob in self.matchers)


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
    view = ListView(
        rules.name,
        item.observation,
        item.accepted,
        expiry_grace=rules.expiry_grace,
        keep_unselected=rules.keep_unselected,
        guard=rules.guard,
    )
    if not isinstance(item.observation, TrustedList):
        return view
    trusted = item.observation
    try:
        owners = backend.owners(trusted.vo)
    except BackendRefusedError as error:
        unknown = Unknown(rules.name, rules.vo, trusted.identifier, Verdict.UNAVAILABLE, str(error), error.hint)
        return replace(view, observation=unknown)
    chosen = [_denied(one, denials) for one in select(trusted, (rules.selection, target.selection), marks[1])]
    wanted = [
        want(trusted, one, owner, (target.formats, target.options.tag()), marks[0])
        for one in chosen
        if isinstance(one, Selected)
        for owner in owners
    ]
    skipped = tuple(one for one in chosen if isinstance(one, Skipped))
    return replace(view, wanted=tuple(wanted), skipped=skipped)


def _denied(one: Selected | Skipped, denials: Sequence[Denial]) -> Selected | Skipped:
    if isinstance(one, Skipped):
        return one
    reason = next((denial.reason for denial in denials if denial.matches(_image_fields(one.image))), None)
    if reason is None:
        return one
    return Skipped(one.image.identifier, one.image.title, Cause.REVOKED, f"denied locally: {reason}")


def revoked(owned: Iterable[OwnedImage], denials: Sequence[Denial]) -> dict[ImageKey, str]:
    """Return the reason for each record that a local rule denies, by what its properties say of it."""
    found = {}
    for image in owned:
        fields = _record_fields(image)
        reason = next((denial.reason for denial in denials if denial.matches(fields)), None)
        if reason is not None:
            found[image.key] = f"denied locally: {reason}"
    return found


def _image_fields(image: Image) -> dict[str, str]:
    return {name: read(image) for name, read in FIELDS.items()}


def _record_fields(image: OwnedImage) -> dict[str, str]:
    properties = image.metadata.properties
    return {
        "identifier": image.key.image,
        "title": properties.get("APPLIANCE_TITLE", image.metadata.name),
        "mpuri": properties.get("APPLIANCE_MPURI", ""),
        "sha512": properties.get("imagesync_source_sha512", ""),
        "version": properties.get("APPLIANCE_VERSION", ""),
        "arch": properties.get("architecture", ""),
        "os": properties.get("os_distro", ""),
        "osversion": properties.get("os_version", ""),
    }


# --- selectors -------------------------------------------------------------------------------------------------------
def in_scope(owned: Iterable[OwnedImage], seen: Sequence[Seen], scope: Scope) -> tuple[OwnedImage, ...]:
    """Return the records that a run is about. Without ``--list`` these are all, also those of no subscription."""
    if not scope.lists:
        return tuple(owned)
    identifiers = {identifier for item in seen if (identifier := identifier_of(item))}
    names = {item.subscription.name for item in seen}
    return tuple(
        image
        for image in owned
        if image.key.list in identifiers or image.metadata.properties.get("imagesync_subscription") in names
    )


def identifier_of(item: Seen) -> ListId | None:
    """Return the identifier of a subscription's list, as served in this pass or as pinned."""
    match item.observation:
        case TrustedList() as trusted:
            return trusted.identifier
        case Unknown(list=pinned) if pinned is not None:
            return pinned
        case _:
            return item.accepted.list if item.accepted else None


def chosen(action: Action, globs: Sequence[str]) -> bool:
    """Return whether an action is about an image that ``--image`` names by identifier or title."""
    names = (action.key.image.lower(), action.title.lower(), _listed_title(action.wanted).lower())
    return not globs or any(fnmatchcase(name, glob.lower()) for glob in globs for name in names)


def _listed_title(wanted: Wanted | None) -> str:
    return wanted.title if wanted else ImageId("")
