"""From what was seen to what one target's plan is made of. Pure but for asking the target for its projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

from imagesync.backend import Backend, ImageKey, OwnedImage
from imagesync.errors import BackendRefusedError
from imagesync.lists.select import Cause, Selected, Skipped, select
from imagesync.model import Image, ImageId, TrustedList, Unknown, Verdict
from imagesync.plan.spec import Wanted, want
from imagesync.plan.values import Action, ListView
from imagesync.run.observe import Seen
from imagesync.run.settings import Scope, Target


@dataclass(frozen=True, slots=True)
class Denial:
    """A local rule that no image may be offered which matches all of ``patterns``, and why.

    A pattern is a field and a glob; the fields are those of ``deny.d`` (configuration reference).
    """

    patterns: tuple[tuple[str, str], ...]
    reason: str

    def matches(self, facts: Mapping[str, str]) -> bool:
        """Return whether an image of which ``facts`` gives the fields is denied, without regard to case."""
        return all(fnmatchcase(facts.get(name, "").casefold(), glob.casefold()) for name, glob in self.patterns)


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
        guard=target.guard(rules.name),
    )
    if not isinstance(item.observation, TrustedList):
        return view
    trusted = item.observation
    try:
        owners = backend.owners(trusted.vo)
    except BackendRefusedError as error:
        reason = f"{error.reason}: {error.subject}: {error.detail}"
        unknown = Unknown(rules.name, rules.vo, trusted.identifier, Verdict.UNAVAILABLE, reason, error.hint)
        return replace(view, observation=unknown)
    style = target.presentation(marks[0], rules.properties)
    chosen = [_denied(one, trusted, denials) for one in select(trusted, (rules.selection, target.selection), marks[1])]
    wanted = [
        replace(form, metadata=backend.fit(form.metadata))
        for one in chosen
        if isinstance(one, Selected)
        for owner in owners
        for form in [want(trusted, one, owner, style)]
    ]
    skipped = tuple(one for one in chosen if isinstance(one, Skipped))
    return replace(view, owners=frozenset(owners), wanted=tuple(wanted), skipped=skipped)


def _denied(one: Selected | Skipped, trusted: TrustedList, denials: Sequence[Denial]) -> Selected | Skipped:
    if isinstance(one, Skipped) or not denials:
        return one
    facts = _listed_facts(one.image, trusted)
    reason = next((denial.reason for denial in denials if denial.matches(facts)), None)
    if reason is None:
        return one
    return Skipped(one.image.identifier, one.image.title, Cause.REVOKED, f"denied locally: {reason}")


def revoked(owned: Iterable[OwnedImage], denials: Sequence[Denial]) -> dict[ImageKey, str]:
    """Return the reason for each record that a local rule denies, by what its properties say of it."""
    found: dict[ImageKey, str] = {}
    for image in owned if denials else ():
        facts = _recorded_facts(image)
        reason = next((denial.reason for denial in denials if denial.matches(facts)), None)
        if reason is not None:
            found[image.key] = f"denied locally: {reason}"
    return found


def _listed_facts(image: Image, trusted: TrustedList) -> dict[str, str]:
    return {
        "identifier": image.identifier,
        "list": trusted.identifier,
        "list_version": trusted.content.version,
        "mpuri": image.mpuri,
        "sha512": image.sha512,
        "signer": trusted.content.signer.identity.dn,
    }


def _recorded_facts(image: OwnedImage) -> dict[str, str]:
    properties = image.metadata.properties
    return {
        "identifier": image.key.image,
        "list": image.key.list,
        "list_version": properties.get("imagesync_list_version", ""),
        "mpuri": properties.get("APPLIANCE_MPURI", ""),
        "sha512": properties.get("imagesync_source_sha512", ""),
        "signer": properties.get("imagesync_signer", ""),
    }


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


def chosen(action: Action, globs: Sequence[str]) -> bool:
    """Return whether an action is about an image that ``--image`` names by identifier or title."""
    names = (action.key.image.lower(), action.title.lower(), _listed_title(action.wanted).lower())
    return not globs or any(fnmatchcase(name, glob.lower()) for glob in globs for name in names)


def _listed_title(wanted: Wanted | None) -> str:
    return wanted.title if wanted else ImageId("")
